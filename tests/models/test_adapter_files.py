"""PEFT's files, written and read; against PEFT itself where it is installed."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from base.errors import MetrolineError
from models import adapter_files
from models.adapter_files import CONFIG, WEIGHTS
from models.adapters import adapted, attach, merge
from models.decoder.huggingface import load, published, save_pretrained
from models.decoder.model import Decoder
from tests.models.test_adapters import FORMS, HEAD, IDS, decoder, drawn, randomise

BASE = "ab" * 32


def names(model: Decoder) -> Any:
    return lambda layer: published(model.config, layer)


def write(folder: Path, kind: str = "lora", targets: tuple[str, ...] = ("*",), **shape: Any) -> Decoder:
    """A decoder with adapters as after some training, which are in the folder."""
    model = decoder(**shape)
    attach(model, FORMS[kind], targets, drawn(), HEAD)
    randomise(model)
    adapter_files.write(model, folder, base="base", base_sha256=BASE, published=names(model))
    return model


def read(folder: Path, base_sha256: str = BASE, **shape: Any) -> Decoder:
    model = decoder(**shape)
    adapter_files.read(folder, model, base_sha256=base_sha256, published=names(model))
    return model


@pytest.mark.parametrize("kind", FORMS)
def test_what_is_written_is_read(kind: str, tmp_path: Path) -> None:
    model = write(tmp_path, kind)
    again = read(tmp_path)
    with torch.no_grad():
        assert torch.equal(again(IDS), model(IDS))
    assert [name for name, weight in again.named_parameters() if weight.requires_grad] == [
        name for name, weight in model.named_parameters() if weight.requires_grad
    ]
    merge(again)
    write(tmp_path / "again", kind)
    for name in (WEIGHTS, CONFIG):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_the_files_have_the_names_of_the_hugging_face_folder(tmp_path: Path) -> None:
    write(tmp_path, "dora", qk_norm=False)
    layer = "base_model.model.model.layers.1.mlp.up_proj"
    assert {f"{layer}.{part}" for part in ("lora_A.weight", "lora_B.weight", "lora_magnitude_vector")} == {
        name for name in load_file(tmp_path / WEIGHTS) if name.startswith(layer)
    }
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["base_sha256"] == BASE
    assert config["target_modules"] == sorted(f"{part}_proj" for part in ("q", "k", "v", "o", "gate", "up", "down"))
    assert (config["r"], config["lora_alpha"], config["use_dora"], config["use_rslora"]) == (4, 8.0, True, False)
    write(tmp_path, "lora", ("layers.0.self_attn.q_proj",), qk_norm=False)
    config = json.loads((tmp_path / CONFIG).read_text())
    assert config["target_modules"] == ["model.layers.0.self_attn.q_proj"], "the other layer has one of this name"


def test_a_gpt2_cannot_have_its_adapters_written(tmp_path: Path) -> None:
    shape = {"bias": True, "norm": "layernorm", "activation": "gelu", "positions": "learned", "qk_norm": False,
             "kv_heads": 4}  # fmt: skip
    with pytest.raises(MetrolineError, match="an adapter of a GPT-2 cannot be written"):
        write(tmp_path, **shape)


def configured(**values: Any) -> Any:
    def change(folder: Path) -> None:
        config = json.loads((folder / CONFIG).read_text())
        (folder / CONFIG).write_text(json.dumps({**config, **values}))

    return change


def stored(change: Any) -> Any:
    def apply(folder: Path) -> None:
        tensors = load_file(folder / WEIGHTS)
        change(tensors)
        save_file(tensors, folder / WEIGHTS)

    return apply


LAYER = "base_model.model.model.layers.0.mlp.up_proj"
FIRST = f"{LAYER}.lora_A.weight"


def with_nan(tensors: dict[str, Tensor]) -> None:
    tensors[FIRST][1, 2] = torch.nan


def of_rank_3(tensors: dict[str, Tensor]) -> None:
    tensors[FIRST] = tensors[FIRST][:3].clone()


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")


BAD: dict[str, tuple[Any, str]] = {
    "pickle": (pickled, r"adapter_model\.bin is a pickle, which can run code and is not opened"),
    "no weights": (lambda folder: (folder / WEIGHTS).unlink(), "is no adapter: adapter_model.safetensors is missing"),
    "no configuration": (lambda folder: (folder / CONFIG).unlink(), "adapter_config.json"),
    "cut off": (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-9]), "not a whole"),
    "another method": (configured(peft_type="IA3"), "peft_type is IA3, only LORA is read"),
    "unknown key": (configured(alpha_rotation=0.3), "alpha_rotation: 0.3 changes what is computed"),
    "patterns": (configured(rank_pattern={"q_proj": 2}), "rank_pattern: .*changes what is computed"),
    "transposed": (configured(fan_in_fan_out=True), "fan_in_fan_out: True changes what is computed"),
    "biases": (configured(bias="all"), "bias: all changes what is computed"),
    "another base beneath": (configured(init_lora_weights="pissa"), "pissa changes the weights below the adapter"),
    "vocabulary": (configured(modules_to_save=["lm_head"]), r"modules_to_save \['lm_head'\] are whole layers"),
    "new tokens": (configured(trainable_token_indices=[5]), "trainable_token_indices .* resized vocabulary"),
    "other rank": (configured(r=5), r"is \[4, 96\], rank 5 on this base makes it \[5, 96\]"),
    "one other rank": (stored(of_rank_3), r"up_proj\.lora_A\.weight is \[3, 64\], rank 4 on this base"),
    "no rank": (configured(r="8"), "r is 8, not a number from 1"),
    "no scale": (configured(lora_alpha=float("nan")), "lora_alpha is nan"),
    "nan": (stored(with_nan), r"up_proj\.lora_A\.weight has values that are not finite"),
    "half": (stored(lambda tensors: tensors.pop(FIRST)), f"has no {FIRST}"),
    "embeddings": (
        stored(lambda tensors: tensors.update({"base_model.model.model.embed_tokens.weight": torch.ones(99, 64)})),
        "no linear layer for base_model.model.model.embed_tokens.weight .a resized vocabulary",
    ),
    "unknown layer": (
        stored(lambda tensors: tensors.update({FIRST.replace("layers.0", "layers.7"): torch.ones(4, 64)})),
        r"no linear layer for base_model\.model\.model\.layers\.7",
    ),
    "nothing": (stored(lambda tensors: tensors.clear()), "holds no adapter"),
    "magnitudes of no DoRA": (
        stored(lambda tensors: tensors.update({f"{LAYER}.lora_magnitude_vector": torch.ones(96)})),
        "no linear layer for .*lora_magnitude_vector",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_files_that_are_refused(what: str, tmp_path: Path) -> None:
    damage, message = BAD[what]
    write(tmp_path)
    read(tmp_path)
    damage(tmp_path)
    with pytest.raises(MetrolineError, match=message) as caught:
        read(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_adapter_of_another_base_is_refused(tmp_path: Path) -> None:
    write(tmp_path)
    with pytest.raises(MetrolineError, match=r"is an adapter of other weights \(base, sha256 abab.*not of these .cdcd"):
        read(tmp_path, base_sha256="cd" * 32)
    with pytest.raises(MetrolineError, match=r"on this base makes it \[32, 4\]"):
        read(tmp_path, width=32)
    configured(base_sha256=None)(tmp_path)
    read(tmp_path, base_sha256="cd" * 32)  # one of PEFT's does not say


def test_an_adapter_is_not_put_on_twice(tmp_path: Path) -> None:
    model = write(tmp_path)
    with pytest.raises(MetrolineError, match="the network has adapters already"):
        adapter_files.read(tmp_path, model, base_sha256=BASE, published=names(model))
    assert all(type(module) is not nn.Linear for module in adapted(model).values())


@pytest.mark.peer
@pytest.mark.parametrize("kind", FORMS)
def test_peft_reads_and_writes_the_same_adapter(kind: str, tmp_path: Path) -> None:
    """Both directions on a small Llama: equal logits, and merged by PEFT the merged weights."""
    peft = pytest.importorskip("peft", exc_type=ImportError)
    transformers = pytest.importorskip("transformers", exc_type=ImportError)
    model = write(tmp_path / "ours", kind, qk_norm=False)
    save_pretrained(decoder(qk_norm=False), tmp_path / "base")

    def base() -> Any:
        return transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()

    with torch.no_grad():
        expected = model(IDS)
        peer = peft.PeftModel.from_pretrained(base(), tmp_path / "ours").eval()
        assert float((peer(IDS).logits - expected).abs().max()) <= 1e-4
        peer.merge_and_unload().save_pretrained(tmp_path / "merged")
        merge(model)
        for name, weight in load(tmp_path / "merged").state_dict().items():
            assert torch.allclose(weight, model.state_dict()[name], atol=1e-5), name

        form = FORMS[kind]
        settings = peft.LoraConfig(
            r=form.rank, lora_alpha=form.alpha, use_rslora=form.stabilized, use_dora=form.decomposed,
            target_modules="all-linear", init_lora_weights=False,
        )  # fmt: skip
        theirs = peft.get_peft_model(base(), settings).eval()
        theirs.save_pretrained(tmp_path / "theirs")
        ours = load(tmp_path / "base")
        adapter_files.read(tmp_path / "theirs", ours, base_sha256=BASE, published=names(ours))
        assert float((theirs(IDS).logits - ours(IDS)).abs().max()) <= 1e-4
        assert float((theirs(IDS).logits - expected).abs().max()) > 0.01
