"""Reading what others wrote: a JSON file that must hold an object is that, or one clear line."""

from pathlib import Path

import pytest

from base.errors import MetrolineError
from base.files import read_object


def test_an_object(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"é": [1, null]}', encoding="utf-8")
    assert read_object(tmp_path / "a.json") == {"é": [1, None]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "a.json is not valid JSON"),
        (b'{"a": 1', "a.json is not valid JSON"),
        (b'{"\xff": 1}', "a.json is not valid JSON: 'utf-8' codec can't decode"),
        (b'{"a": ' + b"[" * 100_000, "a.json is not valid JSON: maximum recursion depth"),
        (b"[1]", "a.json is not a JSON object"),
        (b"null", "a.json is not a JSON object"),
        (None, ": a.json is missing"),
    ],
)
def test_everything_else_is_one_line_with_the_hint(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MetrolineError) as caught:
        read_object(path, hint="copy it again")
    text = str(caught.value)
    assert message in text
    assert str(tmp_path) in text
    assert text.endswith("(copy it again)")
    assert "\n" not in text


def test_a_folder_of_that_name(tmp_path: Path) -> None:
    (tmp_path / "a.json").mkdir()
    with pytest.raises(MetrolineError, match=r"a\.json cannot be read: Is a directory"):
        read_object(tmp_path / "a.json")
