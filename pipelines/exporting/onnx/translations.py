"""Operators of ours in PyTorch → what stands for them in exported graphs, in ONNX's own operators."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxscript import opset20

import models.common.nms  # noqa: F401  # registers metroline::nms

op: Any = opset20


def _nms(boxes: Any, scores: Any, iou: float, least: float, most: int) -> Any:
    """See `models.common.nms.nms`."""
    limits = [
        _constant(np.array([value], kind)) for value, kind in ((most, "int64"), (iou, "float32"), (least, "float32"))
    ]
    chosen = op.NonMaxSuppression(boxes, scores, *limits)  # int64 [kept, 3]: image, label, box
    none = op.Expand(_constant(np.zeros(1, np.float32)), op.Shape(scores))
    ones = op.Expand(_constant(np.ones(1, np.float32)), op.Shape(chosen, start=0, end=1))
    return op.ScatterND(none, chosen, ones)


def _constant(value: NDArray[Any]) -> Any:
    return op.Constant(value=onnx.numpy_helper.from_array(value))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.metroline.nms.default: _nms}
"""For `torch.onnx.export(custom_translation_table=...)`."""
