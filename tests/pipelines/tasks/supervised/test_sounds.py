"""Clips by label, from files to a bundle that serves: one spectrogram for trainer and graph."""

from pathlib import Path

import httpx
import numpy as np
import pytest
import torch

from base.files import read_json, read_object
from data.codecs import decode
from data.signature import AudioInput, Signature
from pipelines.evaluation import evaluate
from pipelines.exporting.graphs import runner
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import gates, kinds
from pipelines.tasks.supervised.augment import augmented
from pipelines.tasks.supervised.config import AudioData
from pipelines.tasks.supervised.examples import Examples, heard
from pipelines.tasks.supervised.network import Answers, load
from pipelines.training.stage import train
from serving.app.run import start
from tests.pipelines.tasks.supervised import small_sounds
from tests.pipelines.tasks.supervised.small_sounds import tone, wav


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Trained, evaluated, exported."""
    made, paths = small_sounds.recipe(), Paths("tones", tmp_path_factory.mktemp("tones"))
    small_sounds.write_raw(paths.raw)
    kinds.task("classification")(made).prepare(paths.raw, paths.prepared, None)
    train(made, paths)
    evaluate(made, paths)
    export(made, paths)
    return paths


def test_a_stranger_is_a_group_of_its_own_that_a_gate_may_name(line: Paths) -> None:
    metrics = read_json(line.metrics)
    assert set(metrics["groups"]) == {"stranger=zoe"}  # the rest of test is too small to be one
    assert metrics["groups"]["stranger=zoe"]["items"] == 30
    strangers = [Examples(line.prepared, split).group("stranger") for split in ("train", "valid", "test")]
    assert ["zoe" in found for found in strangers] == [False, False, True]
    assert metrics["test"]["accuracy"] > 0.9
    assert gates.check(small_sounds.recipe().gates, gates.measured(metrics, {}))[0].passed
    assert "stranger=zoe" in (line.bundle / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("samples", [1, 37, 3200, 3201, 8000])
def test_a_clip_of_any_length_is_what_training_saw(line: Paths, samples: int) -> None:
    """The graph cuts or fills a raw clip as the examples were for the network."""
    made, bundle = small_sounds.recipe(), line.bundle
    network, _ = load(made.model, read_object(line.prepared / "index.json"), line.checkpoint)
    clip = np.random.default_rng(samples).normal(size=samples).astype(np.float32) / 4
    with torch.no_grad():
        trained = Answers(network, True).eval()(torch.from_numpy(heard(clip, 3200))[None]).numpy()
    run = runner(bundle / "model.onnx", Signature.load(bundle / "signature.json"))
    np.testing.assert_allclose(run({"sound": clip[None]})["label"], trained, atol=2e-5)


def test_odd_clips_at_the_endpoint(line: Paths, tmp_path: Path) -> None:
    """One sample and 192 kHz are answered; none, and ten minutes, are refused in one line."""
    asked = {
        "one sample": wav(np.array([0.5]), 8000),
        "192 kHz": tone(900, 0.3, 192_000),
        "loud noise": wav(np.sign(np.random.default_rng(0).normal(size=4000)), 8000),
        "no samples": tone(1, 0, 8000),
        "ten minutes": tone(300, 600, 8000),
        "cut off": tone(300, 0.3, 8000)[:-900],
        "an MP3": b"ID3" + bytes(99),
    }
    with start(line.bundle, port=0, log=tmp_path / "serve.log") as server:
        server.wait_ready()
        address, kind = f"{server.url}/v1/models/tones/predict", {"Content-Type": "audio/wav"}
        found = {
            name: httpx.post(address, content=raw, headers=kind, timeout=60, trust_env=False)
            for name, raw in asked.items()
        }
    assert [each.status_code for each in found.values()] == [200, 200, 200, 400, 400, 400, 400]
    assert found["192 kHz"].json()[0]["label"] == "high"
    words = {"no samples": "is empty", "ten minutes": "600.0 s, longer than 1 s", "cut off": "truncated",
             "an MP3": "an MP3"}  # fmt: skip
    for name, said in words.items():
        error = found[name].json()["error"]
        assert error["code"] == "invalid_input"
        assert said in error["message"]
        assert "\n" not in error["message"]


def test_augmentation_is_a_function_of_seed_epoch_and_example() -> None:
    data = AudioData(rate=8000, speed=0.2, shift=0.1, volume=6, noise=0.01)
    sound = AudioInput(name="sound", shape=(-1,), rate=8000, seconds=9)
    clips = np.stack([heard(decode(sound, tone(300 + 50 * i, 0.3, 8000)), 4000) for i in range(4)])
    epochs, examples = np.zeros(4, np.int64), np.arange(4)
    whole = augmented(clips, data, 1, epochs, examples)
    parts = [augmented(clips[i : i + 1], data, 1, epochs[:1], examples[i : i + 1]) for i in range(4)]
    np.testing.assert_array_equal(whole, np.concatenate(parts))
    assert (whole != augmented(clips, data, 1, epochs + 1, examples)).any()
    assert augmented(clips, AudioData(), 1, epochs, examples) is clips
    later = augmented(clips, AudioData(rate=8000, shift=0.1), 1, epochs, examples)
    for after, before in zip(later, clips, strict=True):
        moved = int(np.flatnonzero(after)[0])
        assert 0 < moved <= 801
        assert np.abs(after).max() == pytest.approx(np.abs(before).max(), abs=0.02)
    pure = augmented(clips, AudioData(rate=8000, speed=0.2), 1, epochs, examples)
    pitch = [np.abs(np.fft.rfft(each)).argmax() for each in (*clips, *pure)]
    changes = np.array(pitch[4:]) / np.array(pitch[:4])
    assert ((changes > 0.79) & (changes < 1.21)).all()
    assert len(set(changes.round(3))) > 1
