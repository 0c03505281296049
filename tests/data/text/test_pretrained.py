"""The text side of pretrained weights: tokenizer, special tokens, stop tokens, chat template."""

import json
import shutil

import gguf
import pytest
import tokenizers
from tokenizers import pre_tokenizers, processors

from base.errors import MetrolineError
from base.files import sha256
from data.fetch.sources import HubSource, fetch
from data.text.gguf_tokenizer import PRE_TOKENIZERS
from data.text.tokenizer import Tokenizer
from data.text.weights import find, read
from tests.decoders import KINDS, REFUSED, tokenizer
from tests.gguf_files import TEMPLATE, TEXTS, add_tokenizer, finish, write_tokenizer


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("weights") / "model.gguf")


@pytest.fixture
def folder(weights, tmp_path):
    """A Hugging Face folder with the same tokenizer."""
    path = tmp_path / "hub"
    path.mkdir()
    read(weights).save(path)
    (path / "config.json").write_text(json.dumps({"max_position_embeddings": 64, "eos_token_id": 2}))
    return path


def test_saved_files(weights, tmp_path):
    assert read(weights).save(tmp_path) == tmp_path / "tokenizer.json"
    assert json.loads((tmp_path / "tokenizer_config.json").read_text()) == {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": 64,
        "bos_token": "<|im_start|>",
        "eos_token": "<|im_end|>",
        "pad_token": "<|im_end|>",
        "clean_up_tokenization_spaces": False,
    }
    # An answer ends with the chat's token, a text with the documents' one.
    assert json.loads((tmp_path / "generation_config.json").read_text()) == {
        "bos_token_id": 1,
        "eos_token_id": [2, 0],
        "pad_token_id": 2,
    }
    assert (tmp_path / "chat_template.jinja").read_text() == TEMPLATE
    made = Tokenizer.load(tmp_path / "tokenizer.json")
    assert made.eos == 0
    assert made.vocab_size == made.inner.get_vocab_size()


def test_without_a_template(tmp_path):
    read(write_tokenizer(tmp_path / "base.gguf", template=None)).save(tmp_path)
    assert not (tmp_path / "chat_template.jinja").exists()


@pytest.mark.parametrize("rule", PRE_TOKENIZERS)
@pytest.mark.parametrize("text", TEXTS)
def test_any_text_comes_back(rule, text, tmp_path):
    made = read(write_tokenizer(tmp_path / "model.gguf", pre=rule)).inner
    made.encode_special_tokens = True
    assert made.decode(made.encode(text, add_special_tokens=False).ids, skip_special_tokens=False) == text


def test_special_tokens_are_found_only_when_asked_for(weights):
    made = read(weights).inner
    assert made.encode("<|im_start|>a").ids[0] == 1
    made.encode_special_tokens = True
    assert 1 not in made.encode("<|im_start|>a").ids


def pieces(rule, text):
    return [piece for piece, _ in PRE_TOKENIZERS[rule]().pre_tokenize_str(text)]


def test_how_each_rule_cuts():
    assert pieces("gpt-2", "a 123  45") == ["a", "Ġ123", "Ġ", "Ġ45"]
    assert pieces("smollm", "a 123  45") == ["a", "Ġ", "1", "2", "3", "ĠĠ", "4", "5"]
    assert pieces("llama-bpe", "a 1234\n\nb") == ["a", "Ġ", "123", "4", "ĊĊ", "b"]


@pytest.mark.parametrize(
    ("rule", "asked", "first"),
    [
        ("smollm", True, (1,)),
        ("smollm", False, ()),
        ("smollm", None, ()),
        ("llama-bpe", None, (1,)),
        ("llama-bpe", False, ()),
    ],
)
def test_a_bos_token_in_front_where_the_file_or_its_rule_asks_for_it(rule, asked, first, tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "model.gguf", "llama")
    writer.add_context_length(64)
    if asked is not None:
        writer.add_add_bos_token(asked)
    add_tokenizer(writer, pre=rule)
    finish(writer)
    made = Tokenizer(read(tmp_path / "model.gguf").inner)
    assert made.first == first
    assert made.inner.encode("a").ids == [*first, *made.encode("a")]


def frozen(inner):
    """What published files keep by accident: cut at 4 tokens, filled up to 9, merges left out at random."""
    inner.enable_truncation(max_length=4)
    inner.enable_padding(length=9, pad_id=2, pad_token="<|im_end|>")
    inner.model.dropout = 0.9


def test_truncation_padding_and_dropout_are_not_obeyed_and_not_written_on(folder, tmp_path):
    plain, text = read(folder).inner, TEXTS[0] * 3
    wanted = plain.encode(text).ids
    frozen(plain)
    assert plain.encode(text).ids != wanted
    plain.save(str(folder / "tokenizer.json"))
    assert Tokenizer.load(folder / "tokenizer.json").encode_batch([text, "a"])[0] == wanted
    found = read(folder)
    assert found.inner.encode(text).ids == wanted
    found.save(tmp_path)
    written = json.loads((tmp_path / "tokenizer.json").read_text())
    assert (written["truncation"], written["padding"], written["model"]["dropout"]) == (None, None, None)


FRAMES = {
    "none": (None, ()),
    "bytes": (processors.ByteLevel(trim_offsets=False), ()),
    "one": (processors.TemplateProcessing(single="<a> $A", special_tokens=[("<a>", 1)]), (1,)),
    "two, and one after": (
        processors.TemplateProcessing(single="<a> <b> $A <b>", special_tokens=[("<a>", 1), ("<b>", 2)]),
        (1, 2),
    ),
    "only after": (processors.TemplateProcessing(single="$A <b>", special_tokens=[("<b>", 2)]), ()),
    "in a sequence": (
        processors.Sequence(
            [
                processors.ByteLevel(trim_offsets=False),
                processors.TemplateProcessing(single="<a> $A", special_tokens=[("<a>", 1)]),
            ]
        ),
        (1,),
    ),
    "as bert": (processors.BertProcessing(("<b>", 2), ("<a>", 1)), (1,)),
}


@pytest.mark.parametrize("name", FRAMES)
def test_which_tokens_come_before_every_text(name, folder):
    processor, first = FRAMES[name]
    inner = read(folder).inner
    if processor is not None:
        inner.post_processor = processor
    made = Tokenizer(inner)
    assert made.first == first
    assert not {*first} & {*made.encode("hello")}


def metadata(**changes):
    """A file whose tokenizer's metadata are replaced (None: left out)."""

    def make(path):
        writer = gguf.GGUFWriter(path, "llama")
        writer.add_context_length(64)
        add_tokenizer(writer)
        kept = writer.kv_data[0]
        for key, value in changes.items():
            kept.pop(f"tokenizer.ggml.{key}", None)
            if isinstance(value, list):
                writer.add_array(f"tokenizer.ggml.{key}", value)
            elif value is not None:
                getattr(writer, f"add_{'string' if isinstance(value, str) else 'uint32'}")(
                    f"tokenizer.ggml.{key}", value
                )
        finish(writer)

    return make


BAD = {
    "no tokenizer": (metadata(model=None), "has no tokenizer.ggml.model"),
    "sentencepiece": (metadata(model="llama"), "of the kind 'llama', only byte-level BPE"),
    "no rule": (metadata(pre=None), "has no tokenizer.ggml.pre"),
    "unknown rule": (metadata(pre="tekken"), "pre-tokenizer 'tekken' is not supported, only gpt-2"),
    "no tokens": (metadata(tokens=None), "has no tokenizer.ggml.tokens"),
    "tokens are numbers": (metadata(tokens=[1, 2]), "tokens is not a list of texts"),
    "a token twice": (metadata(tokens=["a", "a"], token_type=[1, 1]), "has a token twice"),
    "types": (metadata(token_type=[1]), "does not say the type of each"),
    "merge": (metadata(merges=["zz zz"]), "the merge 'zz zz' is not of its tokens"),
    "half a merge": (metadata(merges=["a"]), "the merge 'a' is not of its tokens"),
    "eos": (metadata(eos_token_id=100_000), "eos_token_id 100000 is none of its"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_bad_tokenizer_gives_one_clear_line(name, tmp_path):
    make, message = BAD[name]
    make(tmp_path / "bad.gguf")
    with pytest.raises(MetrolineError, match=message) as caught:
        read(tmp_path / "bad.gguf")
    assert "\n" not in str(caught.value)
    assert "bad.gguf" in str(caught.value)


def test_a_hugging_face_folder_gives_the_same(folder, weights, tmp_path):
    assert find(tmp_path) == folder
    found = read(folder)
    assert (found.context, found.eos, found.template) == (64, (2, 0), TEMPLATE)
    assert found.special == read(weights).special
    found.save(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_older_and_odder_folders(folder):
    (folder / "chat_template.jinja").unlink()
    (folder / "generation_config.json").unlink()
    settings = {"eos_token": {"content": "<|im_end|>"}, "chat_template": "one", "auto_map": {"AutoTokenizer": "x.Evil"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    found = read(folder)
    assert (found.special, found.eos, found.template) == ({"eos_token": "<|im_end|>"}, (2,), "one")
    settings["chat_template"] = [{"name": "tool_use", "template": "b"}, {"name": "default", "template": "a"}]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    assert read(folder).template == "a"
    (folder / "config.json").write_text(json.dumps({"n_positions": 8}))
    assert (read(folder).context, read(folder).eos) == (8, (2,))
    read(folder).save(folder)
    assert "auto_map" not in (folder / "tokenizer_config.json").read_text()


def test_a_tokenizer_with_another_end_of_documents(tmp_path):
    inner = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "</s>": 1}, unk_token="a"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(MetrolineError, match="has no token that ends a document"):
        Tokenizer.load(tmp_path / "tokenizer.json")
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    assert Tokenizer.load(tmp_path / "tokenizer.json").eos == 1


FOLDERS = {
    "no tokenizer": (lambda f: (f / "tokenizer.json").unlink(), "has no tokenizer.json"),
    "damaged tokenizer": (lambda f: (f / "tokenizer.json").write_text("{}"), "not a tokenizer"),
    "damaged settings": (lambda f: (f / "tokenizer_config.json").write_text("{"), "is not valid JSON"),
    "settings are a list": (lambda f: (f / "tokenizer_config.json").write_text("[]"), "is not a JSON object"),
    "eos": (lambda f: (f / "generation_config.json").write_text('{"eos_token_id": "x"}'), "neither a number nor"),
    "context": (lambda f: (f / "config.json").write_text("{}"), "names no longest sequence"),
    "template": (lambda f: (f / "chat_template.jinja").write_bytes(b"\xff"), "can't decode"),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_bad_folder_gives_one_clear_line(name, folder):
    damage, message = FOLDERS[name]
    damage(folder)
    with pytest.raises(MetrolineError, match=message) as caught:
        read(folder)
    assert "\n" not in str(caught.value)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
def test_folders_with_any_decoder_that_is_read(folder, kind):
    tokenizer(*KINDS[kind]).save(str(folder / "tokenizer.json"))
    assert read(folder).inner.get_vocab_size() > 2


@pytest.mark.parametrize("reason", REFUSED)
def test_a_decoder_that_cannot_be_streamed_is_refused_at_import(folder, reason):
    decoder, said = REFUSED[reason]
    tokenizer(["a"], decoder).save(str(folder / "tokenizer.json"))
    with pytest.raises(MetrolineError, match=said) as caught:
        read(folder)
    assert str(folder / "tokenizer.json") in str(caught.value)
    assert "docs/pretrained.md" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_which_weights_are_found(weights, folder, tmp_path):
    with pytest.raises(MetrolineError, match=r"neither a \.gguf file nor a config\.json"):
        find(tmp_path / "nothing")
    shutil.copyfile(weights, tmp_path / "a.gguf")
    assert find(tmp_path) == tmp_path / "a.gguf"
    shutil.copyfile(weights, tmp_path / "b.gguf")
    with pytest.raises(MetrolineError, match=r"has 2 \.gguf files, a\.gguf and others"):
        find(tmp_path)


def test_the_ending_of_a_gguf_file_may_be_in_capitals(weights, tmp_path):
    shutil.copyfile(weights, tmp_path / "MODEL.GGUF")
    assert find(tmp_path) == tmp_path / "MODEL.GGUF"
    assert read(find(tmp_path)).special == read(weights).special


def test_from_a_model_repository_of_the_hub(folder, tmp_path):
    commit, names = "c" * 40, ["config.json", "tokenizer.json", "tokenizer_config.json", "generation_config.json"]
    copy = tmp_path / "mirror/huggingface.co/someone/model/resolve" / commit
    copy.mkdir(parents=True)
    for name in names:
        shutil.copyfile(folder / name, copy / name)
    files = tuple({"path": name, "sha256": sha256(copy / name)} for name in names)
    source = HubSource(kind="hf", type="model", repository="someone/model", revision=commit, files=files)
    fetch(source, tmp_path / "fetched", name="demo", mirror=tmp_path / "mirror")
    assert read(find(tmp_path / "fetched/files")).special == read(folder).special
