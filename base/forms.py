"""The forms in which a model is exported: one row each, read by export, model card and serving."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Form:
    """One form. `precision`: the name under which the endpoint serves it; empty: it is for others."""

    file: str
    words: str
    precision: str = ""


FORMS = {
    "onnx": Form("model.onnx", "ONNX Runtime, float32", "fp32"),
    "int8": Form("model.int8.onnx", "ONNX Runtime, int8 weights", "int8"),
    "int4": Form("model.int4.onnx", "ONNX Runtime, int4 weights", "int4"),
    "pt2": Form("model.pt2", "torch.export"),
    "torchscript": Form("model.ts", "TorchScript (legacy: deprecated by PyTorch)"),
}
GRAPHS = {form.precision: form.file for form in FORMS.values() if form.precision}
"""Precision → the graph that the endpoint runs."""
