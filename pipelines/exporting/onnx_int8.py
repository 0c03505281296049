"""model.int8.onnx: the matrix products in 8 bits; embeddings, norms and attention stay float32.

Two methods; in both, activations are quantized while the graph runs ("dynamic"), weights beforehand:

| method    | activations' scales           | weights' scales                | node             |
| --------- | ----------------------------- | ------------------------------ | ---------------- |
| blockwise | one per 64 numbers of a token | one per 64 inputs of an output | MatMulNBits      |
| dynamic   | one per tensor                | one per output                 | MatMulInteger    |

`blockwise` is the default: a row's result does not depend on the other rows of its batch. With `dynamic` it does, since
all rows share one scale (onnxruntime issue 5653): on a trained 3 M-parameter model logits of one row moved by 0.75 with
its neighbours, and the loss rose 15 times as much. `dynamic` is faster on long prompts of larger models (it reaches the
int8 matrix units), and as fast in decoding.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx

from data.shards import Shards
from models.export import CachedDecoder
from pipelines.evaluation import scoring
from pipelines.exporting.onnx_fp32 import quiet, strip
from pipelines.exporting.parity import Runner
from pipelines.exporting.runners import logits_of

if TYPE_CHECKING:
    from pipelines.export import ExportConfig
    from pipelines.paths import Paths

BLOCK = 64  # 16 and 32 lose less than 0.003 % of loss to it and prefill up to twice as slowly
BATCH_TOKENS = 2048


def export(source: Path, target: Path, method: Literal["blockwise", "dynamic"] = "blockwise") -> None:
    """Quantize the graph `source` into `target`. The same input gives the same bytes."""
    with quiet():
        (_blockwise if method == "blockwise" else _dynamic)(source, target)
    proto = onnx.load(target)
    strip(proto)
    target.write_bytes(proto.SerializeToString(deterministic=True))


def _blockwise(source: Path, target: Path) -> None:
    from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

    config = DefaultWeightOnlyQuantConfig(block_size=BLOCK, is_symmetric=True, accuracy_level=4, bits=8)  # 4: int8
    quantizer = MatMulNBitsQuantizer(onnx.load(source), algo_config=config)
    quantizer.process()
    quantizer.model.save_model_to_file(str(target))


def _dynamic(source: Path, target: Path) -> None:
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantize_dynamic(
        source,
        target,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        weight_type=QuantType.QInt8,
        # Without it, tensors whose type is unknown (those next to contrib operators) stop the quantizer.
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def loss(
    int8: Runner, fp32: Runner, model: CachedDecoder, config: "ExportConfig", paths: "Paths"
) -> dict[str, float | int]:
    """Losses of both graphs on the same stretches of the test split, spread over it.

    Returns {"loss", "loss_fp32", "loss_delta": the relative rise, "tokens"}; losses in nats per token.
    """
    test = Shards(paths.prepared, "test")
    windows = scoring.split_windows(test, model.model.config.context, 1.0, config.int8_tokens)
    losses = {}
    for name, runner in (("loss", int8), ("loss_fp32", fp32)):
        nats = scoring.score(logits_of(runner, model), test, windows, BATCH_TOKENS)
        losses[name] = float(np.nanmean(nats, dtype=np.float64))
    return {
        **losses,
        "loss_delta": losses["loss"] / losses["loss_fp32"] - 1,
        "tokens": sum(window.last - window.first for window in windows),
    }
