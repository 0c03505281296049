"""Names of files and fields as one line of valid UTF-8, so that they can be written to JSON and shown in a message."""

import re

# Control characters and line ends; surrogates, of which U+DC80 to U+DCFF stand for single bytes that are not UTF-8.
UNFIT = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")


def one_line(name: str) -> str:
    r"""`name` with what is unfit written with backslashes: a byte that is not UTF-8, a line end, half a surrogate pair.

    >>> one_line("caf\udce9.txt") == r"caf\xe9.txt"
    True
    """
    return UNFIT.sub(_spell, name)


def _spell(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:
        code -= 0xDC00
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
