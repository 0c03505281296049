"""The forms of a language model with a state of fixed size, each held against the checkpoint.

The reference is the checkpoint's plain forward pass over each row's own tokens, all at once; the form gets there one
token of each row at a time: alone, in a batch, and with rows that begin while others are under way. A last case shows
every token of the vocabulary. There are no quantized forms: these networks are small, and their states add up errors.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime
import torch
from torch import Tensor

from base.errors import MetrolineError
from base.forms import FORMS
from base.progress import Progress
from models.common.stateful import Stepper
from pipelines.exporting import pt2, torchscript
from pipelines.exporting.onnx import fp32 as onnx_fp32
from pipelines.exporting.parity import difference
from pipelines.exporting.runners import pt2_runner, torchscript_runner

if TYPE_CHECKING:
    from pipelines.recipe.export_section import DecodeExport

Runner = Callable[[list[Tensor]], Sequence[Tensor]]
"""The inputs of `models.common.stateful.Stepper`, in order → logits, states."""


@dataclass(frozen=True)
class Case:
    """`batch` rows of `length` tokens. `ragged`: all but the last begin later, each at a step of its own."""

    batch: int
    length: int
    ragged: bool


def write(model: Stepper, folder: Path, config: "DecodeExport", progress: Progress) -> dict[str, Any]:
    """Write and compare all forms. Returns the contents of parity.json; raises MetrolineError when one is off."""
    exporters = {"onnx": onnx_fp32.export}
    exporters |= {"pt2": pt2.export} if config.pt2 else {}
    exporters |= {"torchscript": torchscript.export} if config.torchscript else {}
    found: dict[str, Any] = {}
    for form, export in exporters.items():
        path = folder / FORMS[form].file
        export(model, path)
        progress.update(advance=1, form=form)
        found[form] = compare(open_runner(form, path, model), model, config.batch_sizes, config.lengths)
        found[form]["bytes"] = path.stat().st_size
        progress.update(advance=1, parity=form)
        if not found[form]["max_abs"] <= config.tolerance:
            worst = max(found[form]["cases"], key=lambda case: case["max_abs"])
            raise MetrolineError(
                f"export: {form} does not compute what the checkpoint computes: a logit is off by "
                f"{found[form]['max_abs']:.3g} with {worst}",
                hint=f"export.tolerance is {config.tolerance:g}",
            )
    return found


def open_runner(form: str, path: Path, model: Stepper) -> Runner:
    """Load a form. Raises MetrolineError when it is damaged, or its inputs and outputs are not the stepper's."""
    try:
        if form == "torchscript":
            return torchscript_runner(path)
        if form == "pt2":
            return pt2_runner(path)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # errors come as exceptions; do not print them as well
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever the runtimes raise: they have no common public base
        first_line = (str(error).strip().splitlines() or [""])[0]
        raise MetrolineError(f"{path.name} does not load: {first_line}") from error
    found = [[part.name for part in parts] for parts in (session.get_inputs(), session.get_outputs())]
    if found != [model.input_names, model.output_names]:
        raise MetrolineError(f"{path.name} has other inputs and outputs than serving uses: {found}")

    def run(tensors: list[Tensor]) -> Sequence[Tensor]:
        feeds = {name: tensor.numpy() for name, tensor in zip(model.input_names, tensors, strict=True)}
        return [torch.from_numpy(array) for array in session.run(None, feeds)]

    return run


def cases(batch_sizes: Sequence[int], lengths: Sequence[int], context: int, vocabulary: int) -> Iterator[Case]:
    """All cases that fit the context; the last one has room for every token."""
    for batch in batch_sizes:
        for length in lengths:
            if length <= context:
                yield Case(batch, length, ragged=False)
                if batch > 1 and length > 1:
                    yield Case(batch, length, ragged=True)
    length = min(context, max(lengths), vocabulary)
    yield Case(-(-vocabulary // length), length, ragged=False)


def compare(runner: Runner, model: Stepper, batch_sizes: Sequence[int], lengths: Sequence[int]) -> dict[str, Any]:
    """Run all cases. Returns {"max_abs": largest absolute difference of a logit, "cases": [each with its own]}.

    A difference that is not a number counts as infinite. Raises MetrolineError when a case cannot be run at all.
    """
    config, results = model.model.config, []
    for number, case in enumerate(cases(batch_sizes, lengths, config.context, config.vocab_size)):
        generator = torch.Generator().manual_seed(number)
        try:
            found = run(runner, model, case, generator)
        except Exception as error:  # whatever the runtime raises: the exported form does not take this case
            first_line = (str(error).strip().splitlines() or [""])[0]
            raise MetrolineError(f"parity: {case} does not run: {type(error).__name__}: {first_line}") from error
        results.append({**asdict(case), "max_abs": found})
    return {"max_abs": max(result["max_abs"] for result in results), "cases": results}


@torch.inference_mode()
def run(runner: Runner, model: Stepper, case: Case, generator: torch.Generator) -> float:
    """Largest absolute difference of a logit in one case, over all rows and all their tokens."""
    vocabulary = model.model.config.vocab_size
    order = torch.randperm(vocabulary, generator=generator)
    tokens = order.repeat(-(-case.batch * case.length // vocabulary))[: case.batch * case.length]
    tokens = tokens.view(case.batch, case.length)
    begins = torch.zeros(case.batch, dtype=torch.int64)
    if case.ragged:
        begins = torch.randint(case.length, (case.batch,), generator=generator)
        begins[-1] = 0
    empty = model.model.initial_state(case.batch)
    state, steps = [part.clone() for part in empty], []
    for at in range(case.length):
        new = begins == at
        for part, nothing in zip(state, empty, strict=True):
            part[new] = nothing[new]
        logits, *after = runner([tokens[:, at], *state])
        state = [part.clone() for part in after]
        steps.append(logits)
    got = torch.stack(steps, 1)
    return max(
        difference(got[row, begin:], model.model(tokens[row : row + 1, begin:])[0])
        for row, begin in enumerate(begins.tolist())
    )
