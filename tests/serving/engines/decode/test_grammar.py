"""Grammars: what comes out always fits, whatever is drawn; what is wrong is told in one line."""

import json
import re

import numpy as np
import pytest
from tokenizers import decoders

from serving.engines.decode.grammar import KEPT, Grammar, Grammars
from serving.engines.decode.text import Vocabulary
from serving.http.errors import ApiError
from tests.decoders import KINDS, tokenizer
from tests.serving import tiny_bundle

SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["Ann", "Zoë"]}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def vocabulary(tmp_path_factory):
    return _vocabulary(tmp_path_factory, tiny_bundle.byte_tokenizer())


def _vocabulary(tmp_path_factory, tokenizer) -> Vocabulary:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return Vocabulary(path, tokenizer.get_vocab_size() + 3)  # the model's vocabulary may be padded


def write(grammars: Grammars, vocabulary: Vocabulary, grammar: Grammar, seed: int) -> tuple[str, bool]:
    """Draw any allowed token until the text is complete. Returns it, and whether it is."""
    matcher, random, text = grammars.compile(grammar), np.random.default_rng(seed), b""
    for _ in range(2000):
        allowed = matcher.allowed()
        assert allowed.shape == (len(vocabulary.bytes),)
        token = int(random.choice(np.flatnonzero(allowed)))
        if token == 0:
            return text.decode(), True
        text += vocabulary.bytes[token]
        if matcher.accept(token):
            return text.decode(), True
    return text.decode(errors="replace"), False


@pytest.mark.parametrize("seed", range(5))
def test_any_draw_follows_the_schema(vocabulary, seed):
    grammar = Grammar("json_schema", json.dumps(SCHEMA))
    text, complete = write(Grammars(vocabulary, (0,)), vocabulary, grammar, seed)
    value = json.loads(text)
    assert complete
    assert value["name"] in ("Ann", "Zoë")
    assert 0 <= value["age"] <= 120


@pytest.mark.parametrize("seed", range(5))
def test_any_draw_is_a_json_object(vocabulary, seed):
    text, complete = write(Grammars(vocabulary, (0,)), vocabulary, Grammar("json"), seed)
    assert text.startswith("{")
    if complete:
        assert isinstance(json.loads(text), dict)


@pytest.mark.parametrize("pattern", ["[a-f]{3}-(foo|bar)[0-9]{2}", "a+é?", "the (state|union)", "😀{2}"])
def test_any_draw_matches_the_expression(vocabulary, pattern):
    for seed in range(5):
        text, complete = write(Grammars(vocabulary, (0,)), vocabulary, Grammar("regex", pattern), seed)
        assert complete
        assert re.fullmatch(pattern, text)


def test_tokens_of_several_characters_are_allowed(vocabulary):
    allowed = Grammars(vocabulary, (0,)).compile(Grammar("regex", "the|to")).allowed()
    assert {vocabulary.bytes[token] for token in np.flatnonzero(allowed)} == {b"t", b"th", b"the"}


def test_white_space_between_parts_is_bounded(vocabulary):
    matcher = Grammars(vocabulary, (0,)).compile(Grammar("json"))
    space, brace = vocabulary.bytes.index(b" "), vocabulary.bytes.index(b"{")
    matcher.accept(brace)
    count = 0
    while matcher.allowed()[space]:
        matcher.accept(space)
        count += 1
    assert 1 <= count <= 16


def test_a_character_tokenizer(tmp_path_factory):
    vocabulary = _vocabulary(tmp_path_factory, tiny_bundle.character_tokenizer("abcé -"))
    text, complete = write(Grammars(vocabulary, (0,)), vocabulary, Grammar("regex", "[a-cé]{5} -"), 0)
    assert complete
    assert re.fullmatch("[a-cé]{5} -", text)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if "<0x00>" in KINDS[kind][0] or "ByteLevel" in kind])
@pytest.mark.parametrize("pattern", [r"the (a|日)s? é\.", "größe 日本 [😀-😃]"])
def test_grammars_read_tokens_as_they_are_written(tmp_path_factory, kind, pattern):
    vocabulary = _vocabulary(tmp_path_factory, tokenizer(*KINDS[kind]))
    grammars = Grammars(vocabulary, (0,))
    for seed in range(3):
        text, complete = write(grammars, vocabulary, Grammar("regex", pattern), seed)
        assert complete
        assert re.fullmatch(pattern, text)
    first = Grammars(vocabulary, (0,)).compile(Grammar("regex", "the|größe| a")).allowed()
    written = {vocabulary.bytes[token] for token in np.flatnonzero(first)}
    assert (
        {b"the", b"t", "größe".encode(), b"g", b" "} <= written <= {b"the", b"t", "größe".encode(), b"g", b" ", b" a"}
    )


def test_a_long_text_that_must_come_is_written(tmp_path_factory):
    """Longer than what tokens are sought for at once, in a tokenizer that would put a space in front."""
    vocabulary = _vocabulary(tmp_path_factory, tokenizer(*KINDS["Llama 2"]))
    wanted = "the größe of a 日 is the size of a day. " * 20
    text, complete = write(Grammars(vocabulary, (0,)), vocabulary, Grammar("regex", wanted.replace(".", "[.]")), 0)
    assert (text, complete) == (wanted, True)


def test_a_token_may_reach_over_what_must_come(tmp_path_factory):
    vocabulary = _vocabulary(tmp_path_factory, tokenizer(["x", "abc", "abd"], decoders.Metaspace()))
    for seed in range(3):
        text, complete = write(Grammars(vocabulary, (0,)), vocabulary, Grammar("regex", "xab[a-c]x"), seed)
        assert (text, complete) == ("xabcx", True)


def test_several_tokens_may_end_a_text(vocabulary):
    matcher = Grammars(vocabulary, (0, 7)).compile(Grammar("regex", "a*"))
    matcher.accept(vocabulary.bytes.index(b"a"))
    assert matcher.allowed()[[0, 7]].all()


@pytest.mark.parametrize(
    ("grammar", "reason"),
    [
        (Grammar("regex", "((("), "unclosed group"),
        (Grammar("json_schema", '{"type": "nonsense"}'), "Invalid type: nonsense"),
        (Grammar("json_schema", "[1"), "line 1"),
        (Grammar("json_schema", "[1]"), "a schema is a JSON object"),
        (Grammar("json_schema", '{"type": "string", "pattern": "("}'), "unclosed group"),
        (Grammar("json_schema", "[" * 100_000), "recursion"),
        (Grammar("json_schema", '{"type": "string", "minLength": 5, "maxLength": 2}'), "nsatisfiable"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(vocabulary, grammar, reason):
    with pytest.raises(ApiError) as caught:
        Grammars(vocabulary, (0,)).compile(grammar)
    assert caught.value.status == 400
    assert caught.value.param == "response_format"
    assert reason in caught.value.message
    assert "\n" not in caught.value.message
    assert len(caught.value.message) < 400


def test_grammars_are_kept_but_not_their_state(vocabulary):
    grammars = Grammars(vocabulary, (0,))
    first, second = (grammars.compile(Grammar("regex", "ab")) for _ in range(2))
    first.accept(vocabulary.bytes.index(b"a"))
    assert second.allowed()[vocabulary.bytes.index(b"a")]
    assert not first.fork().allowed()[vocabulary.bytes.index(b"a")]
    for i in range(KEPT + 5):
        grammars.compile(Grammar("regex", "a" * (i + 1)))
    assert len(grammars._kept) == KEPT


def all_to_all(count: int) -> str:
    """A schema of definitions each of which may be any other one: the worst for the parser."""
    names = [f"a{number}" for number in range(count)]
    definitions = {
        name: {"anyOf": [*({"$ref": f"#/$defs/{other}"} for other in names if other != name), {"const": name}]}
        for name in names
    }
    return json.dumps({"$defs": definitions, "$ref": "#/$defs/a0"})


def test_a_schema_that_would_hold_up_every_stream_is_refused(vocabulary):
    grammars = Grammars(vocabulary, (0,))
    with pytest.raises(ApiError, match="references and alternatives, at most 500"):
        grammars.compile(Grammar("json_schema", all_to_all(17)))
    wide = {f"p{number}": {"type": "string"} for number in range(501)}
    schema = {"anyOf": [{"type": "object", "properties": wide}, {"type": "object", "properties": wide}]}
    with pytest.raises(ApiError, match="1002 properties, at most 1000"):
        grammars.compile(Grammar("json_schema", json.dumps(schema)))
    text, complete = write(grammars, vocabulary, Grammar("json_schema", all_to_all(15)), 0)
    assert complete
    assert json.loads(text) in {f"a{number}" for number in range(15)}


NAMES = [f"n{number}" for number in range(30_000)]
HUGE = {
    "required names": ({"type": "object", "required": NAMES}, "30000 properties, at most 1000"),
    "names required further down": (
        {"type": "array", "items": {"type": "object", "properties": {"n0": {}}, "required": NAMES[:1001]}},
        "1001 properties, at most 1000",
    ),
    "an enum": ({"enum": [[name] for name in NAMES]}, "60001 values in lists and objects, at most 5000"),
    "a const": ({"const": NAMES}, "30001 values in lists and objects, at most 5000"),
    "a const object": ({"const": {"in": dict.fromkeys(NAMES)}}, "30002 values in lists and objects, at most 5000"),
}


@pytest.mark.parametrize("case", HUGE)
def test_a_schema_that_would_end_the_process_never_reaches_the_compiler(vocabulary, monkeypatch, case):
    from llguidance import LLMatcher

    reached: list[object] = []
    monkeypatch.setattr(LLMatcher, "grammar_from_json_schema", lambda *given, **_: reached.append(given))
    schema, reason = HUGE[case]
    with pytest.raises(ApiError, match=reason) as caught:
        Grammars(vocabulary, (0,)).compile(Grammar("json_schema", json.dumps(schema)))
    error = caught.value.body()["error"]
    assert (caught.value.status, error["type"]) == (400, "invalid_request_error")
    assert (error["param"], error["code"]) == ("response_format", "invalid_grammar")
    assert reached == []


def test_a_large_schema_within_the_bounds_is_followed(vocabulary):
    """Every property that is required is described too, and counts once; `required` may be one's own property."""
    names = NAMES[:900]
    wide = {"type": "object", "properties": {name: {"const": 1} for name in names}, "required": names}
    own = {"type": "object", "properties": {"required": {"type": "string"}}, "required": ["required"]}
    for schema in (wide, own, {"enum": NAMES[:4900]}):
        assert Grammars(vocabulary, (0,)).compile(Grammar("json_schema", json.dumps(schema))).allowed().any()
