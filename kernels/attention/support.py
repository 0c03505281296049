"""What the Triton kernels take, and where: one function that says why not. Imports no triton."""

import importlib.util
import os

import torch
from torch import Tensor

INSTALLED = importlib.util.find_spec("triton") is not None
INTERPRETED = INSTALLED and os.environ.get("TRITON_INTERPRET", "0").lower() in ("1", "true", "on", "yes")
HEAD_SIZES = (32, 48, 64, 96, 128)
DTYPES = (torch.float16, torch.bfloat16, torch.float32)


def refusal(q: Tensor, k: Tensor, v: Tensor, *, scale: float | None, mask: bool) -> str | None:
    """Why the Triton kernels do not take these tensors, or None. `mask`: the caller has only a mask of documents."""
    if not INSTALLED:
        return "triton is not installed"
    if q.device.type == "cuda":
        properties = torch.cuda.get_device_properties(q.device)
        if torch.version.hip is None and properties.major < 8:
            return f"compute capability {properties.major}.{properties.minor} is below 8.0"
    elif not (q.device.type == "cpu" and INTERPRETED):
        return f"Triton has no {q.device.type} backend here"
    if q.dtype not in DTYPES:
        return f"dtype {q.dtype} is not float16, bfloat16 or float32"
    if q.shape[-1] not in HEAD_SIZES:
        return f"head size {q.shape[-1]} is not one of {', '.join(map(str, HEAD_SIZES))}"
    if q.shape[0] == 0 or q.shape[1] == 0 or k.shape[1] == 0:
        return "there is nothing to attend to"
    if max(q.shape[0] * q.shape[2], k.shape[1], q.shape[1]) >= 2**31 or q.shape[0] * q.shape[2] > 65535:
        return "more than 65535 heads in the batch"
    if scale is not None and scale <= 0:
        return "the scale is not positive"
    if mask:
        return "documents were packed for SDPA"
    return None
