"""model.int8.onnx of any graph of one call: convolutions with ranges from the validation split, products of tokens row
by row (`rows.py`), else products whose ranges are found as they run.

Both sides are unsigned: on machines without VNNI sums of unsigned by signed products overflow.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray

from base.errors import MetrolineError
from pipelines.exporting.onnx.tidy import quiet, strip
from pipelines.exporting.quantize import rows


def int8(source: Path, target: Path, calibration: Sequence[dict[str, NDArray[Any]]]) -> None:
    """Quantize `source`. Raises MetrolineError: nothing to calibrate on."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    bare = onnx.load(source)
    if rows.takes(bare):
        rows.int8(bare)
        strip(bare)
        target.write_bytes(bare.SerializeToString(deterministic=True))
        return
    kinds = {node.op_type for node in bare.graph.node}
    del bare.graph.value_info[:]  # the tools transpose weights and trip on the shapes of before
    with tempfile.TemporaryDirectory() as name, quiet():
        plain, ready, made = (Path(name) / file for file in ("plain.onnx", "ready.onnx", "made.onnx"))
        onnx.save(bare, plain)
        quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
        if "Conv" in kinds:
            if not calibration:
                raise MetrolineError("export: the validation split has no item to calibrate int8 on")
            quantize_static(
                str(ready), str(made), _Reader(calibration), quant_format=QuantFormat.QDQ,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QUInt8,
                op_types_to_quantize=["Conv", "MatMul", "Gemm"],
            )  # fmt: skip
        else:
            quantize_dynamic(
                str(ready), str(made), op_types_to_quantize=["MatMul", "Gemm"], weight_type=QuantType.QUInt8
            )
        proto = onnx.load(made)
    strip(proto)
    target.write_bytes(proto.SerializeToString(deterministic=True))


class _Reader:
    """onnxruntime's CalibrationDataReader."""

    def __init__(self, batches: Sequence[dict[str, NDArray[Any]]]) -> None:
        self.waiting = iter(batches)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next batch; None at the end."""
        return next(self.waiting, None)
