"""Operators of ours in PyTorch → what stands for them in exported graphs, in ONNX's own operators."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from onnxscript import opset20 as op

import models.common.nms  # noqa: F401  # registers metroline::nms


def _nms(boxes: Any, scores: Any, iou: float, least: float, most: int) -> Any:
    """See `models.common.nms.nms`."""
    limits = _number(most, np.int64), _number(iou, np.float32), _number(least, np.float32)
    chosen: Any = op.NonMaxSuppression(boxes, scores, *limits)  # int64 [kept, 3]: image, label, box
    none: Any = op.Expand(_number(0, np.float32), op.Shape(scores))
    ones: Any = op.Expand(_number(1, np.float32), op.Shape(chosen, start=0, end=1))
    return op.ScatterND(none, chosen, ones)


def _number(value: float, kind: Any) -> Any:
    """A constant [1]."""
    import onnx

    return op.Constant(value=onnx.numpy_helper.from_array(np.array([value], kind)))


TRANSLATIONS: dict[Callable[..., Any], Callable[..., Any]] = {torch.ops.metroline.nms.default: _nms}
"""For `torch.onnx.export(custom_translation_table=...)`."""
