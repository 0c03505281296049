"""Text files packed with gzip or Zstandard, opened like plain ones: streamed, bounded, damage told in one line.

What is in them is data/text/readers.py's.
"""

import gzip
import io
import zlib
from pathlib import Path
from typing import Any, BinaryIO, cast

from base.errors import MetrolineError

COMPRESSED = (".gz", ".zst")
TIMES = 100
"""Times its packed size that a file may unpack to (text gives 3 to 20), beyond `FREE` bytes."""
FREE = 1 << 26


def open_text(path: Path) -> BinaryIO:
    """A binary stream of the file's unpacked bytes; reading it raises MetrolineError for a damaged or hostile file."""
    packed = path.name != unpacked_name(path)
    return cast(BinaryIO, io.BufferedReader(_Unpacked(path))) if packed else path.open("rb")


def unpacked_name(path: Path) -> str:
    """The file's name without the ending of a packed one."""
    return path.stem if path.suffix.lower() in COMPRESSED else path.name


class _Unpacked(io.RawIOBase):
    """The unpacked bytes of a file, at most `TIMES` its size."""

    def __init__(self, path: Path) -> None:
        self.path, self.left = path, FREE + TIMES * path.stat().st_size
        self.stream = _unpacking(path)

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill `buffer` with the next bytes; 0 at the end."""
        try:
            data = self.stream.read(len(buffer))
        except (OSError, EOFError, zlib.error) as error:
            raise MetrolineError(
                f"{self.path}: cannot unpack it: {' '.join(str(error).split())}", hint="copy or pack it again"
            ) from None
        self.left -= len(data)
        if self.left < 0:
            raise MetrolineError(
                f"{self.path} unpacks to more than {TIMES} times its size", hint="unpack it yourself if you trust it"
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the packed file too."""
        if not self.closed:
            self.stream.close()
        super().close()


def _unpacking(path: Path) -> Any:
    if path.name.lower().endswith(".gz"):
        return gzip.open(path)
    import pyarrow as pa

    return pa.input_stream(str(path), compression="zstd", buffer_size=1 << 16)
