"""model.pt2: torch.export's archive, for PyTorch users and AOTInductor; dynamic batch, sequence and past."""

from io import BytesIO
from pathlib import Path

import torch

from models.common.stateful import Stepper
from models.decoder.cached import CachedDecoder
from pipelines.exporting import archives
from pipelines.exporting.onnx.tidy import quiet


def export(model: CachedDecoder | Stepper, path: Path) -> None:
    """Write the exported program; it takes and returns what the model does, by position."""
    with quiet(), torch.no_grad():
        program = torch.export.export(model, model.example_inputs(), dynamic_shapes=model.dynamic_shapes())
        torch.export.save(program, archive := BytesIO())
    archives.write(archive, path)
