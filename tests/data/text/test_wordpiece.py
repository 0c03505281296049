"""WordPiece made from texts: BERT's rules, whatever the process, and one line where it cannot be made."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from base.errors import MetrolineError
from base.files import read_json
from data.text.tokenizer import Tokenizer, TokenizerConfig, save, train
from data.text.wordpiece import LONGEST

SPEECHES = Path(__file__).resolve().parents[3] / "data/examples/speeches"
TEXTS = [path.read_text(encoding="utf-8") for path in sorted(SPEECHES.glob("*.txt"))]
CONFIG = TokenizerConfig(kind="wordpiece", vocabulary=600)
MADE = train(TEXTS, CONFIG)
AGAIN = """
import hashlib, sys
from tests.data.text.test_wordpiece import MADE
print(hashlib.sha256(MADE.inner.to_str().encode()).hexdigest())
"""


def test_special_tokens_come_first_and_cannot_be_spelt() -> None:
    assert MADE.special == {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4}
    assert (MADE.eos, MADE.unknown, MADE.first, MADE.last, MADE.vocab_size) == (3, 1, (2,), (3,), 600)
    assert not set(MADE.encode("[CLS] [SEP] [MASK] [PAD]")) & {0, 2, 3, 4}


def test_text_comes_back_in_small_letters_without_accents() -> None:
    tokens = MADE.encode("The Pëople of the United States,")
    assert MADE.decode(tokens) == "the people of the united states,"
    assert [MADE.spell(token) for token in MADE.encode("nation")] == ["nation"]
    assert MADE.spell(MADE.encode("nationx")[-1]).startswith("##")


def test_what_no_token_stands_for_is_unknown() -> None:
    assert MADE.encode("漢") == [1]
    assert MADE.encode("a" * (LONGEST + 1)) == [1]
    assert 1 not in MADE.encode("a" * LONGEST)


@pytest.mark.parametrize("threads", ["1", "2"])
def test_equal_texts_give_an_equal_tokenizer_in_every_process(threads: str) -> None:
    """The library's own trainer numbers pieces in the order of a hash table."""
    root = Path(__file__).resolve().parents[3]
    environment = os.environ | {"RAYON_NUM_THREADS": threads, "PYTHONHASHSEED": threads, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", AGAIN], cwd=root, env=environment, capture_output=True, text=True,
                          check=True)  # fmt: skip
    assert done.stdout.strip() == hashlib.sha256(MADE.inner.to_str().encode()).hexdigest()


def test_it_is_read_again_with_its_end_of_documents(tmp_path: Path) -> None:
    save(MADE, tmp_path / "tokenizer.json")
    read = Tokenizer.load(tmp_path / "tokenizer.json")
    assert (read.eos, read.encode(TEXTS[0])) == (MADE.eos, MADE.encode(TEXTS[0]))
    assert read_json(tmp_path / "tokenizer_config.json")["mask_token"] == "[MASK]"


def test_transformers_gives_the_same_tokens(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    save(MADE, tmp_path / "tokenizer.json")
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    text = "The State of the Union: it isn't [MASK]."
    before, after = text.split("[MASK]")
    assert theirs(text)["input_ids"] == [2, *MADE.encode(before), 4, *MADE.encode(after), 3]


def test_a_vocabulary_too_small_for_the_letters_is_refused() -> None:
    texts = ["".join(chr(0x3B1 + number % 24) + chr(0x430 + number // 24) + " " for number in range(600)), *TEXTS,
             "".join(chr(0x561 + number) + chr(0x5D0 + number % 26) for number in range(38)),
             "".join(chr(0x10D0 + number) * 2 for number in range(32)),
             "".join(chr(0x4E00 + number) for number in range(200))]  # fmt: skip
    with pytest.raises(MetrolineError, match=r"data\.tokenizer\.vocabulary: 258, and the texts have \d+ characters"):
        train(texts, TokenizerConfig(kind="wordpiece", vocabulary=258))
