"""What a model card says of an encoder's folder: who loads it."""

from pathlib import Path

from base.files import read_json


def library(folder: Path) -> str:
    """transformers for a BERT, metroline for a modern encoder."""
    return "transformers" if _architecture(folder).startswith("Bert") else "metroline"


def loading(folder: Path) -> str:
    """A sentence's beginning."""
    whose = (
        f"a Hugging Face model (`{_architecture(folder)}`)"
        if library(folder) == "transformers"
        else "read by Metroline alone, as a modern encoder is"
    )
    return f"\n\n`model.safetensors`, `config.json` and the tokenizer's files are {whose}"


def _architecture(folder: Path) -> str:
    return str(read_json(folder / "config.json")["architectures"][0])
