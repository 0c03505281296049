"""Training states on disk: what a killed run resumes from, to the last bit.

    states/<fingerprint>/step-00000200.safetensors    weights, averages, the optimizers' moments
                         step-00000200.json           counters and hashes; written last, so it says "all of it is here"
                         best-00000150.safetensors    the weights of the best validation
                         curves.jsonl                 what the logged steps measured

The fingerprint is a hash of everything that decides the numbers (recipe, data, code), so another recipe finds no
state here and begins anew. Safetensors and JSON only: no pickles.
"""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from base.errors import MetrolineError
from base.files import atomic_path, read_json, sha256, write_json

FORMAT = 2


@dataclass
class Counters:
    """Where training stands, tensors aside."""

    step: int = 0
    """Optimizer steps done."""
    tokens: int = 0
    """Targets seen."""
    loss_sum: float = 0.0
    """Losses and targets since the last line of the curves."""
    loss_targets: int = 0
    noted: dict[str, float] = field(default_factory=dict)
    """Sums, over the same steps, of what the objective notes beside its loss."""
    gradient_norm: float = 0.0
    best_step: int = 0
    best_loss: float | None = None
    best_value: float | None = None
    """The best validation: its step, its loss, and the value that it was judged by, which is the loss unless the
    learner has one of its own. None before the first."""
    stale: int = 0
    """Validations since."""
    valid_loss: float | None = None
    valid_value: float | None = None
    """Of the latest validation."""
    pending: bool = False
    """Stopped between a step and what follows it (validation, logging)."""
    finished: bool = False
    curves_bytes: int = 0
    scaler: dict[str, float] = field(default_factory=dict)
    """fp16's loss scaling."""


class States:
    """The folder of one fingerprint's states, of which `keep` are kept."""

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self.keep = folder, keep

    @property
    def curves(self) -> Path:
        """The file of logged steps, which grows with the run."""
        return self.folder / "curves.jsonl"

    def best(self, step: int) -> Path:
        """The file of the best weights, when they are those of `step`."""
        return self.folder / f"best-{step:08d}.safetensors"

    def steps(self) -> list[int]:
        """Steps with a state, the latest first."""
        return sorted((int(path.stem.removeprefix("step-")) for path in self.folder.glob("step-*.json")), reverse=True)

    def save(self, counters: Counters, tensors: dict[str, Tensor], environment: dict[str, Any]) -> None:
        """Write a state; then remove those that are no longer kept, and what is left of one that could not be written.

        Raises MetrolineError when the disk is full; the states before it stay.
        """
        path = self._tensors(counters.step)
        try:
            write_tensors(path, tensors)
            best = self.best(counters.best_step) if counters.best_value is not None else None
            files = {file.name: sha256(file) for file in (path, best) if file is not None}
            value = {"format": FORMAT, "counters": asdict(counters), "environment": environment, "files": files}
            write_json(path.with_suffix(".json"), {**value, "check": _check(value)})
        except Exception:
            self._rotate()
            raise
        self._rotate()

    def newest(self) -> int | None:
        """The latest step with a whole state; damaged ones are named in a printed warning and passed over."""
        for step in self.steps():
            problem = self._problem(step)
            if problem is None:
                return step
            print(f"warning: {self._tensors(step).with_suffix('')}: {problem}; taking the state before it", flush=True)
        return None

    def forget_finished(self) -> bool:
        """Forget all states when the newest one is of a run that is done; whether it was."""
        newest = self.newest()
        if newest is None or not read_json(self._tensors(newest).with_suffix(".json"))["counters"]["finished"]:
            return False
        shutil.rmtree(self.folder)
        return True

    def load(self, step: int) -> tuple[Counters, dict[str, Tensor], dict[str, Any]]:
        """A state that `newest` named: counters, tensors, environment."""
        value = read_json(self._tensors(step).with_suffix(".json"))
        return Counters(**value["counters"]), load_file(self._tensors(step)), value["environment"]

    def forget_after(self, step: int, length: int) -> None:
        """Forget what came after the state of `step`: damaged states, and curves beyond `length` bytes."""
        for later in self.steps():
            if later > step:
                self._tensors(later).with_suffix(".json").unlink(missing_ok=True)
        with self.curves.open("r+b" if self.curves.exists() else "wb") as file:
            file.truncate(length)

    def _tensors(self, step: int) -> Path:
        return self.folder / f"step-{step:08d}.safetensors"

    def _problem(self, step: int) -> str | None:
        """What is wrong with a state, or None."""
        try:
            value = read_json(self._tensors(step).with_suffix(".json"))
            check = value.pop("check")
            if value["format"] != FORMAT:
                return f"has format {value['format']}, not {FORMAT}"
            if check != _check(value):
                return "its JSON file is damaged"
            for name, digest in value["files"].items():
                if sha256(self.folder / name) != digest:
                    return f"{name} is damaged"
            length = value["counters"]["curves_bytes"]
            if length and self.curves.stat().st_size < length:
                return f"{self.curves.name} has lost lines"
        except FileNotFoundError as error:
            return f"{Path(error.filename).name} is missing"
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            return f"cannot be read ({error})"
        return None

    def _rotate(self) -> None:
        kept = self.steps()[: self.keep]
        for step in self.steps()[self.keep :]:
            self._tensors(step).with_suffix(".json").unlink(missing_ok=True)
        needed = {f"step-{step:08d}.safetensors" for step in kept}
        for step in kept:
            needed |= _files(self._tensors(step).with_suffix(".json"))
        for path in self.folder.glob("*.safetensors"):
            if path.name not in needed:
                path.unlink(missing_ok=True)
        for path in self.folder.glob(".*.part"):
            path.unlink(missing_ok=True)


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors atomically as safetensors; each gets memory of its own on the CPU."""
    with atomic_path(path) as temporary:
        save_file({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raises MetrolineError when it is missing or damaged."""
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise MetrolineError(f"{path} cannot be read: {error}", hint="remove its folder to train anew") from None


def fingerprint(value: dict[str, Any]) -> str:
    """Twelve hexadecimal digits that identify everything a run depends on."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def forget_others(states: Path, current: str) -> list[str]:
    """Remove the states of other recipes but the most recent one; returns the names of all there were."""
    others = [path for path in states.iterdir() if path.is_dir() and path.name != current] if states.is_dir() else []
    others.sort(key=lambda path: path.stat().st_mtime, reverse=True)
    for path in others[1:]:
        shutil.rmtree(path, ignore_errors=True)
    return [path.name for path in others]


def _check(value: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _files(path: Path) -> set[str]:
    try:
        return set(read_json(path)["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return set()
