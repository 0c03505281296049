"""Kernels in C for the operators of an exported graph that ONNX Runtime has none of, or slow ones.

A quantized graph calls operators of the domain `metroline`, each also written down in it as a function of ONNX
Runtime's own (`pipelines/exporting/onnx/operators.py`). `register` lets a session run these kernels instead: on two
cores SmolLM2-135M in int8 serves 16 streams 1.4 times as fast. Nothing depends on them: without a C compiler at
installation, or with METROLINE_NATIVE=off, ONNX Runtime runs the functions.

    pip install -e .                # builds them; `metroline doctor` says whether they are there
    python -m benchmarks.native     # what they gain on this machine

C11 with the vector types of GCC and Clang, so one source serves AVX-512, AVX2 and NEON; on x86-64 Linux all levels are
in the library and the processor picks. What differs by level are sums of products of bytes (`dot.h`) and the matrix
unit (`tiles_rows.h`).
"""

import importlib.util
import logging
from pathlib import Path

import onnxruntime

log = logging.getLogger("metroline.native")


def library() -> Path | None:
    """The built library; None where it was not built."""
    found = importlib.util.find_spec("serving.native.kernels")
    return Path(found.origin) if found is not None and found.origin else None


def register(options: onnxruntime.SessionOptions) -> bool:
    """Let sessions with these options use the kernels. Returns whether they will; never fails for want of them."""
    path = library()
    if path is None:
        return False
    try:
        options.register_custom_ops_library(str(path))
    except Exception as error:  # built for another machine: onnxruntime's own exceptions have no common public base
        log.warning("native kernels not used", extra={"fields": {"problem": str(error).splitlines()[0]}})
        return False
    return True
