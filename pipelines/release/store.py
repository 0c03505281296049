"""The writing side of the model store: put a bundle in, move the pointers, remove old releases.

    <BENTOML_HOME>/models/speeches/0a1b.../       a bundle as BentoML keeps models (`bentoml models list` shows it)
    <BENTOML_HOME>/metroline/speeches.json        {"live": "speeches:0a1b...", "previous": null, "candidate": null,
                                                   "plan": null}

Every change is a rename: a process killed at any moment leaves the old state or the new one. A large file that another
release of the recipe has too is stored once (a hard link), so that a server which runs both has it once in memory. One
writer at a time, by a lock. What is released, and when, is decided by `pipelines/release/stage.py`; the reading side
for serving is `serving/store.py`.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from base import manifest
from base.errors import MetrolineError
from base.files import read_json, read_object, sha256, write_json, write_text

LARGE = 1 << 20
"""Bytes from which on a file is shared between releases."""


@dataclass(frozen=True)
class Pointers:
    """Tags (`speeches:0a1b...`) of the release that is served, of the one before it, and of one that is tried."""

    live: str | None = None
    previous: str | None = None
    candidate: str | None = None
    plan: dict[str, Any] | None = None
    """How the candidate is tried (`base.delivery.Plan`)."""


class Store:
    """The releases of all recipes below one folder."""

    def __init__(self, home: Path) -> None:
        self.home = home

    @classmethod
    def of(cls, root: Path) -> "Store":
        """The store that commands in the project `root` use: BENTOML_HOME, else `.metroline/bentoml`."""
        return cls(Path(os.environ.get("BENTOML_HOME") or root / ".metroline/bentoml").expanduser())

    def folder(self, tag: str) -> Path:
        """Where the bundle of a tag lies."""
        name, _, version = tag.partition(":")
        return self.home / "models" / name / version

    def pointers(self, name: str) -> Pointers:
        """Both None when nothing is released. Raises MetrolineError when the file cannot be read."""
        path = self._pointer_file(name)
        try:
            values = read_json(path)
            return Pointers(values["live"], values["previous"], values.get("candidate"), values.get("plan"))
        except FileNotFoundError:
            return Pointers()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MetrolineError(f"{path}: cannot be read: {error!r}", hint="remove it and release again") from None

    def point(self, name: str, pointers: Pointers) -> None:
        """Move all pointers at once."""
        write_json(self._pointer_file(name), asdict(pointers))

    def forget(self, name: str) -> None:
        """Nothing of it is live any more; its releases stay."""
        self._pointer_file(name).unlink(missing_ok=True)

    def check(self, tag: str) -> dict[str, Any]:
        """The manifest of a release whose files are all whole. Raises MetrolineError naming the first that is not."""
        return manifest.verify(self.folder(tag))

    def put(self, bundle: Path, tag: str, labels: dict[str, str]) -> None:
        """Copy a verified bundle in under `tag`; what lies there already and is whole stays as it is."""
        if self.folder(tag).is_dir():
            try:
                self.check(tag)
                return
            except MetrolineError:
                shutil.rmtree(self.folder(tag))
        os.environ.setdefault("BENTOML_DO_NOT_TRACK", "True")
        import bentoml
        from bentoml._internal.models import ModelStore

        (self.home / "metroline").mkdir(parents=True, exist_ok=True)
        for left in (self.home / "metroline").glob(".incoming.*"):  # by a process that was killed
            shutil.rmtree(left)
        with tempfile.TemporaryDirectory(prefix=".incoming.", dir=self.home / "metroline") as incoming:
            with bentoml.models.create(tag, labels=labels, _model_store=ModelStore(incoming)) as model:
                shutil.copytree(bundle, model.path, dirs_exist_ok=True)
            name, _, version = tag.partition(":")
            target = self.folder(tag)
            target.parent.mkdir(parents=True, exist_ok=True)
            made = Path(incoming) / name / version
            self._share(made, tag)
            made.rename(target)
        write_text(target.parent / "latest", version)  # BentoML's own pointer, for `bentoml models get speeches`

    def _share(self, made: Path, tag: str) -> None:
        """Put links in place of large files that another release of the recipe has too, and has whole.

        Where the file system has no links, or no more to this file, the copy stays."""
        known: dict[str, Path] = {}
        for other in self.releases(tag.partition(":")[0]):
            with suppress(MetrolineError):  # one that is damaged has nothing to share
                files = read_object(self.folder(other) / manifest.NAME).get("files", {})
                known |= {digest: self.folder(other) / name for name, digest in files.items()}
        for path in [path for path in made.rglob("*") if path.is_file() and path.stat().st_size >= LARGE]:
            digest = sha256(path)
            same = known.get(digest)
            if same and same.is_file() and sha256(same) == digest:
                linked = path.with_name(f"{path.name}.link")
                with suppress(OSError):
                    os.link(same, linked)
                    linked.replace(path)

    def releases(self, name: str) -> list[str]:
        """Tags of a recipe in the store, oldest first."""
        folders = [path for path in (self.home / "models" / name).glob("[!.]*") if (path / "model.yaml").is_file()]
        folders.sort(key=lambda path: ((path / "model.yaml").stat().st_mtime_ns, path.name))
        return [f"{name}:{path.name}" for path in folders]

    def prune(self, name: str, keep: int) -> list[str]:
        """Remove all but the newest `keep` releases, never one that is pointed at. Returns the removed tags."""
        pointers = self.pointers(name)
        kept = {pointers.live, pointers.previous, pointers.candidate}
        spare = [tag for tag in self.releases(name) if tag not in kept]
        room = max(0, keep - len(kept - {None}))
        old = spare[: len(spare) - room]
        for left in (self.home / "models" / name).glob(".*.removed"):  # by a process that was killed
            shutil.rmtree(left)
        for tag in old:
            folder = self.folder(tag)
            gone = folder.with_name(f".{folder.name}.removed")
            folder.rename(gone)
            shutil.rmtree(gone)
        return old

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Wait until no other process changes the store. Raises MetrolineError when it cannot be written."""
        try:
            (self.home / "metroline").mkdir(parents=True, exist_ok=True)
            file = (self.home / "metroline" / ".lock").open("a")
        except OSError as error:
            raise MetrolineError(
                f"the model store {self.home} cannot be written: {error.strerror}", hint="set BENTOML_HOME to a folder"
            ) from None
        with file:
            fcntl.flock(file, fcntl.LOCK_EX)
            try:
                yield
            except OSError as error:
                raise MetrolineError(f"the model store {self.home} cannot be written: {error}") from error

    def _pointer_file(self, name: str) -> Path:
        return self.home / "metroline" / f"{name}.json"
