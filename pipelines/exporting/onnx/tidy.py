"""What every exported graph has in common: quiet exporters, and nothing in the file but what is computed."""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

import onnx

IR_VERSION = 11  # the one that came with opset 23


def strip(proto: onnx.ModelProto) -> None:
    """Remove what is not computed: traces of source files, names of modules, the exporter's version."""
    proto.ir_version = IR_VERSION
    proto.producer_name, proto.producer_version, proto.doc_string = "metroline", "", ""
    graph = proto.graph
    del proto.metadata_props[:], graph.metadata_props[:]
    graph.doc_string = ""
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Within it, exporters print nothing: their progress, warnings about axis names and optional packages."""
    names = ("", "torch", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "onnxruntime.quantization")
    loggers = [logging.getLogger(name) for name in names]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
