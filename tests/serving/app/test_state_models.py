"""Models with a state of fixed size over HTTP: a recurrent and a windowed one in one server."""

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from tests.serving import clients, tiny_bundle
from tests.serving.engines.decode import state_bundle

MODELS = ("lstm", "wavenet")
PROMPT = "the people"


@pytest.fixture(scope="module")
def networks(tmp_path_factory):
    """Name → the folder of the bundle and the network that it was exported from."""
    folders = {name: tmp_path_factory.mktemp(name) / "bundle" for name in MODELS}
    for folder in folders.values():
        folder.mkdir()
    return {name: (folder, state_bundle.build(folder, name, 64, name)) for name, folder in folders.items()}


@pytest.fixture(scope="module")
def official(networks, serve):
    return clients.official(serve(*(folder for folder, _ in networks.values())))


def ask(official, model, prompt=PROMPT, **options):
    """The choice with the log-probability of each of its tokens."""
    wanted = {"max_tokens": 24, "logprobs": 3, **options}
    return official.completions.create(model=model, prompt=prompt, **wanted).choices[0]


def greedy(network, prompt: str, count: int) -> str:
    """The likeliest token again and again, by the network as it was trained: all tokens at once."""
    tokenizer = tiny_bundle.byte_tokenizer()
    ids = [0, *tokenizer.encode(prompt).ids]
    begin = len(ids)
    with torch.inference_mode():
        for _ in range(count):
            ids.append(int(network(torch.tensor(ids)[None])[0, -1].argmax()))
            if ids[-1] == 0:
                break
    return str(tokenizer.decode(ids[begin:]))


@pytest.mark.parametrize("model", MODELS)
def test_it_says_what_the_network_says(networks, official, model):
    said = ask(official, model, temperature=0, max_tokens=12)
    assert said.text == greedy(networks[model][1], PROMPT, 12)
    assert len(set(said.logprobs.token_logprobs)) > 1


@pytest.mark.parametrize("model", MODELS)
def test_a_stream_has_the_tokens_of_a_whole_answer(official, model):
    whole = ask(official, model, seed=7)
    wanted = {"model": model, "prompt": PROMPT, "max_tokens": 24, "logprobs": 3, "seed": 7}
    chunks = [chunk.choices[0] for chunk in official.completions.create(**wanted, stream=True)]
    assert len(chunks) > 4
    assert "".join(chunk.text for chunk in chunks) == whole.text
    assert [x for chunk in chunks if chunk.logprobs for x in chunk.logprobs.token_logprobs] == (
        whole.logprobs.token_logprobs
    )
    assert chunks[-1].finish_reason == whole.finish_reason


@pytest.mark.parametrize("model", MODELS)
def test_a_seed_repeats_an_answer(official, model):
    said = [ask(official, model, seed=seed).text for seed in (1, 1, 2, 3, 4)]
    assert said[0] == said[1]
    assert len(set(said)) > 2


@pytest.mark.parametrize("model", MODELS)
def test_the_same_bits_alone_and_among_others(official, model):
    alone = ask(official, model, seed=5)
    others = [f"{'a union of the ' * (n % 3)}{n} " for n in range(12)]
    with ThreadPoolExecutor(len(others) + 3) as pool:
        busy = [pool.submit(ask, official, model, other, seed=n, max_tokens=40) for n, other in enumerate(others)]
        among = [pool.submit(ask, official, model, seed=5) for _ in range(3)]
        assert all(done.result().text for done in busy)
        for done in among:
            assert done.result().text == alone.text
            assert done.result().logprobs == alone.logprobs
