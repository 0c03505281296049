"""Answers of models whose tokenizers are not byte-level: text, echo, stop texts and log-probabilities agree."""

import numpy as np
import pytest

from serving.engines.decode.grammar import Grammar, Grammars
from serving.engines.decode.sampling import SamplingParameters
from serving.engines.decode.sequence import FinishEvent, Request, Sequence, TokenEvent
from serving.engines.decode.text import Vocabulary
from serving.routes.chat_schema import ChatAnswer
from serving.routes.completion_schema import CompletionAnswer
from tests.decoders import KINDS, tokenizer

PROMPT = ("<s>", "▁the", "▁a")
ANSWER = ("▁the", "s", "<0xE6>", "<0x97>", "<0xA5>", ".", "größe", "▁a", "<|endoftext|>")


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory: pytest.TempPathFactory) -> Vocabulary:
    path = tmp_path_factory.mktemp("llama") / "tokenizer.json"
    inner = tokenizer(*KINDS["Llama 2"])
    inner.save(str(path))
    return Vocabulary(path, inner.get_vocab_size())


def ids(vocabulary: Vocabulary, tokens: tuple[str, ...]) -> tuple[int, ...]:
    return tuple(vocabulary._tokenizer.inner.token_to_id(token) for token in tokens)


def run(
    vocabulary: Vocabulary, answer: tuple[str, ...] = ANSWER, prompt: tuple[str, ...] = PROMPT, **values
) -> tuple[str, list[TokenEvent], str]:
    """Text, tokens and the reason of the end of an answer by a model that says just these tokens."""
    wanted = Request("test", (ids(vocabulary, prompt),), max_tokens=len(answer), logprobs=2,
                     sampling=SamplingParameters(temperature=0), **values)  # fmt: skip
    matcher = Grammars(vocabulary, (0,)).compile(wanted.grammar) if wanted.grammar else None
    sequence = Sequence(wanted, 0, vocabulary, (0,), matcher)
    events = sequence.echo([(-1.0, ())] * (len(prompt) - 1)) if wanted.echo else []
    for token in ids(vocabulary, answer):
        if sequence.done:
            break
        logits = np.zeros(len(vocabulary.bytes), np.float32)
        logits[[token, *ids(vocabulary, ("▁a",))]] = 9, 5
        events.append(sequence.push(logits))
    end = sequence.finish()
    assert isinstance(end, FinishEvent)
    return "".join(event.text for event in events) + end.text, events, end.reason


def test_an_answer_goes_on_from_its_prompt(vocabulary):
    assert run(vocabulary)[0] == " thes日.größe a"
    assert run(vocabulary, echo=True)[0] == "the a thes日.größe a"
    assert run(vocabulary, prompt=("<s>",))[0] == "thes日.größe a"  # nothing before it: the text begins here


@pytest.mark.parametrize(
    ("stop", "text"), [(" a", " thes日.größe"), ("s日", " the"), ("öß", " thes日.gr"), ("▁a", None)]
)
def test_stop_texts_are_found_as_they_are_written(vocabulary, stop, text):
    shown, _, reason = run(vocabulary, stop=(stop,))
    assert shown == (text or " thes日.größe a")
    assert reason == "stop"


def test_log_probabilities_have_the_texts_bytes(vocabulary):
    text, events, reason = run(vocabulary, echo=True)
    answer = CompletionAnswer("id", "model", "1", vocabulary, logprobs=True)
    shown = answer.choice(0, text, events, reason)["logprobs"]
    assert shown["tokens"] == [
        "", "the", " a", " the", "s", "bytes:\\xe6", "bytes:\\x97", "bytes:\\xa5", ".", "größe", " a", ""
    ]  # fmt: skip
    assert shown["text_offset"] == [0, 0, 3, 5, 9, 10, 11, 11, 11, 12, 17, 19]
    assert list(shown["top_logprobs"][3]) == [" the", " a"]
    content = ChatAnswer("id", "model", "1", vocabulary, logprobs=True).choice(0, text, events, reason)["logprobs"]
    assert bytes(byte for token in content["content"] for byte in token["bytes"]).decode() == text
    assert [token["token"] for token in content["content"]] == shown["tokens"]


def test_of_two_tokens_with_one_text_the_likelier_is_shown(vocabulary):
    (token,), (twin,) = ids(vocabulary, ("a",)), ids(vocabulary, ("<0x61>",))
    event = TokenEvent(0, token, "a", b"a", -0.5, ((token, -0.5), (twin, -3.0)))
    answer = CompletionAnswer("id", "model", "1", vocabulary, logprobs=True)
    assert answer.choice(0, "a", [event], None)["logprobs"]["top_logprobs"] == [{"a": -0.5}]


def test_a_text_is_what_its_grammar_read(vocabulary):
    wanted = Grammar("regex", " thes日")
    for prompt in (PROMPT, ("<s>",)):
        assert run(vocabulary, prompt=prompt, grammar=wanted)[::2] == (" thes日", "stop")
