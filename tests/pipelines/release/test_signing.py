"""Signed releases: by the key that the environment or the command names; the version stays what it was."""

import pytest
from typer.testing import CliRunner

from base import minisign
from base.errors import MetrolineError
from pipelines.commands.cli import app
from pipelines.release.lineage import lineage, text
from pipelines.release.signing import KEY, key_of, sign_live
from pipelines.release.store import Store
from tests.pipelines.release.test_lineage import released


@pytest.fixture
def key(tmp_path):
    minisign.new(tmp_path / "team.key")
    return tmp_path / "team.key"


def test_a_release_is_signed_as_it_is_made(store_home, tmp_path, key, monkeypatch):
    monkeypatch.setenv(KEY, str(key))
    tag, store = released(tmp_path, "one"), Store.of(tmp_path)
    public = minisign.public(str(key.with_suffix(".pub")))
    name, comment = minisign.verify(store.folder(tag) / "manifest.json", [public])
    assert (name, comment.split()[0]) == (public.name, tag)
    found = lineage(tag, store)
    assert found["signed"] == {"key": name, "comment": comment}
    assert f"signed    by {name}: {tag} 20" in text(found)
    before = (store.folder(tag) / "manifest.json.minisig").read_bytes()
    assert released(tmp_path, "one") == tag
    assert (store.folder(tag) / "manifest.json.minisig").read_bytes() == before


def test_the_live_one_is_signed_later(store_home, tmp_path, key):
    tag, store = released(tmp_path, "one"), Store.of(tmp_path)
    assert lineage(tag, store)["signed"] is None
    assert sign_live("digits", store, minisign.secret(key)) == tag
    assert lineage(tag, store)["signed"]["comment"].startswith(tag)
    with pytest.raises(MetrolineError, match="no release of fraud is live"):
        sign_live("fraud", store, minisign.secret(key))
    (store.folder(tag) / "model.onnx").write_text("other")
    with pytest.raises(MetrolineError, match=r"model\.onnx is not the file that was exported"):
        sign_live("digits", store, minisign.secret(key))


def test_a_key_that_cannot_be_read_releases_nothing(store_home, tmp_path, monkeypatch):
    monkeypatch.setenv(KEY, str(tmp_path / "none.key"))
    with pytest.raises(MetrolineError, match=r"none\.key cannot be read"):
        released(tmp_path, "one")
    assert Store.of(tmp_path).pointers("digits").live is None
    monkeypatch.delenv(KEY)
    assert key_of() is None


def test_the_command(tmp_path, monkeypatch):
    monkeypatch.delenv(KEY, raising=False)
    made = CliRunner().invoke(app, ["sign", "--new-key", str(tmp_path / "a.key")])
    assert made.exit_code == 0, made.output
    assert (tmp_path / "a.pub").is_file()
    for arguments in ([], ["digits", "--new-key", "x"]):
        done = CliRunner().invoke(app, ["sign", *arguments])
        assert (done.exit_code, "sign what?" in done.output) == (1, True)
