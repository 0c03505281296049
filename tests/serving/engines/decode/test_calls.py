"""What a grammar of calls allows is read as it was written, wherever its pieces end."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.text.tools import FunctionDefinition
from serving.engines.decode.call_reader import Arguments, Begun, CallReader, Text
from serving.engines.decode.call_styles import STYLES, Choice, style_of
from serving.engines.decode.grammar import Grammar, Grammars
from serving.engines.decode.text import Vocabulary
from tests.serving import tiny_bundle

FUNCTIONS = [
    FunctionDefinition(name="add", parameters={
        "properties": {"a": {"$ref": "#/$defs/number"}, "note": {"type": "string", "maxLength": 20}}, "required": ["a"],
        "additionalProperties": False, "$defs": {"number": {"type": "integer", "minimum": 0, "maximum": 99}},
    }),
    FunctionDefinition(name="clock"),
]  # fmt: skip
LIST, HERMES = STYLES


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer = tiny_bundle.byte_tokenizer()
    tokenizer.save(str(path))
    return Vocabulary(path, tokenizer.get_vocab_size())


def read(style, pieces, reason="stop", *, whole=False):
    """Text, calls as [name, arguments], and the reason."""
    reader, text, calls = CallReader(style, whole=whole), "", []
    parts = [part for piece in pieces for part in reader.push(piece)]
    rest, reason = reader.finish(reason)
    for part in [*parts, *rest]:
        if isinstance(part, Text):
            text += part.text
        elif isinstance(part, Begun):
            assert part.number == len(calls)
            calls.append([part.name, ""])
        elif isinstance(part, Arguments):
            assert part.number == len(calls) - 1
            calls[-1][1] += part.text
    return text, calls, reason


ONE, TWO = '{"name": "add", "arguments": {"a": 1, "note": "}\\"{<tool_call>"}}', '{"name":"clock","arguments":{}}'
READ = {
    "text": (HERMES, "a <tool b ", "a <tool b ", [], "stop"),
    "hermes": (HERMES, f"<tool_call>\n{ONE}\n</tool_call>", "", 1, "tool_calls"),
    "two": (HERMES, f"Hm. \n<tool_call>{ONE}</tool_call>\n\n<tool_call>\n{TWO}</tool_call>\n", "Hm.", 2, "tool_calls"),
    "around": (HERMES, f"Hm.<tool_call>{ONE}</tool_call>\n so ", "Hm.so", 1, "tool_calls"),
    "a list": (LIST, f"<tool_call>[{ONE}, {TWO}]</tool_call>", "", 2, "tool_calls"),
    "a list of one": (LIST, f"<tool_call>\n[ {ONE} ]\n</tool_call>", "", 1, "tool_calls"),
}


@pytest.mark.parametrize("size", [1, 2, 5, 1000])
@pytest.mark.parametrize("case", READ)
def test_calls_are_read_from_pieces_of_any_size(case, size):
    style, text, shown, count, reason = READ[case]
    calls = [["add", '{"a": 1, "note": "}\\"{<tool_call>"}'], ["clock", "{}"]][: count or 0]
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    assert read(style, pieces) == (shown, calls, reason)
    assert read(style, pieces, whole=True) == (shown, calls, reason)


FRAGMENTS = ("<tool_call>", "</tool_call>", ONE, TWO, " \n", "text", "<tool", "[", "]", ",", "{", "}", '"', "\\")


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=12), st.data(), st.sampled_from(STYLES), st.booleans())
def test_whatever_is_written_pieces_make_no_difference(fragments, data, style, whole):
    text, pieces = "".join(fragments), []
    at = 0
    while at < len(text):
        size = data.draw(st.integers(1, 9))
        pieces.append(text[at : at + size])
        at += size
    assert read(style, pieces, whole=whole) == read(style, [text], whole=whole)
    for name, arguments in read(style, pieces, whole=True)[1]:
        assert isinstance(json.loads(arguments), dict)
        assert name


@pytest.mark.parametrize("at", range(0, len(ONE) + 11, 3))
def test_a_call_that_is_cut_anywhere(at):
    text = f"<tool_call>{ONE}</tool_call>"[:at]
    _, calls, reason = read(HERMES, [*text], "length")
    assert reason == "length"
    for _, arguments in calls:
        if arguments != '{"a": 1, "note": "}\\"{<tool_call>"}':
            with pytest.raises(ValueError):
                json.loads(arguments)
    complete = [call for call in calls if at >= len("<tool_call>" + ONE) - 1]
    assert read(HERMES, [*text], "stop", whole=True)[1] == complete


@pytest.mark.parametrize("style", STYLES, ids=lambda style: style.name)
@pytest.mark.parametrize("parallel", [True, False])
@pytest.mark.parametrize("seed", range(4))
def test_any_draw_that_is_forced_is_calls(vocabulary, style, parallel, seed):
    choice = Choice(("add", "clock"), forced=True, parallel=parallel)
    matcher = Grammars(vocabulary, (0,)).compile(Grammar("calls", style.grammar(FUNCTIONS, choice)))
    random, pieces = np.random.default_rng(seed), []
    for _ in range(6000):
        allowed = np.flatnonzero(matcher.allowed())
        token = 0 if 0 in allowed else int(random.choice(allowed))
        if token == 0:
            break
        pieces.append(vocabulary.bytes[token])
        if matcher.accept(token):
            break
    text, calls, reason = read(style, [b"".join(pieces).decode()])
    assert (text, reason) == ("", "tool_calls")
    assert len(calls) == 1 or parallel
    for name, arguments in calls:
        assert json.loads(arguments)["a"] in range(100) if name == "add" else json.loads(arguments) == {}


def follows(vocabulary, grammar, text):
    """How much of a text a grammar allows."""
    matcher = Grammars(vocabulary, (0,)).compile(Grammar("calls", grammar))
    for at, token in enumerate(tiny_bundle.bytes_of(text, tiny_bundle.byte_tokenizer())):
        if not matcher.allowed()[token]:
            return text[:at]
        matcher.accept(token)
    return text


def test_text_is_free_until_a_call_opens(vocabulary):
    auto = HERMES.grammar(FUNCTIONS, Choice(("add", "clock"), forced=False, parallel=True))
    for text in ("Any text: <tool, <tool_cal l> {é}", f"So:\n<tool_call>{ONE}</tool_call>\nand\n<tool_call>{TWO}"):
        assert follows(vocabulary, auto, text) == text
    assert follows(vocabulary, auto, "<tool_call>no") == "<tool_call>"
    assert follows(vocabulary, auto, '<tool_call>{"name": "sub"') == '<tool_call>{"name": "'
    wrong = '<tool_call>{"name": "add", "arguments": {"a": 100}}'
    assert follows(vocabulary, auto, wrong) == wrong[:-3]
    one = HERMES.grammar(FUNCTIONS, Choice(("add",), forced=False, parallel=False))
    assert follows(vocabulary, one, f"a<tool_call>{ONE}</tool_call>") == f"a<tool_call>{ONE}</tool_call>"
    assert follows(vocabulary, one, '<tool_call>{"name": "clock"') == '<tool_call>{"name": "'


def test_a_template_tells_its_style():
    hermes = "{% for tool in tools %}{{ tool }}{% endfor %}<tool_call>\n{{ call | tojson }}\n</tool_call>"
    assert style_of(hermes, ["<|im_end|>"]) == HERMES
    assert style_of(hermes.replace("\n{{ call | tojson }}\n", "[{{ calls }}]"), []) == LIST
    assert style_of(hermes.replace("{{ call | tojson }}", "<function={{ call.name }}>"), []) is None
    assert style_of("{{ tools }} [TOOL_CALLS]", []) is None
    assert style_of(hermes, ["<tool_call>"]) is None  # a token without text: no answer has it
