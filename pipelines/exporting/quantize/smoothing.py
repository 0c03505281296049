"""Move outliers from activations into weights before quantization: SmoothQuant (Xiao et al. 2022, arXiv:2211.10438).

A product x · W stays the same when channel j of x is divided by s[j] and row j of W multiplied by it. With
s[j] = max|x[:, j]|^a / max|W[j, :]|^(1 - a) both have more equal ranges, and 8 bits lose less of either. The division
costs nothing where x is a multiple of another product, SwiGLU's `up`: it goes into that one's columns. What norms put
out needs none of it, see `rotation.py`.
"""

from collections.abc import Mapping

import numpy as np
import onnx

from pipelines.exporting.onnx.graph import Graph
from pipelines.exporting.quantize.frames import Frames

STRENGTH = 0.4
"""How much of the outliers moves into the weights: the a above. On SmolLM2-135M 0.3 to 0.5 are equally good."""

LARGEST = 100.0
"""Bound of the factors either way, around their geometric mean: a dead channel must not take it all."""


def smooth(graph: Graph, ranges: Mapping[str, np.ndarray], frames: Frames) -> dict[str, np.ndarray]:
    """Smooth every input of a product that is a multiple of another product. `ranges`: see `ranges.measure`; `frames`
    are told what became of matrices.

    Returns the factors [K] that inputs were divided by.
    """
    divided = {}
    for product in graph.products():
        name = product.input[0]
        if len(graph.readers(name)) > 1:
            continue
        source = _factor(graph, name)
        if source is None:
            continue
        weight = graph.array(product.input[1])
        factors = _factors(ranges[name], np.abs(weight).max(1))
        product.input[1] = graph.constant(f"{product.output[0]}.smooth", weight * factors[:, None])
        source.input[1] = graph.constant(f"{source.output[0]}.divided", graph.array(source.input[1]) / factors)
        frames[product.output[0]].gain, frames[source.output[0]].factor = factors, 1 / factors
        divided[name] = factors
    return divided


def _factor(graph: Graph, name: str) -> onnx.NodeProto | None:
    """The product with constant weights that the value `name` is a multiple of, and that nothing else reads."""
    maker = graph.maker.get(name)
    for part in maker.input if maker is not None and maker.op_type == "Mul" else ():
        product = graph.maker.get(part)
        if graph.is_product(product) and len(graph.readers(part)) == 1:
            return product
    return None


def _factors(inputs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """s [K], its geometric mean 1."""
    logarithm = STRENGTH * np.log(np.maximum(inputs, 1e-5)) - (1 - STRENGTH) * np.log(np.maximum(rows, 1e-5))
    bound = np.log(LARGEST)
    factors: np.ndarray = np.exp(np.clip(logarithm - logarithm.mean(), -bound, bound)).astype(np.float32)
    return factors
