"""Prompts become the tokens that training would have made of them: its form of text, its first token, once."""

import unicodedata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tokenizers import Tokenizer, processors

from data.text.chat import Chats
from data.text.templates import ChatTemplate
from data.text.text_form import TextForm
from serving.engines.decode.text import Vocabulary
from serving.http.errors import ApiError
from serving.routes.completion_schema import CompletionRequest
from serving.routes.generation import engine_request
from serving.routes.prompts import chat_tokens, text_tokens
from tests.serving import chat_bundle, tiny_bundle

NFD = unicodedata.normalize("NFD", "a\u00e9")


def served(tokenizer: Tokenizer, folder: Path, template: str | None = None, **form: Any) -> Any:
    """What prompts look at of a loaded model."""
    tokenizer.save(str(folder / "tokenizer.json"))
    size = tokenizer.get_vocab_size()
    bundle = SimpleNamespace(name="m", context=64, max_tokens=64, vocab_size=size, form=TextForm(**form))
    vocabulary = Vocabulary(folder / "tokenizer.json", size)
    chats = None
    if template:
        made = ChatTemplate(template, {"bos_token": "<|im_start|>"})
        chats = Chats(made, vocabulary.special, vocabulary.encode, bundle.form)
    return SimpleNamespace(bundle=bundle, vocabulary=vocabulary, chats=chats, adapter=None)


def beginning(tokenizer: Tokenizer, token: str) -> Tokenizer:
    """The same tokenizer, which puts `token` before every text."""
    frame = [(token, tokenizer.token_to_id(token))]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"{token} $A", special_tokens=frame)
    return tokenizer


@pytest.mark.parametrize(("written", "trained_on"), [("a\r\nb", "a\nb"), ("a\rb", "a\nb"), (NFD, "a\u00e9")])
def test_prompts_are_written_as_the_training_text_was(written, trained_on, tmp_path):
    model = served(tiny_bundle.character_tokenizer("ab\n\u00e9"), tmp_path)
    assert text_tokens(model, written, "prompt") == text_tokens(model, trained_on, "prompt")


def test_text_that_was_not_normalised_stays_as_it_is(tmp_path):
    model = served(tiny_bundle.character_tokenizer(NFD + "\r\n"), tmp_path, unicode="none", newlines=False)
    assert len(text_tokens(model, NFD + "\r\n", "prompt")) == 5
    with pytest.raises(ApiError, match="never seen these characters: \u00e9"):
        text_tokens(model, "\u00e9", "prompt")


def test_a_chat_is_written_so_too(tmp_path):
    model = served(chat_bundle.tokenizer(), tmp_path, chat_bundle.TEMPLATE)
    one, other = (
        chat_tokens(model, [{"role": "user", "content": content}], None) for content in (f"{NFD}\r\nb", "a\u00e9\nb")
    )
    assert one == other


def test_a_stop_string_ends_a_text_as_the_client_or_as_the_model_writes_it(tmp_path):
    model = served(tiny_bundle.byte_tokenizer(), tmp_path)
    asked = CompletionRequest(prompt="x", stop=["\r\n", "end"])
    assert engine_request(model, asked, ((1,),), 4, "id").stop == ("\r\n", "\n", "end")


def test_the_tokenizers_first_token_is_before_every_text_once(tmp_path):
    plain = served(tiny_bundle.byte_tokenizer(), tmp_path)
    model = served(beginning(tiny_bundle.byte_tokenizer(), "<|endoftext|>"), tmp_path)
    for text in ("the people", "<|endoftext|>the people"):  # spelt out, it is text
        assert text_tokens(model, text, "prompt") == (0, *text_tokens(plain, text, "prompt"))
    with pytest.raises(ApiError, match="65"):  # it counts
        text_tokens(model, "x" * 64, "prompt")


@pytest.mark.parametrize("bos", ["{{ bos_token }}", ""])
def test_in_a_chat_the_template_alone_writes_it(bos, tmp_path):
    tokenizer = beginning(chat_bundle.tokenizer(), "<|im_start|>")
    first = tokenizer.token_to_id("<|im_start|>")
    model = served(tokenizer, tmp_path, bos + "{{ messages[0].content }}")
    tokens = chat_tokens(model, [{"role": "user", "content": "hi"}], None)
    assert tokens == (*[first] * bool(bos), *model.vocabulary.encode("hi"))


def test_a_cut_off_tokenizer_cuts_no_prompt(tmp_path):
    tokenizer = tiny_bundle.byte_tokenizer()
    wanted = tuple(tokenizer.encode("the state of the union").ids)
    tokenizer.enable_truncation(max_length=3)
    tokenizer.enable_padding(length=40, pad_id=5, pad_token="!")
    assert text_tokens(served(tokenizer, tmp_path), "the state of the union", "prompt") == wanted
