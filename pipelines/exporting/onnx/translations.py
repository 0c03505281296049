"""Operators of ours in PyTorch → what stands for them in exported graphs, in ONNX's own operators."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnxscript import opset20 as op

import models.common.nms  # noqa: F401  # registers metroline::nms


def _nms(boxes: Any, scores: Any, iou: float, least: float, most: int) -> Any:
    """See `models.common.nms.nms`."""
    limits = [op.Constant(value=_tensor(value)) for value in (np.int64([most]), np.float32([iou]), np.float32([least]))]
    chosen = op.NonMaxSuppression(boxes, scores, *limits)  # int64 [kept, 3]: image, label, box
    none = op.Expand(op.Constant(value=_tensor(np.float32([0]))), op.Shape(scores))
    ones = op.Expand(op.Constant(value=_tensor(np.float32([1]))), op.Shape(chosen, start=0, end=1))
    return op.ScatterND(none, chosen, ones)


def _tensor(value: Any) -> Any:
    import onnx

    return onnx.numpy_helper.from_array(np.asarray(value))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.metroline.nms.default: _nms}
"""For `torch.onnx.export(custom_translation_table=...)`."""
