"""model.ts: TorchScript, by tracing. Legacy: PyTorch has deprecated it; model.pt2 is its successor.

The same weights give the same bytes, apart from what `archives` cannot reach (see there).
"""

from io import BytesIO
from pathlib import Path

import torch

from models.common.stateful import Stepper
from models.decoder.cached import CachedDecoder
from pipelines.exporting import archives
from pipelines.exporting.onnx.tidy import quiet


def export(model: CachedDecoder | Stepper, path: Path) -> None:
    """Write the traced module; it takes and returns what the model does, by position."""
    with quiet(), torch.no_grad():
        traced = torch.jit.trace(model, model.example_inputs(), check_trace=False)
    torch.jit.save(traced, archive := BytesIO())
    archives.write(archive, path)
