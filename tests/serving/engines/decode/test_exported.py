"""What `export` writes is what serving runs: real exported decoders, prefilled and decoded over the shared cache."""

import numpy as np
import pytest
import torch

from serving.engines.decode.bundle import DecoderBundle
from serving.engines.decode.graph import Graph
from tests.serving.engines.decode import exported_bundle


@pytest.fixture(scope="module", params=exported_bundle.STYLES)
def exported(request, tmp_path_factory):
    """(bundle, the model it was exported from)"""
    folder = tmp_path_factory.mktemp("exported")
    return folder, exported_bundle.build(folder, request.param)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.1), ("int4", 0.6)])
@pytest.mark.parametrize("prompt", [1, 30, 48])
def test_logits_are_the_models(exported, precision, tolerance, prompt, native):
    folder, model = exported
    tokens = np.random.default_rng(0).integers(1, 260, 48)
    with torch.inference_mode():
        expected = model(torch.tensor(tokens)[None])[0].numpy()
    graph = Graph(DecoderBundle.load(folder, precision), threads=1, slots=3, native=native)
    rows = list(graph.extend(1, tokens[:prompt], 0, np.arange(prompt)).copy())
    rows += [graph.decode(0, [5, token, 6], [0, prompt + i, 1])[1].copy() for i, token in enumerate(tokens[prompt:])]
    error = np.array(rows) - expected
    assert error.std() < tolerance * expected.std()
    assert precision != "fp32" or np.abs(error).max() < 1e-4
