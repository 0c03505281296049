"""Hugging Face folders: there and back, against `transformers` itself, and one clear line for each damage."""

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import processors

from base.errors import MetrolineError
from data.text.tokenizer import Tokenizer, TokenizerConfig, save, train
from models.decoder.huggingface import from_hf, load, save_pretrained, save_tokenizer, to_hf
from tests.models.decoder.small_decoders import STYLES, build, tokens

CLASSES = {
    "llama": "LlamaForCausalLM",
    "llama-bias-untied": "LlamaForCausalLM",
    "qwen3": "Qwen3ForCausalLM",
    "multi-query": "Qwen3ForCausalLM",
    "arcee": "ArceeForCausalLM",
    "gpt2": "GPT2LMHeadModel",
    "own": "MetrolineDecoder",
}


@pytest.mark.parametrize("style", STYLES)
def test_a_saved_model_loads_equal(style, tmp_path):
    model = build(style)
    save_pretrained(model, tmp_path, eos=3)
    again = load(tmp_path)
    assert again.config == model.config
    assert torch.equal(again(tokens(2, 9)), model(tokens(2, 9)))
    values = json.loads((tmp_path / "config.json").read_text())
    assert values["architectures"] == [CLASSES[style]]
    assert values["eos_token_id"] == 3
    assert not again.training


@pytest.mark.parametrize("style", STYLES)
def test_equal_weights_give_equal_bytes(style, tmp_path):
    for name in ("a", "b"):
        save_pretrained(build(style), tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


@pytest.mark.parametrize("style", STYLES)
def test_configurations_survive_the_round_trip(style):
    config = build(style, dropout=0.125, norm_eps=1e-6, layers=1).config
    assert from_hf(json.loads(json.dumps(to_hf(config, eos=0)))) == config


@pytest.mark.peer
@pytest.mark.parametrize("style", [style for style in STYLES if style != "own"])
def test_transformers_computes_equal_logits(style, tmp_path, transformers):
    model = build(style)
    save_pretrained(model, tmp_path)
    peer, report = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert type(peer).__name__ == CLASSES[style]
    assert not any(report.values()), report
    with torch.no_grad():
        ours, theirs = model(tokens(3, 20)), peer.eval()(tokens(3, 20)).logits
    assert (ours - theirs).abs().max() < 2e-5 * max(1.0, float(theirs.abs().max()))


@pytest.mark.peer
@pytest.mark.parametrize("style", ["llama", "qwen3", "gpt2"])
def test_loads_what_transformers_saved(style, tmp_path, transformers):
    save_pretrained(build(style), tmp_path / "ours")
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "ours").eval()
    peer.save_pretrained(tmp_path / "theirs")
    with torch.no_grad():
        assert torch.allclose(load(tmp_path / "theirs")(tokens(2, 9)), peer(tokens(2, 9)).logits, rtol=1e-4, atol=1e-4)


def test_the_tokenizer_goes_along(tmp_path):
    tokenizer = tmp_path / "source.json"
    tokenizer.write_text(json.dumps({"added_tokens": [{"id": 0, "content": "<|endoftext|>"}], "model": {}}))
    save_pretrained(build("llama"), tmp_path / "model", tokenizer=tokenizer, eos=0)
    assert (tmp_path / "model/tokenizer.json").read_bytes() == tokenizer.read_bytes()
    values = json.loads((tmp_path / "model/tokenizer_config.json").read_text())
    assert values["eos_token"] == "<|endoftext|>"
    assert values["model_max_length"] == 32


@pytest.mark.peer
@pytest.mark.parametrize("kind", ["bpe", "char"])
def test_transformers_reads_the_tokenizer_and_agrees(kind, tmp_path, transformers):
    text = "abc \n abc"
    tokenizer = train([text] * 4, TokenizerConfig(kind=kind, vocabulary=300))
    save(tokenizer, tmp_path / "source.json")
    save_tokenizer(tmp_path / "source.json", tmp_path / "model", context=64, eos=tokenizer.eos)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    assert theirs(text)["input_ids"] == tokenizer.encode(text)
    assert theirs.decode(tokenizer.encode(text)) == text
    assert theirs.eos_token_id == tokenizer.eos
    assert theirs.model_max_length == 64


@pytest.mark.peer
@pytest.mark.parametrize("frame", ["<|endoftext|> $A", "$A <|endoftext|>", "$A"])
def test_transformers_puts_the_same_tokens_before_a_text(frame, tmp_path):
    """One that it puts after the text is left out: prompts go on, and a document's end is ours to write."""
    transformers = pytest.importorskip("transformers", reason="compares with transformers: pip install '.[peers]'")
    tokenizer = train(["abc abc"] * 4, TokenizerConfig(vocabulary=300))
    tokenizer.inner.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[("<|endoftext|>", tokenizer.eos)]
    )
    save(tokenizer, tmp_path / "source.json")
    save_tokenizer(tmp_path / "source.json", tmp_path / "model", context=64, eos=tokenizer.eos)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path / "model")
    loaded = Tokenizer.load(tmp_path / "model/tokenizer.json")
    after = [tokenizer.eos] * frame.endswith(">")
    for text in ("abc \n abc", "abc", " "):
        assert theirs(text)["input_ids"] == [*loaded.first, *loaded.encode(text), *after]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole")
    save_pretrained(build("llama"), path)
    return path


def weights(change):
    def damage(folder):
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")

    return damage


def config(**changes):
    def damage(folder):
        path = folder / "config.json"
        values = {k: v for k, v in (json.loads(path.read_text()) | changes).items() if v is not ...}
        path.write_text(json.dumps(values))

    return damage


def truncate(share):
    def damage(folder):
        path = folder / "model.safetensors"
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])

    return damage


HEAD = "lm_head.weight"
Q = "model.layers.1.self_attn.q_proj.weight"
DAMAGE = {
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "model.safetensors is missing"),
    "no config": (lambda f: (f / "config.json").unlink(), "config.json is missing"),
    "truncated": (truncate(0.6), "not a whole safetensors file"),
    "truncated header": (truncate(0.001), "not a whole safetensors file"),
    "empty": (truncate(0), "not a whole safetensors file"),
    "a pickle": (lambda f: torch.save({}, f / "model.safetensors"), "not a whole safetensors file"),
    "missing tensor": (weights(lambda t: t.pop(Q)), f"lacks 1 tensors that config.json names: {Q}"),
    "NaN": (weights(lambda t: t[Q].fill_(float("nan"))), f"{Q} has values that are not finite"),
    "infinity": (weights(lambda t: t[Q].view(-1)[-1:].fill_(-math.inf)), f"{Q} has values that are not finite"),
    "integers": (weights(lambda t: t.update({Q: t[Q].to(torch.int8)})), f"{Q} is stored as I8, not as one of F64, F32"),
    "a head's NaN": (weights(lambda t: t.update({HEAD: torch.full((61, 64), math.nan)})), f"{HEAD} has values that"),
    "a head's shape": (weights(lambda t: t.update({HEAD: torch.zeros(60, 64)})), rf"{HEAD} is \[60, 64\], config.json"),
    "extra tensor": (weights(lambda t: t.update(extra=torch.zeros(2))), "has 1 tensors that config.json does not name"),
    "wrong shape": (weights(lambda t: t.update({Q: torch.zeros(64, 60)})), r"q_proj.weight is \[64, 60\], config.json"),
    "not JSON": (lambda f: (f / "config.json").write_text("{"), "is not valid JSON"),
    "not an object": (lambda f: (f / "config.json").write_text("[1]"), "is not a JSON object"),
    "no architecture": (config(architectures=[]), "names no architecture"),
    "unknown architecture": (config(architectures=["BertModel"]), "BertModel is not supported"),
    "missing key": (config(num_attention_heads=...), "has no num_attention_heads"),
    "bad value": (config(num_hidden_layers=0), "layers: Input should be greater than or equal to 1"),
    "impossible shape": (config(num_key_value_heads=3), "not a multiple of kv_heads 3"),
    "scaled RoPE": (config(rope_parameters={"rope_type": "yarn"}), "rope_type = 'yarn' is not supported"),
    "another activation": (config(hidden_act="gelu"), "hidden_act = 'gelu' is not supported"),
    "another depth": (config(num_hidden_layers=3), "lacks 9 tensors"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_bad_folder_gives_one_clear_line(name, folder, tmp_path):
    copy = tmp_path / "model"
    shutil.copytree(folder, copy)
    damage, message = DAMAGE[name]
    damage(copy)
    with pytest.raises(MetrolineError, match=message) as caught:
        load(copy)
    assert "\n" not in str(caught.value)
    assert str(copy) in str(caught.value)
