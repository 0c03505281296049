"""Output to terminals, pipes and files that cannot hold every character: a plain one stands in, and nothing fails."""

import codecs
import io
import sys

PLAIN = {
    "✓": "+", "✗": "x", "○": "o", "■": "#", "·": "-", "─": "-", "━": "-", "–": "-", "—": "-", "›": ">", "→": "->",
    "×": "x", "…": "...", "≤": "<=", "≥": ">=",
}  # fmt: skip
"""What we print ourselves; any other character becomes a question mark."""


def print_anywhere() -> None:
    """From now on standard output and error take any text, whatever LANG, PYTHONIOENCODING and the terminal say."""
    codecs.register_error("metroline", _plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="metroline")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(PLAIN.get(char, "?") for char in error.object[error.start : error.end]), error.end
