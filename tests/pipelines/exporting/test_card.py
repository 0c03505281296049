"""The model card: a head that a hub can read, and only what was measured."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from base.files import write_json
from base.markdown import table
from pipelines.exporting import card as model_card
from pipelines.tasks.language_modelling.task import Task
from tests.pipelines import small_line

INDEX = {
    "vocab_size": 320,
    "data_hash": "d" * 64,
    "splits": {"train": {"documents": 9, "tokens": 1234567, "bytes": 5000000}},
}
METRICS = {
    "test": {"tokens": 100, "bytes": 300, "context": 32, "loss": 3.0, "perplexity": 20.1, "bits_per_byte": 1.4},
    "baselines": {"bigram_bits_per_byte": 1.9, "xz_bits_per_byte": 2.1},
    "groups": {"1900": {"bits_per_byte": 1.3}, "1910": {"bits_per_byte": 1.7}},
}
PARITY = {
    "onnx": {"max_abs": 1e-6, "cases": [{}, {}]},
    "int8": {
        "max_abs": 0.1,
        "cases": [{}],
        "loss_delta": -0.0001,
        "perplexity_delta": 0.002,
        "bytes": 12345678,
        "tokens": 512,
    },
}


@pytest.fixture
def render(tmp_path: Path) -> Callable[..., str]:
    """Writes the files that a card is made from, and makes it."""

    def render(**changes: Any) -> str:
        values: dict[str, Any] = {
            "config": {"architectures": ["LlamaForCausalLM"]},
            "metrics": METRICS,
            "parity": PARITY,
            "samples": [{"prompt": "the <b>", "text": "people\nof"}],
            "pictures": ["curves.png"],
            **changes,
        }
        recipe = values.pop("recipe", small_line.recipe())
        write_json(tmp_path / "config.json", values["config"] | {"vocab_size": 320})
        write_json(tmp_path / "samples.json", values["samples"])
        for name in values["pictures"]:
            (tmp_path / name).touch()
        parts = Task(recipe).card(tmp_path, tmp_path, values["metrics"], values["parity"])
        training = {"step": 80, "valid_loss": 2.9, "parameters": 1000, **values.get("training", {})}
        return model_card.render(recipe, INDEX, training, values["parity"], Task(recipe).signature(tmp_path), parts)

    return render


def test_the_head_is_yaml_that_a_hub_can_read(render: Callable[..., str]) -> None:
    _, head, _ = render().split("---\n", 2)
    values = yaml.safe_load(head)
    assert values["license_name"] == "made up for tests"
    assert values["library_name"] == "transformers"


def test_only_what_was_measured_goes_in(render: Callable[..., str]) -> None:
    card = render()
    assert "| train | 9 | 1,234,567 | 5,000,000 |" in card
    assert "| optimizer steps | 80 |" in card
    assert "tokens trained on" not in card
    assert "`model.pt2`" not in card
    assert "| `model.int8.onnx` | ONNX Runtime, int8 weights | 12.3 | 0.1 | -0.010 % | +0.200 % |" in card
    assert "![Loss over training](curves.png)" in card
    assert "groups.png" not in card
    assert "It is weakest on decade 1910: 1.700 bits per byte." in card
    assert "> **the &lt;b>** people of" in card


def test_where_a_folder_lies_on_its_makers_machine_is_not_told(render: Callable[..., str]) -> None:
    recipe = small_line.recipe()
    source = recipe.source.model_copy(update={"path": "/home/somebody/letters"})
    card = render(recipe=recipe.model_copy(update={"source": source}))
    assert "path `letters`" in card
    assert "somebody" not in card


def test_what_a_tuned_model_began_with(render: Callable[..., str]) -> None:
    text = render(training={"began_with": {"model.safetensors": "a" * 64}, "trained": 48})
    assert f"| trained from `model.safetensors` | sha256 `{'a' * 64}` |" in text
    assert "| numbers trained; all others are frozen | 48 |" in text
    assert "taken as they are" not in text


def test_parts_without_contents_are_left_out(render: Callable[..., str]) -> None:
    card = render(samples=[], metrics={**METRICS, "groups": {}}, parity={"onnx": PARITY["onnx"]})
    assert "## Samples" not in card
    assert "weakest" not in card
    assert "int8" not in card
    assert "\n\n\n" not in card


def test_an_architecture_of_our_own_is_said_to_be_so(render: Callable[..., str]) -> None:
    card = render(config={"architectures": ["MetrolineDecoder"]})
    assert "library_name: metroline" in card
    assert "`transformers` does not load it" in card


@pytest.mark.parametrize(
    ("method", "sentence"), [("hash", "No document is in two splits"), ("tail", "parts of the text in reading order")]
)
def test_how_the_splits_are_kept_apart(render: Callable[..., str], method: str, sentence: str) -> None:
    assert sentence in render(recipe=small_line.recipe(split={"method": method}))


def test_bars_in_a_cell_do_not_break_the_table() -> None:
    assert table(("a",), [("x|y",), (1.23456,), (12345,)]).split("\n")[2:] == [
        "| x\\|y |",
        "| 1.235 |",
        "| 12,345 |",
    ]
