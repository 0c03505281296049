"""What the stages ask of a task. They know no task: each asks the recipe's for its part.

A task is a class `Task` in `pipelines/tasks/KIND.py` (or `KIND/task.py`), made from the checked recipe. The module
imports nothing heavy at its top: recipes are checked with it. docs/extending.md adds one step by step.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from data.signature import Engine, Signature
    from models.common.stateful import Stepper
    from models.decoder.cached import CachedDecoder
    from pipelines.recipe.schema import Recipe


@dataclass(frozen=True)
class Batch:
    """What one forward pass takes."""

    inputs: dict[str, "Tensor"]
    """Keyword arguments of the objective."""
    targets: int
    """Number of targets that count: what a sum of losses is divided by."""
    flops: float
    """Floating-point operations to train on it, for MFU."""


class Learner(Protocol):
    """What the trainer needs to know. All of it is the same whenever it is asked again.

    Random numbers may come from the global generators of PyTorch, NumPy and Python in `network`, `objective`, `batch`
    and `validation` and in what these return: the trainer seeds them by the recipe's seed, the step and the process.
    A learner may also say what it is `Judged` by and `Validated` with, and have `words: Words`, be `Published`,
    `Begins`, and have `fresh`: names of layers that did not come with its first weights, which are trained whole where
    `train.adapter` freezes all else. Its objective may be `Noting`.
    """

    data_hash: str
    """Identifies the prepared data."""
    examples: int
    """Number of examples (windows of text, images, rows) that an epoch has."""
    outer: tuple[str, ...]
    """Names of the network's weights that belong to the output, not to hidden layers."""

    def network(self, generator: "torch.Generator") -> "nn.Module":
        """The network with its first weights; `layers` is the list of its blocks, where it has any.

        Its parameters and persistent buffers are what is saved; with several processes, buffers become their mean."""

    def objective(self, network: "nn.Module") -> "nn.Module":
        """A module whose forward(**batch.inputs, seed=...) is the sum of a batch's losses, float32 []."""

    def batch(
        self, epochs: "NDArray[np.int64]", examples: "NDArray[np.int64]", sequence: int, device: "torch.device"
    ) -> Batch:
        """The batch of these examples; text is cut into sequences of `sequence` tokens."""

    def validation(self, device: "torch.device") -> Iterator[Batch]:
        """All of the validation split, in batches; none when there is none."""

    def describe(self, epochs: "NDArray[np.int64]", examples: "NDArray[np.int64]") -> str:
        """Where in the data these examples are, for an error message."""

    def save(self, network: "nn.Module", folder: Path) -> None:
        """Write the network with all that it takes to use it, `model.safetensors` among it."""


@runtime_checkable
class Judged(Protocol):
    """What a learner has that is not judged by its mean loss: the best weights and early stopping go by `value`."""

    metric: str
    """What the value is, such as `accuracy`; curves.jsonl has it as `valid_accuracy`."""
    better: Literal["higher", "lower"]

    def value(self, network: "nn.Module", device: "torch.device") -> float:
        """Of the whole validation split; the network is in evaluation mode. Every process calls it, and the first
        one's answer counts."""


@runtime_checkable
class Validated(Protocol):
    """What a learner has whose validation also depends on keys of the recipe's `evaluate`. A change of them is another
    run, since the best weights go by the validation."""

    validated_by: Mapping[str, Any]


@runtime_checkable
class Begins(Protocol):
    """What a learner has that needs something of its first weights, computed once before the first step."""

    def begin(self, objective: "nn.Module", folder: Path, device: "torch.device") -> None:
        """Compute it, or read what an earlier start of the same run kept in `folder`. The network has its first weights
        each time, also when a run goes on; called without gradients, in the precision of training.

        Raises MetrolineError: training may not begin."""


@runtime_checkable
class Noting(Protocol):
    """What an objective has that measures more than its loss. Curves have each as a mean over targets, `accuracy` of
    training steps and `valid_accuracy` of a validation."""

    def noted(self) -> dict[str, float]:
        """Name → sum over the batches since it was last asked; the names are the same each time."""


@runtime_checkable
class Published(Protocol):
    """What a learner has whose network others know by other names, as `transformers` does."""

    def published(self, layer: str) -> str:
        """A layer's name here → there, for the files of an adapter. Raises MetrolineError: it has none."""


@runtime_checkable
class Builds(Protocol):
    """What a learner is that makes its checkpoint out of the data in one go, without network and steps."""

    data_hash: str

    def build(self, folder: Path, kept: Path) -> Mapping[str, Any]:
        """Write the checkpoint, `model.safetensors` and `config.json` among it, into `folder`. Returns what
        training.json says. `kept`: a folder for what makes the next build shorter; DVC leaves it alone."""


ROLES = ("reranker", "chat")
"""In what a task can use the release of another recipe. Each is a stage of the line, and params.yaml has a section of
that name and an s, for DVC."""


@runtime_checkable
class Uses(Protocol):
    """What a task has that uses released bundles of other recipes beside what its recipe begins with."""

    uses: Mapping[str, str]
    """Role → the other recipe, which is run first."""
    given: Mapping[str, Path]
    """Role → the folder of its bundle. The stages `train` and `evaluate` set it before they ask for anything."""


@dataclass(frozen=True)
class Words:
    """How a learner's numbers read in curves, pictures and progress bars."""

    targets: str = "targets"
    """What is counted: tokens, images."""
    loss: str = "mean per target"
    """The loss's unit: nats per token."""


def words(learner: Learner) -> Words:
    """A learner's words, or those that fit any."""
    found = getattr(learner, "words", None)
    return found if isinstance(found, Words) else Words()


@dataclass(frozen=True)
class Primary:
    """The one value that says how good a model is, and the floor that it must beat to be released at all."""

    metric: str
    """Its name in metrics.json, such as `test.accuracy`."""
    better: Literal["higher", "lower"]
    floor: str
    """The name of the floor's value in metrics.json, such as `baselines.majority_accuracy`."""


@dataclass(frozen=True)
class Measured:
    """How good a checkpoint is on the test split. Names and values go into metrics.json."""

    test: Mapping[str, float | int]
    primary: Primary
    baselines: Mapping[str, float | int] = field(default_factory=dict)
    """Floors (a model that does not beat them is none) and references (stronger ones; reported, not gated)."""
    groups: Mapping[str, Mapping[str, float | int]] = field(default_factory=dict)
    """The same values per group of the test split."""
    base: Mapping[str, float | int] = field(default_factory=dict)
    """What is measured of the weights that training began with, and how the checkpoint stands to them."""

    def metrics(self) -> dict[str, Any]:
        """The contents of metrics.json."""
        primary = {"metric": self.primary.metric, "better": self.primary.better, "floor": self.primary.floor}
        found = {"test": dict(self.test), "baselines": dict(self.baselines), "groups": dict(self.groups),
                 "primary": primary}  # fmt: skip
        return found | ({"base": dict(self.base)} if self.base else {})


Predict = Callable[[Mapping[str, "NDArray[Any]"]], Mapping[str, "NDArray[Any]"]]
"""A model, whatever runs it: named inputs with a batch in front → named outputs."""


@dataclass(frozen=True)
class Forward:
    """A checkpoint as the `forward` engine runs it: what is exported, and how a form of it is judged."""

    model: "nn.Module"
    """In evaluation mode. Inputs of the signature, in order and batched → its outputs, in order: softmax and
    de-normalisation are inside."""
    pre: "nn.Module | None"
    """For images of any size: uint8 [1, H, W, C] → the input of `model`, uint8 [1, height, width, C]."""
    golden: "tuple[tuple[bytes, ...], ...]"
    """Raw test items, one tuple of inputs each, as a client would send them."""
    decode: "Callable[[tuple[bytes, ...]], dict[str, NDArray[Any]]]"
    """Raw inputs → decoded ones, each with a batch of 1 in front; images of any size."""
    examples: Callable[[str, int], Iterator[dict[str, "NDArray[Any]"]]]
    """(split, most) → batches of decoded inputs: for parity, and to calibrate int8 on `valid`."""
    quality: Callable[[Predict, int], dict[str, float]]
    """A form's values on at most so many items of the test split, the primary metric's name first."""
    primary: Primary
    signature: "Signature"
    """The task's, with what only a trained model tells: the threshold between two labels."""
    optional: frozenset[str] = frozenset()
    """Forms that are left out where they lose too much; of others that stops the export."""


Logits = Callable[["Tensor"], "Tensor"]
"""A language model, whatever runs it: token ids int64 [B, S] → logits [B, S, V]."""


class HeldOut(Protocol):
    """The text that forms of a language model are calibrated and judged on, none of which it was trained on."""

    def calibration(self, context: int, tokens: int) -> "Iterator[NDArray[np.int64]]":
        """Windows of token ids [S], S at most `context`, together about `tokens`, spread over the validation split."""

    def losses(self, logits_of: Logits, context: int, tokens: int) -> "NDArray[np.float64]":
        """Nats [N] of about `tokens` tokens, in stretches of at most `context` spread over the test split: the same
        tokens whatever gives the logits."""


@dataclass(frozen=True)
class Decode:
    """A checkpoint as the `decode` engine runs it, and the text that its forms are calibrated and judged on."""

    model: "CachedDecoder | Stepper"
    prepared: Path
    held_out: HeldOut
    settings: Mapping[str, Any] = field(default_factory=dict)
    """What serving.json says besides what every decoder's says."""


@dataclass(frozen=True)
class Retrieve:
    """An index as the `retrieve` engine searches it."""

    checkpoint: Path
    """The folder with its documents, table and embedder."""
    queries: "tuple[tuple[str, NDArray[np.float32]], ...]"
    """Golden queries and their vectors [W]."""
    settings: Mapping[str, Any]
    """What serving.json says besides what every bundle's says."""


@dataclass(frozen=True)
class Card:
    """What a task says in the model card; all of it Markdown."""

    library: str
    """Who loads the checkpoint: transformers, metroline."""
    architecture: str
    data: str
    """How examples were made and split."""
    counts: Mapping[str, str]
    """Keys of the splits in index.json → heads of the table's columns."""
    targets: str
    """What training counts: tokens, images."""
    loss: str
    """The loss's unit."""
    output: str
    """One number of an output, in a word: logit, probability."""
    parity: str
    """What the exported forms were run on."""
    quality: str
    """How good the model is."""
    limits: tuple[str, ...]
    pictures: frozenset[str] = frozenset()
    """Files of the bundle that may be shown."""
    more: tuple[str, ...] = ()
    """Further sections."""
    loading: str = ""
    """Who else loads the folder."""


class Task(Protocol):
    """A kind of task. `sections`: the schema of its own keys in a recipe's `task`, `data`, `evaluate` and `export`."""

    engine: ClassVar["Engine"]
    """What runs its models."""
    sections: ClassVar[Mapping[str, Any]]
    """Models of pydantic; `data` may be a union of them, told apart by `kind`, and has a property `suffixes`:
    endings of the user's own files that count (without it all do)."""
    measured: ClassVar[tuple[str, ...]]
    """Names of values in metrics.json that every recipe of this task has, so that gates are checked before a run."""

    def __init__(self, recipe: "Recipe") -> None: ...

    def problems(self) -> Iterator[str]:
        """One line, opened by `section.key: `, for each place where two sections contradict each other."""

    def prepare(self, raw: Path, out: Path, pretrained: Path | None) -> None:
        """Raw files → prepared data with `index.json` and its `data_hash`: split, fit on train only, refuse leaks.
        `pretrained`: the folder with the files of the first weights, where the recipe has such."""

    def learner(self, prepared: Path, first: Path | None) -> "Learner | Builds":
        """What the trainer needs. `first`: the folder with the files of the weights that its network begins with."""

    def measure(self, checkpoint: Path, prepared: Path, folder: Path, first: Path | None) -> Measured:
        """Judge a checkpoint on the test split; pictures, samples and the drift reference go into `folder`. `first`: as
        for `learner`."""

    def exportable(self, checkpoint: Path, prepared: Path) -> "Forward | Decode | Retrieve":
        """What the exporter of the signature's engine takes."""

    def card(self, folder: Path, evaluation: Path, metrics: Mapping[str, Any], parity: Mapping[str, Any]) -> Card:
        """What the model card says. `folder`: the bundle with the checkpoint's files; `evaluation`: what `measure`
        wrote."""

    def signature(self, prepared: Path) -> "Signature":
        """Typed inputs and outputs."""
