"""A product whose weights are quantized in blocks along the inputs, each with a scale and a zero point.

ONNX Runtime's MatMulNBits with accuracy level 4 quantizes activations too, to 8 bits, each row by itself, a block at a
time: an outlier costs precision in its own block only. For one row it is as fast as a product with one scale a row, for
many rows three times as slow. `packed.py` makes it an operator of our own. Scales have 8 bits of precision (bfloat16).
"""

import numpy as np
import onnx

from pipelines.exporting.onnx.graph import MICROSOFT, Graph
from pipelines.exporting.quantize.gptq import Grid, compensate, in_blocks

BLOCK = 32
WIDE = 64  # in 8 bits as good where no input stands out, and read and multiplied faster
ACCURACY = 4  # int8 products


def quantize(
    graph: Graph, node: onnx.NodeProto, bits: int, block: int = BLOCK, second: np.ndarray | None = None
) -> None:
    """Replace a product with a constant matrix. `bits`: 4 or 8; `second`: compensate rounding, see `gptq.py`."""
    weight = graph.array(node.input[1])  # [K, N]
    width, outputs = weight.shape
    if second is None:
        grid = Grid.fit(weight, bits, block)
        levels = grid.levels(weight)
    else:
        grid = Grid.search(weight, bits, block, np.diag(second))
        levels = compensate(weight, grid, second)
    stored = in_blocks(levels, block).transpose(2, 0, 1)  # [N, blocks, block]
    zeros = grid.zeros.T.astype(np.uint8)  # [N, blocks]
    if bits == 4:
        stored = stored[..., 0::2] | np.left_shift(stored[..., 1::2], 4, dtype=np.uint8)
        if zeros.shape[1] % 2:
            zeros = np.concatenate([zeros, np.zeros((outputs, 1), np.uint8)], axis=1)
        zeros = zeros[:, 0::2] | np.left_shift(zeros[:, 1::2], 4, dtype=np.uint8)
    name = node.output[0]
    inputs = [node.input[0], graph.constant(f"{name}.bits", stored),
              graph.constant(f"{name}.scales", grid.scales.T.astype(np.float32)),
              graph.constant(f"{name}.zeros", zeros)]  # fmt: skip
    graph.remove(node)
    graph.node("MatMulNBits", inputs, [name], domain=MICROSOFT, K=width, N=outputs, bits=bits, block_size=block,
               accuracy_level=ACCURACY)  # fmt: skip
