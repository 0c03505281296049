"""Which tokens may come next when an answer must be JSON, follow a JSON schema or match a regular expression.

llguidance (https://github.com/guidance-ai/llguidance) walks the grammar; here it is told the bundle's own tokens as
bytes, so that it fits any tokenizer. It draws nothing and knows no logits.
"""

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from serving.engines.decode.text import Vocabulary
from serving.http.errors import ApiError, invalid

if TYPE_CHECKING:  # imported with the first grammar: most servers never see one
    from llguidance import LLMatcher, LLTokenizer

KEPT = 32
"""Compiled grammars that are kept for the next request with the same one."""

MOST_BRANCHES = 500
"""References and alternatives (anyOf, oneOf, allOf) of a JSON schema. Where all of them lead to all others, the time
for a token grows with the third power of the definitions: with 100 of them (20,000 branches) it is seconds, in which no
stream goes on; with 15 it is less than 0.1 s."""
MOST_PROPERTIES = 1000
"""Of all objects of a JSON schema together. With 8,000 of one object a token takes 0.7 s, with 2,000 0.04 s.
Names that are only in `required` are properties too: 30,000 of them end the process."""
MOST_ENTRIES = 5000
"""Entries of all lists and values of all objects of a JSON schema together, whatever they are for: an `enum` of 60,000
lists holds up the compiler, and with it all that want a grammar, for 10 s."""

ANY_TOKENS = '%llguidance {"no_forcing": true}\n'
"""Text that must come may be written with any tokens. Else it is with those that `encode` gives, and where a tokenizer
puts a space in front of texts, or changes them, these write something else."""

WORDS = {
    "json_schema": ("JSON schema", "response_format"),
    "json": ("JSON schema", "response_format"),
    "regex": ("regular expression", "response_format"),
    "calls": ("grammar of calls", "tools"),
    "citations": ("grammar of citations", "sources"),
}
"""Kind of grammar → what it is called, and the field of a request that it comes from."""

WHITE_SPACE = r"[ \n\t]{0,16}"
"""Between the parts of JSON. Bounded, because small models love to go on with white space for ever."""


@dataclass(frozen=True)
class Grammar:
    """What a completion must look like."""

    kind: Literal["json_schema", "json", "regex", "calls", "citations"]
    text: str = ""
    """The JSON schema as JSON, the regular expression, or for calls of tools and citations rules in Lark; empty for any
    JSON object."""


class Matcher:
    """Follows one completion through its grammar."""

    def __init__(self, inner: "LLMatcher", size: int, param: str) -> None:
        """`size`: the model's vocabulary; `param`: the field of a request that the grammar comes from."""
        self._inner, self._size, self._param = inner, size, param

    def allowed(self) -> np.ndarray:
        """The tokens that may come next, bool [V]: an end-of-text token among them once the text is complete."""
        bits = np.frombuffer(self._inner.compute_bitmask(), np.uint8)
        self._check()
        return np.unpackbits(bits, count=self._size, bitorder="little").view(bool)

    def accept(self, token: int) -> bool:
        """An allowed token was drawn. Returns whether nothing can follow: the text is complete."""
        self._inner.consume_token(token)
        self._check()
        return bool(self._inner.is_stopped())

    def fork(self) -> "Matcher":
        """Another one in the same state."""
        return Matcher(self._inner.deep_copy(), self._size, self._param)

    def _check(self) -> None:
        if self._inner.is_error():
            lines = " ".join(str(self._inner.get_error()).split())
            raise invalid(f"The grammar cannot be followed: {lines[:300]}", self._param, "invalid_grammar")


class Grammars:
    """Compiles grammars for one vocabulary. Safe to share between threads."""

    def __init__(self, vocabulary: Vocabulary, eos: tuple[int, ...]) -> None:
        """`eos`: the tokens that end a text."""
        self._vocabulary, self._eos = vocabulary, eos
        self._lock = threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._kept: OrderedDict[Grammar, Matcher] = OrderedDict()

    def compile(self, grammar: Grammar) -> Matcher:
        """A matcher at the grammar's beginning. May take a second. Raises ApiError 400 for a grammar that is wrong."""
        from llguidance import LLMatcher, LLTokenizer, TokenizerWrapper

        with self._lock:
            if found := self._kept.get(grammar):
                self._kept.move_to_end(grammar)
                return found.fork()
            if self._tokenizer is None:
                tokens = TokenizerWrapper(_Tokens(self._vocabulary, self._eos))
                self._tokenizer = LLTokenizer(tokens, eos_token=list(self._eos))
            inner = LLMatcher(self._tokenizer, _written(grammar), log_level=0)
            if inner.is_error():
                raise _wrong(grammar, inner.get_error())
            matcher = Matcher(inner, len(self._vocabulary.bytes), WORDS[grammar.kind][1])
            self._kept[grammar] = matcher
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return matcher.fork()


def _written(grammar: Grammar) -> str:
    """The grammar in llguidance's own words. Raises ApiError 400."""
    from llguidance import LLMatcher

    try:
        if grammar.kind == "regex":
            (written,) = json.loads(LLMatcher.grammar_from_regex(grammar.text))["grammars"]
            return LLMatcher.grammar_from_lark(ANY_TOKENS + written["lark_grammar"])
        if grammar.kind in ("calls", "citations"):
            return LLMatcher.grammar_from_lark(ANY_TOKENS + grammar.text)
        schema = json.loads(grammar.text) if grammar.kind == "json_schema" else {"type": "object"}
        check_size([schema])
        return LLMatcher.grammar_from_lark(f"{ANY_TOKENS}start: {json_rule(schema)}")
    except (ValueError, RecursionError) as error:
        raise _wrong(grammar, str(error)) from None


def json_rule(schema: dict[str, Any], *, strict: bool = True) -> str:
    """A JSON schema as a rule in Lark. `strict`: what cannot be followed to the letter is an error when compiled."""
    options = {"whitespace_pattern": WHITE_SPACE} | ({} if strict else {"lenient": True})
    return "%json " + json.dumps(schema | {"x-guidance": options})


def check_size(schemas: list[Any]) -> None:
    """Raise ValueError for JSON schemas that together take too long to compile, or to follow."""
    if not all(isinstance(schema, dict) for schema in schemas):
        raise ValueError("a schema is a JSON object")
    branches, properties, entries = _size(schemas)
    if branches > MOST_BRANCHES:
        raise ValueError(f"{branches} references and alternatives, at most {MOST_BRANCHES} are allowed")
    if properties > MOST_PROPERTIES:
        raise ValueError(f"{properties} properties, at most {MOST_PROPERTIES} are allowed")
    if entries > MOST_ENTRIES:
        raise ValueError(f"{entries} values in lists and objects, at most {MOST_ENTRIES} are allowed")


def _size(schemas: list[Any]) -> tuple[int, int, int]:
    """How many references and alternatives, properties, and entries of any kind JSON schemas have, at any depth."""
    branches, properties, entries, left = 0, 0, 0, [*schemas]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            lists = (value.get(name) for name in ("anyOf", "oneOf", "allOf"))
            branches += ("$ref" in value) + sum(len(each) for each in lists if isinstance(each, list))
            objects = [
                each for name in ("properties", "patternProperties") if isinstance(each := value.get(name), dict)
            ]
            properties += sum(map(len, objects)) + _undescribed(value)
            entries += len(value)
            left += value.values()
        elif isinstance(value, list):
            entries += len(value)
            left += value
    return branches, properties, entries


def _undescribed(schema: dict[str, object]) -> int:
    """How many names an object's schema requires and does not describe."""
    required, described = schema.get("required"), schema.get("properties")
    known = described if isinstance(described, dict) else {}
    return sum(isinstance(name, str) and name not in known for name in required) if isinstance(required, list) else 0


def _wrong(grammar: Grammar, detail: str) -> ApiError:
    what, param = WORDS[grammar.kind]
    lines = [line.strip() for line in detail.splitlines() if line.strip()]
    return invalid(f"The {what} cannot be followed: {' '.join(lines)[:300]}", param, "invalid_grammar")


class _Tokens:
    """The vocabulary as llguidance wants it: special tokens have no text that a grammar could ask for."""

    bos_token_id = None

    def __init__(self, vocabulary: Vocabulary, eos: tuple[int, ...]) -> None:
        self.eos_token_id = eos[0]
        self.tokens = [raw or f"<special_{index}>".encode() for index, raw in enumerate(vocabulary.bytes)]
        unknown = () if vocabulary.unknown is None else (vocabulary.unknown,)
        textless = (index for index, raw in enumerate(vocabulary.bytes) if not raw)
        self.special_token_ids = sorted({*eos, *unknown, *textless})
        self._vocabulary = vocabulary

    def __call__(self, text: bytes) -> list[int]:
        return self._vocabulary.encode(text.decode(errors="replace"))
