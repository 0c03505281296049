"""Does this bundle, on this machine, answer its golden items as the trained model did? Asked before it is ready."""

from collections.abc import Sequence

from base.errors import MetrolineError
from data import golden
from serving.engines.forward.bundle import ForwardBundle
from serving.engines.forward.graph import ForwardGraph, Prepared
from serving.engines.forward.preparation import Preparation


def prepared(bundle: ForwardBundle, prepare: Preparation) -> list[tuple[golden.Item, Prepared]]:
    """The golden items, decoded. Raises MetrolineError: one cannot be read."""
    items = golden.load(bundle.path, bundle.typed)
    found = []
    for number, item in enumerate(items):
        try:
            found.append((item, prepare(item.inputs)))
        except MetrolineError as error:
            raise _refused(bundle, number, str(error)) from None
    return found


def check(bundle: ForwardBundle, graph: ForwardGraph, items: Sequence[tuple[golden.Item, Prepared]]) -> None:
    """Raise MetrolineError for the first golden item that is answered otherwise; it says how."""
    for number, (item, ready) in enumerate(items):
        try:
            (outputs,) = graph.run([ready])
        except Exception as error:  # onnxruntime's own exceptions have no common public base
            raise _refused(bundle, number, f"ONNX Runtime fails on it: {error}") from None
        got = {output.name: array for output, array in zip(bundle.typed.outputs, outputs, strict=True)}
        if problem := golden.compare(bundle.typed, item, got, bundle.precision):
            raise _refused(bundle, number, problem)


def _refused(bundle: ForwardBundle, number: int, problem: str) -> MetrolineError:
    hint = "this bundle does not answer as the trained model did: export it again, or serve METROLINE_PRECISION=fp32"
    return MetrolineError(f"{bundle.path}: golden item {number}: {problem}", hint=hint)
