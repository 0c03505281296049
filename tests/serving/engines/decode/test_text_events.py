"""Events whose JSON is written once around a text are, byte for byte, those that are written anew for every token."""

from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engines.decode.sequence import TokenEvent
from serving.http.stream import TextEvents, event
from serving.routes.chat_schema import ChatAnswer
from serving.routes.completion_schema import CompletionAnswer

# A model's name may have anything in it; the request's id and the version are ours.
ANSWERS = [kind("cmpl-1", 'a "model"\n', "v1", None, logprobs=False) for kind in (CompletionAnswer, ChatAnswer)]  # type: ignore[arg-type]


@pytest.mark.parametrize("answer", ANSWERS, ids=["completion", "chat"])
@given(text=st.text(st.characters(exclude_categories=["Cs"]), min_size=1), choice=st.integers(0, 15))
def test_the_bytes_are_those_of_the_whole_object(answer, text, choice):
    token = TokenEvent(choice, 1, text, text.encode())
    assert TextEvents(partial(answer.chunk, choice, events=[]))(text) == event(answer.chunk(choice, text, [token]))
