"""Examples that are files, such as images and clips, with the label that their path tells.

train/cat/1.png, test/dog/2.png        the folder that a file lies in (the default)
recordings/7_theo_12.wav               label: "(?P<label>[0-9])_(?P<speaker>[a-z]+)_(?P<take>[0-9]+)[.]wav"
"""

import fnmatch
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from pydantic import BaseModel, ConfigDict, Field, field_validator

from base.errors import MetrolineError
from data.fetch.fetched import File

IMAGES = (".png", ".jpg", ".jpeg")
AUDIO = (".wav", ".flac")
SAY = "say with label where a path tells it, or with files which of them are meant"


class FoldersConfig(BaseModel):
    """Which fetched files are examples, and what their paths say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    files: str = Field(default="*", description="glob over the fetched files' paths; * also crosses folders")
    label: str | None = Field(
        default=None,
        description="regular expression, found in a file's path: the group `label` is its label, other named groups "
        "go into its meta; null: the name of the folder that it lies in",
    )

    @field_validator("label")
    @classmethod
    def _names_a_label(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                compiled = re.compile(pattern)
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from None
            if "label" not in compiled.groupindex:
                raise ValueError("has no group (?P<label>...)")
        return pattern


@dataclass(frozen=True, slots=True)
class FileExample:
    """A file with its label. `id` is its path below the fetched folder."""

    id: str
    path: File
    label: str
    meta: dict[str, str]

    def raw(self) -> bytes:
        """Its bytes."""
        return self.path.read_bytes()


def read_folders(
    files: Mapping[str, File], config: FoldersConfig, suffixes: tuple[str, ...] = IMAGES
) -> Iterator[FileExample]:
    """The fetched files (name → path) with one of these suffixes that match, by name. Raises MetrolineError: there are
    none, a path that tells no label.
    """
    wanted = [
        name
        for name in sorted(files)
        if fnmatch.fnmatchcase(name, config.files) and PurePosixPath(name).suffix.lower() in suffixes
    ]
    if not wanted:
        hint = f"there are: {', '.join(sorted(files)[:3]) or 'none'}"
        raise MetrolineError(f"no fetched file matches {config.files!r} and is {', '.join(suffixes)}", hint=hint)
    pattern = re.compile(config.label) if config.label else None
    for name in wanted:
        if pattern is None:
            label, meta = PurePosixPath(name).parent.name, {}
            if not label:
                raise MetrolineError(f"{name}: lies in no folder, whose name would be its label", hint=SAY)
        else:
            groups = match.groupdict() if (match := pattern.search(name)) else {}
            if not groups.get("label"):
                raise MetrolineError(f"{name}: label matches nothing in its path", hint=SAY)
            label = groups.pop("label")
            meta = {key: value for key, value in groups.items() if value is not None}
        yield FileExample(name, files[name], label, meta)
