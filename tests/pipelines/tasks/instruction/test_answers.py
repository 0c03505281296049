"""Answers that a model gives by itself: those of each prompt alone, up to its end, the limit or the context."""

import pytest
import torch

from base.progress import Progress
from data.text.shards import Shards
from data.text.tokenizer import Tokenizer
from pipelines.tasks.instruction.answers import greedy, prompts
from pipelines.tasks.language_modelling.imported import imported
from tests.pipelines.tasks.instruction import small_chats


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return small_chats.prepared(tmp_path_factory.mktemp("line"))


@pytest.fixture(scope="module")
def model(paths):
    return imported(paths.pretrained, 259).eval()


def slowly(model, prompt, ends, limit):
    """The same without cache, batch or padding."""
    tokens = list(prompt)
    while len(tokens) < min(len(prompt) + limit, model.config.context):
        with torch.no_grad():
            tokens.append(int(model(torch.tensor([tokens]))[0, -1].argmax()))
        if tokens[-1] in ends:
            break
    return tokens[len(prompt) :]


@pytest.mark.parametrize("batch", [1, 3, 8])
@pytest.mark.parametrize("limit", [5, 200])
def test_answers_are_those_of_each_prompt_alone(model, batch, limit):
    asked = [list(range(1 + n, 1 + n + length)) for n, length in enumerate((5, 60, 1, 33, 126, 7))]
    first = slowly(model, asked[0], set(), 4)
    ends = {first[3]}  # so that some end early
    with Progress("test", len(asked), "answers") as progress:
        said = greedy(model, asked, ends, limit=limit, batch=batch, progress=progress)
    assert said == [slowly(model, prompt, ends, limit) for prompt in asked]
    assert progress.done == len(asked)


def test_prompts_end_where_the_last_answer_begins(paths):
    test = Shards(paths.prepared, "test")
    asked, given = prompts(test, 5)
    tokenizer = Tokenizer.load(paths.prepared / "tokenizer.json")
    assert len(asked) == 5
    for prompt, answer in zip(asked, given, strict=True):
        assert answer[-1] == 258
        assert 258 not in answer[:-1]
        assert tokenizer.decode(prompt).endswith("assistant\n")
