"""Weights of others: read, mapped, and compared; one clear line for each damage."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from safetensors.torch import load_file, save_file

from base.errors import MetrolineError
from data.text import weights as text_side
from data.text.tokenizer import Tokenizer
from models.decoder.gguf import load, unpermuted
from models.decoder.huggingface import save_pretrained
from tests.gguf_files import TEXTS, permuted, write_llama
from tests.models.decoder.small_decoders import build, tokens

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "changes", [{}, {"tied": False}, {"kv_heads": 1, "rope_theta": 1e5, "norm_eps": 1e-6}], ids=str
)
def test_a_gguf_file_gives_the_model_back(changes, tmp_path):
    model = build("llama", **changes)
    again = load(write_llama(tmp_path / "model.gguf", model))
    assert again.config == model.config.model_copy(update={"init_std": 0.02})
    assert torch.equal(again(tokens(2, 9)), model(tokens(2, 9)))
    assert not again.training


def test_the_ending_may_be_in_capitals(tmp_path):
    model = build("llama")
    assert torch.equal(load(write_llama(tmp_path / "MODEL.GGUF", model))(tokens(2, 9)), model(tokens(2, 9)))


@pytest.mark.parametrize("kind", [Kind.F16, Kind.BF16, Kind.Q8_0, Kind.Q4_1], ids=lambda kind: kind.name)
def test_quantized_weights_are_near(kind, tmp_path):
    model = build("llama")
    again = load(write_llama(tmp_path / "model.gguf", model, kind))
    pairs = zip(model.named_parameters(), again.parameters(), strict=True)
    for (name, ours), theirs in ((entry, other.detach()) for entry, other in pairs):
        assert theirs.dtype == torch.float32
        distance = float((ours.detach() - theirs).norm() / ours.detach().norm())
        assert distance < (0.1 if kind is Kind.Q4_1 else 0.01), name
        assert (distance == 0) == (ours.dim() == 1)  # norms are stored whole


def test_rows_of_q_and_k_are_put_back_in_order():
    weight = np.arange(2 * 8, dtype=np.float32).reshape(16, 1)
    assert permuted(weight, 2)[:, 0].tolist() == [0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15]
    assert np.array_equal(unpermuted(permuted(weight, 2), 2), weight)
    assert not np.array_equal(unpermuted(weight, 2), weight)


BAD = {
    "architecture": ({"architecture": "gemma"}, "the architecture 'gemma' is not supported .*take another model"),
    "only as a folder": ({"architecture": "qwen3"}, "only llama .take its Hugging Face folder with safetensors"),
    "not finite": (
        {"tensors": {"output_norm.weight": np.full(64, np.inf, np.float32)}},
        "output_norm.weight has values that are not finite",
    ),
    "experts": ({"experts": 4}, "mixtures of experts"),
    "partial RoPE": ({"rope": 8}, "scaled or partial RoPE"),
    "no eps": ({"eps": None}, "has no llama.attention.layer_norm_rms_epsilon"),
    "another depth": ({"layers": 3}, "lacks 9 of its tensors, such as blk.2"),
    "a layer more": ({"layers": 1}, "has tensors that a Llama decoder does not: blk.1"),
    "a huge depth": ({"layers": 2**31}, "lacks"),
    "no layers": ({"layers": 0}, "describes no decoder"),
    "no embedding": ({"tensors": {"token_embd.weight": None}}, "lacks 1 of its tensors, such as token_embd.weight"),
    "frequencies": ({"tensors": {"rope_freqs.weight": np.ones(8, np.float32)}}, "does not: rope_freqs.weight"),
    "a bias": ({"tensors": {"blk.0.attn_q.bias": np.ones(64, np.float32)}}, "does not: blk.0.attn_q.bias"),
    "shape": ({"tensors": {"blk.0.ffn_up.weight": np.ones((32, 64), np.float32)}}, r"ffn_up.weight is \[32, 64\], its"),
}


@pytest.mark.parametrize("name", BAD)
def test_an_unsupported_file_gives_one_clear_line(name, tmp_path):
    changes, message = BAD[name]
    path = write_llama(tmp_path / "model.gguf", build("llama"), changes=changes)
    with pytest.raises(MetrolineError, match=message) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_cut_off_in_its_weights(tmp_path):
    path = write_llama(tmp_path / "model.gguf", build("llama"))
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(MetrolineError, match="is not a whole GGUF file"):
        load(path)


def split(folder: Path, files: int = 3) -> dict[str, str]:
    """model.safetensors as several files with an index, as big models have it. Returns the index's weight_map."""
    tensors = load_file(folder / "model.safetensors")
    places = {name: f"model-{number % files + 1:05d}-of-{files:05d}.safetensors" for number, name in enumerate(tensors)}
    for file in set(places.values()):
        save_file({name: tensors[name] for name in tensors if places[name] == file}, folder / file)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return places


@pytest.mark.parametrize("style", ["llama", "gpt2"])
def test_a_folder_with_its_weights_in_several_files(style, tmp_path):
    model = build(style)
    save_pretrained(model, tmp_path)
    split(tmp_path)
    assert torch.equal(load(tmp_path)(tokens(2, 9)), model(tokens(2, 9)))


def test_half_precision_weights_become_float32(tmp_path):
    model = build("llama")
    save_pretrained(model, tmp_path)
    halves = {name: tensor.bfloat16() for name, tensor in load_file(tmp_path / "model.safetensors").items()}
    save_file(halves, tmp_path / "model.safetensors")
    for ours, theirs in zip(model.parameters(), load(tmp_path).parameters(), strict=True):
        assert torch.equal(ours.bfloat16().float(), theirs)


def pickled(folder: Path) -> None:
    (folder / "model.safetensors.index.json").unlink()
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model.bin")


def outside(folder: Path) -> None:
    shutil.copyfile(folder / "model-00001-of-00003.safetensors", folder.parent / "elsewhere.safetensors")
    index(lambda places: {**places, "x": "../elsewhere.safetensors"})(folder)


def index(change):
    def damage(folder: Path) -> None:
        path = folder / "model.safetensors.index.json"
        path.write_text(json.dumps({"weight_map": change(json.loads(path.read_text())["weight_map"])}))

    return damage


FOLDERS = {
    "pickle": (pickled, "pytorch_model.bin, a pickle, which can run code and is not opened"),
    "a file is missing": (lambda f: (f / "model-00002-of-00003.safetensors").unlink(), "names the file model-00002"),
    "a file elsewhere": (outside, r"names the file \.\./elsewhere\.safetensors, which is not beside it"),
    "a file left out": (index(lambda p: {k: v for k, v in p.items() if "model-00003" not in v}), "lacks"),
    "no map": (index(lambda p: None), "has no weight_map"),
    "numbers": (index(lambda p: {"a": 1}), "has no weight_map"),
    "not JSON": (lambda f: (f / "model.safetensors.index.json").write_text("{"), "is not valid JSON"),
    "cut off": (lambda f: os.truncate(f / "model-00002-of-00003.safetensors", 99), "is not a whole safetensors file"),
    "twice": (
        lambda f: shutil.copyfile(f / "model-00001-of-00003.safetensors", f / "model-00003-of-00003.safetensors"),
        "is also in model-00001",
    ),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_bad_folder_gives_one_clear_line(name, tmp_path):
    folder = tmp_path / "model"
    save_pretrained(build("llama"), folder)
    split(folder)
    damage, message = FOLDERS[name]
    damage(folder)
    with pytest.raises(MetrolineError, match=message) as caught:
        load(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


def test_the_real_model_knows_a_fact(tmp_path, smollm2):
    model, tokenizer = load(smollm2), Tokenizer.load(text_side.read(smollm2).save(tmp_path))
    ids = torch.tensor([tokenizer.encode("The capital of France is")])
    with torch.no_grad():
        for _ in range(2):
            ids = torch.cat([ids, model(ids)[:, -1:].argmax(-1)], 1)
    assert tokenizer.decode(ids[0].tolist()) == "The capital of France is Paris."


@pytest.mark.peer
def test_the_real_model_has_the_logits_of_transformers(tmp_path, smollm2, transformers):
    peer = transformers.AutoModelForCausalLM.from_pretrained(
        smollm2.parent, gguf_file=smollm2.name, dtype=torch.float32
    )
    model = load(smollm2)
    tokenizer = Tokenizer.load(text_side.read(smollm2).save(tmp_path))
    for text in TEXTS:
        ids = torch.tensor([tokenizer.encode(text)])
        with torch.no_grad():
            assert (model(ids) - peer.eval()(ids).logits).abs().max() <= 1e-3


@pytest.mark.peer
def test_the_real_tokenizer_equals_that_of_transformers(tmp_path, smollm2, transformers):
    """With the digit rule taken away, which transformers' reader of GGUF files does not know, every text gives equal
    tokens; with it, every text without digits does."""
    theirs = transformers.AutoTokenizer.from_pretrained(smollm2.parent, gguf_file=smollm2.name)
    made = text_side.read(smollm2)
    without_digits = [text for text in TEXTS if not any(character.isnumeric() for character in text)]
    assert without_digits
    for text in without_digits:
        assert made.inner.encode(text).ids == theirs(text)["input_ids"]
    saved = transformers.AutoTokenizer.from_pretrained(made.save(tmp_path).parent)
    for text in TEXTS:
        assert saved(text)["input_ids"] == made.inner.encode(text).ids
        assert saved.decode(saved(text)["input_ids"]) == text
    made.inner.pre_tokenizer = theirs.backend_tokenizer.pre_tokenizer
    for text in TEXTS:
        assert made.inner.encode(text).ids == theirs(text)["input_ids"]
    messages = [{"role": "user", "content": "hi"}]
    assert saved.apply_chat_template(messages, tokenize=False) == theirs.apply_chat_template(messages, tokenize=False)


@pytest.mark.peer
def test_the_real_tokenizer_equals_that_of_llama_cpp(smollm2):
    """An implementation of its own, which knows the digit rule."""
    llama_cpp = pytest.importorskip("llama_cpp", reason="compares with llama.cpp: pip install llama-cpp-python")
    theirs = llama_cpp.Llama(str(smollm2), vocab_only=True, verbose=False)
    ours = text_side.read(smollm2).inner
    ours.encode_special_tokens = True
    code = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "data/text").glob("*.py"))]
    for text in [*TEXTS, *code, (ROOT / "README.md").read_text(encoding="utf-8")]:
        assert ours.encode(text).ids == theirs.tokenize(text.encode(), add_bos=False, special=False)
