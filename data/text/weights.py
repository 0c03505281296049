"""Pretrained weights as files: which of the fetched ones they are, and the text side that came with them.

    weights = find(Path("data/raw/smollm2/pretrained/files"))
    read(weights).save(Path("data/prepared/smollm2"))

Weights are one GGUF file, or a Hugging Face folder; the tensors themselves are `models.decoder`'s.
"""

from pathlib import Path

from base.errors import MetrolineError
from data.text import gguf_tokenizer
from data.text.pretrained import Pretrained, read_folder


def is_gguf(path: Path) -> bool:
    """Whether it is a GGUF file, by its ending in capitals or small letters."""
    return path.suffix.lower() == ".gguf" and not path.is_dir()


def find(folder: Path) -> Path:
    """The one .gguf file in a fetched folder, or the folder in it that holds config.json. Raises MetrolineError."""
    files = sorted(path for path in folder.rglob("*") if is_gguf(path))
    if len(files) == 1:
        return files[0]
    if files:
        raise MetrolineError(
            f"{folder} has {len(files)} .gguf files, {files[0].name} and others",
            hint="name one in pretrained.source (split GGUF files are not supported)",
        )
    configs = sorted(folder.rglob("config.json"), key=lambda path: (len(path.parts), path))
    if not configs:
        raise MetrolineError(
            f"{folder} holds neither a .gguf file nor a config.json",
            hint="fetch again, or name other files in pretrained.source",
        )
    return configs[0].parent


def read(weights: Path) -> Pretrained:
    """The text side of a .gguf file or a Hugging Face folder. Raises MetrolineError: missing, damaged, unsupported."""
    return gguf_tokenizer.read(weights) if is_gguf(weights) else read_folder(weights)
