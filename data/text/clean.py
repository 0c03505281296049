"""Cleaning: make text uniform (Unicode NFC, line ends) and drop documents that are not worth learning from.

Every filter says *why* it drops a document; `prepare` counts the reasons in stats.json and lists the documents in
dropped.jsonl. A kept document's words are never changed. Duplicates are data/text/dedup.py's.
"""

from pydantic import Field

from data.text.dedup import DedupConfig
from data.text.text_form import TextForm


class CleanConfig(TextForm):
    """Which changes are made to each document, and which documents are dropped."""

    strip: bool = Field(default=True, description="remove white space around a document")
    min_characters: int = Field(default=1, ge=0, description="shorter documents are dropped")
    max_characters: int | None = Field(default=None, ge=1, description="longer documents are dropped (null: no limit)")
    min_letters: float = Field(
        default=0.25, ge=0, le=1, description="least share of letters among the characters that are not white space"
    )
    max_repeated_lines: float = Field(
        default=0.5, ge=0, le=1, description="largest share of characters in lines that occurred before in the document"
    )
    max_broken: float = Field(
        default=0.001, ge=0, le=1, description="largest share of U+FFFD, the mark of a failed decoding, and of NUL"
    )
    duplicates: DedupConfig = DedupConfig()


def normalise(text: str, config: CleanConfig) -> str:
    """Return `text` in the configured form."""
    text = config.apply(text)
    return text.strip() if config.strip else text


def reason_to_drop(text: str, config: CleanConfig) -> str | None:
    """Why a normalised document is dropped, or None: `empty`, `too_short`, `too_long`, `broken_characters`,
    `few_letters` or `repeated_lines` (the first that holds, in this order).
    """
    if not text or text.isspace():
        return "empty"
    if len(text) < config.min_characters:
        return "too_short"
    if config.max_characters is not None and len(text) > config.max_characters:
        return "too_long"
    if config.max_broken < 1 and (text.count("\ufffd") + text.count("\0")) / len(text) > config.max_broken:
        return "broken_characters"
    if config.min_letters > 0 and letters(text) < config.min_letters:
        return "few_letters"
    if config.max_repeated_lines < 1 and repeated_lines(text) > config.max_repeated_lines:
        return "repeated_lines"
    return None


def letters(text: str) -> float:
    """Share of letters (of any script) among the characters that are not white space, 0 to 1."""
    visible = "".join(text.split())
    return sum(map(str.isalpha, visible)) / len(visible) if visible else 0.0


def repeated_lines(text: str) -> float:
    """Share of characters, 0 to 1, in lines that stood in the document before (after Rae et al. 2021, table A1)."""
    seen: set[str] = set()
    total = repeated = 0
    for line in text.splitlines():
        line = line.strip()
        total += len(line)
        if line in seen:
            repeated += len(line)
        seen.add(line)
    return repeated / total if total else 0.0
