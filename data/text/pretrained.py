"""What came with pretrained weights besides the weights: tokenizer, special tokens, chat template, stop tokens.

    read_folder(Path("model")).save(Path("data/prepared/smollm2"))

Out of a Hugging Face folder here; a GGUF file's is read by `data.text.gguf_tokenizer`. All of it is
data: no code of theirs is run, and custom tokenizer classes are not supported.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tokenizers

from base.errors import MetrolineError
from base.files import read_object, write_json, write_text
from data.text.spelling import Spelling
from data.text.tokenizer import END_OF_TEXT
from data.text.tokenizer import read as read_tokenizer

SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token", "cls_token", "sep_token", "mask_token")
GENERATION = ("do_sample", "temperature", "top_k", "top_p", "repetition_penalty")


@dataclass(frozen=True)
class Pretrained:
    """A pretrained model's text side, wherever it came from."""

    inner: tokenizers.Tokenizer
    context: int
    """Longest sequence of the model, in tokens."""
    special: dict[str, str] = field(default_factory=dict)
    """Names in `SPECIAL` → their texts, where the model has them."""
    eos: tuple[int, ...] = ()
    """Tokens that end an answer."""
    template: str | None = None
    """Chat template (Jinja)."""
    generation: dict[str, Any] = field(default_factory=dict)
    """How its makers sample it: temperature and the like."""

    def save(self, folder: Path) -> Path:
        """Write tokenizer.json and beside it tokenizer_config.json, generation_config.json and, where there is a
        template, chat_template.jinja, as `transformers` reads them. Returns the tokenizer's path.
        """
        path = folder / "tokenizer.json"
        write_text(path, self.inner.to_str(pretty=True) + "\n")
        values: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": self.context}
        write_json(folder / "tokenizer_config.json", values | self.special | {"clean_up_tokenization_spaces": False})
        ends = list(self.eos)
        document_end = self.inner.token_to_id(END_OF_TEXT)
        if document_end is not None and document_end not in ends:
            ends.append(document_end)  # a text that is no chat ends with this one
        ids: dict[str, Any] = {
            f"{name}_id": self.inner.token_to_id(text) for name, text in self.special.items() if name != "unk_token"
        }
        ids["eos_token_id"] = ends[0] if len(ends) == 1 else ends or None
        write_json(folder / "generation_config.json", self.generation | ids)
        if self.template is not None:
            write_text(folder / "chat_template.jinja", self.template)
        return path


def read_folder(folder: Path) -> Pretrained:
    """The same of a Hugging Face folder: tokenizer.json, and where they are there the files beside it."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise MetrolineError(
            f"{folder} has no tokenizer.json", hint="older formats: open and save it once with `transformers`"
        )
    inner = read_tokenizer(path)
    Spelling(inner, path)
    names, model, generation = (
        read_object(folder / name) if (folder / name).is_file() else {}
        for name in ("tokenizer_config.json", "config.json", "generation_config.json")
    )
    special = {name: text for name in SPECIAL if (text := _text(names.get(name))) is not None}
    ends = generation.get("eos_token_id", model.get("eos_token_id"))
    if ends is None and "eos_token" in special:
        ends = inner.token_to_id(special["eos_token"])
    ends = [] if ends is None else ends if isinstance(ends, list) else [ends]
    if not all(isinstance(number, int) for number in ends):
        raise MetrolineError(f"{folder}: eos_token_id is {ends}, neither a number nor a list of numbers")
    context = model.get("max_position_embeddings", model.get("n_positions"))
    if not isinstance(context, int):
        raise MetrolineError(f"{folder / 'config.json'} names no longest sequence (max_position_embeddings)")
    return Pretrained(
        inner,
        context,
        special,
        tuple(ends),
        _template(folder, names),
        {name: generation[name] for name in GENERATION if name in generation},
    )


def _template(folder: Path, names: dict[str, Any]) -> str | None:
    """The chat template, from its own file or (older) from tokenizer_config.json."""
    path = folder / "chat_template.jinja"
    if path.is_file():
        try:
            return path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise MetrolineError(f"{path}: {error}") from None
    template = names.get("chat_template")
    if isinstance(template, list):  # several by name
        template = {entry.get("name"): entry.get("template") for entry in template}.get("default")
    return template if isinstance(template, str) else None


def _text(value: Any) -> str | None:
    """A special token's text: as it is, or in an object that says how it is matched."""
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None
