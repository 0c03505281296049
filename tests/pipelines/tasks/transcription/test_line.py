"""Clips with texts, from files to a bundle that OpenAI's client asks."""

import io
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnx
import pytest
import torch

from base.errors import MetrolineError
from base.files import read_json
from data import golden
from data.signature import Signature, TranscriptOutput
from pipelines.evaluation import evaluate
from pipelines.exporting.stage import export
from pipelines.paths import Paths
from pipelines.recipe import kinds
from pipelines.recipe.consistency import problems
from pipelines.tasks.transcription.network import build
from pipelines.tasks.transcription.spoken import Spoken
from pipelines.training.stage import train
from serving.app.run import start
from tests.pipelines.tasks.raw_files import write_raw
from tests.pipelines.tasks.transcription import small_speech


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """Trained, evaluated, exported."""
    made, paths = small_speech.recipe(), Paths("tones", tmp_path_factory.mktemp("tones"))
    write_raw(paths.raw, small_speech.files())
    kinds.task("transcription")(made).prepare(paths.raw, paths.prepared, None)
    train(made, paths)
    evaluate(made, paths)
    export(made, paths)
    return paths


@pytest.fixture(scope="module")
def output(line: Paths) -> TranscriptOutput:
    (found,) = Signature.load(line.bundle / "signature.json").outputs
    assert isinstance(found, TranscriptOutput)
    return found


def test_an_utterance_is_of_one_split_and_one_speaker(line: Paths) -> None:
    takes = {"train": range(7, 12), "valid": range(4, 7), "test": range(4)}
    for split, allowed in takes.items():
        spoken = Spoken(line.prepared, split)
        lengths = set()
        for number in range(len(spoken)):
            meta = spoken.records.meta(number)
            clips = meta["clips"].split()
            assert {clip.split("_")[1] for clip in clips} == {meta["speaker"]}
            assert {int(clip.split("_")[2].removesuffix(".wav")) for clip in clips} <= set(allowed)
            said = [small_speech.WORDS[clip.split("/")[1][0]] for clip in clips]
            assert spoken.texts[number] == " ".join(said)
            lengths.add(len(clips))
        assert lengths == {1, 2, 3}
    assert {name: each["records"] for name, each in read_json(line.prepared / "index.json")["splits"].items()} == {
        "train": 160, "valid": 20, "test": 24}  # fmt: skip


def test_utterances_are_the_same_again_and_others_with_another_seed(line: Paths, tmp_path: Path) -> None:
    def hash_of(**join: Any) -> str:
        made = small_speech.recipe()
        changed = made.data.model_copy(update={"join": made.data.join.model_copy(update=join)})
        kinds.task("transcription")(made.model_copy(update={"data": changed})).prepare(line.raw, tmp_path / "out", None)
        return str(read_json(tmp_path / "out" / "index.json")["data_hash"])

    first = read_json(line.prepared / "index.json")["data_hash"]
    assert hash_of() == first
    assert hash_of(seed=1) != first


def test_it_beats_one_text_for_all_and_says_so(line: Paths) -> None:
    metrics = read_json(line.metrics)
    assert metrics["test"]["wer"] < 0.35 < metrics["baselines"]["floor_wer"]
    assert metrics["test"]["wer"] <= metrics["baselines"]["frames_wer"]  # beam search with the n-gram helps
    named = {f"test.{name}" for name in metrics["test"]} | {f"baselines.{name}" for name in metrics["baselines"]}
    assert named <= set(kinds.task("transcription").measured)
    assert set(metrics["groups"]) == {"speaker=low", "speaker=high"}
    card = (line.bundle / "README.md").read_text(encoding="utf-8")
    assert f"{100 * metrics['test']['wer']:.2f} %" in card
    assert "the blank is column 4" in card


def test_the_blank_is_where_the_signature_says(line: Paths, output: TranscriptOutput) -> None:
    """Last here: of silence every frame says it, and no character."""
    assert output.alphabet == (" ", "a", "b", "c", "")
    assert output.blank == 4
    names = [node.op_type for node in onnx.load(line.bundle / "model.onnx").graph.node]
    assert "BatchNormalization" not in names
    assert names.count("LSTM") == 1
    import onnxruntime

    session = onnxruntime.InferenceSession(line.bundle / "model.onnx")
    (frames,) = session.run(None, {"audio": np.zeros((1, 8000), np.float32)})
    assert frames.shape == (1, 101, 5)
    assert (frames[0].argmax(1) == 4).mean() > 0.9
    np.testing.assert_allclose(np.exp(frames).sum(2), 1, atol=1e-5)


def test_openais_client_and_bad_requests(line: Paths, output: TranscriptOutput, tmp_path: Path) -> None:
    openai = pytest.importorskip("openai")
    test, signature = Spoken(line.prepared, "test"), Signature.load(line.bundle / "signature.json")
    items = golden.load(line.bundle, signature)
    clip = items[0].inputs[0]
    dice = np.random.default_rng(2)
    long = small_speech.spoken("ab ca", dice, rate=192_000)
    with start(line.bundle, port=0, log=tmp_path / "serve.log") as server:
        server.wait_ready()
        client = openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", http_client=httpx.Client(trust_env=False))
        hear = client.audio.transcriptions.create
        for item in items:
            assert hear(model="tones", file=("a.wav", item.inputs[0])).text == item.outputs["transcript"]
        said = hear(model="tones", file=("a.wav", clip), response_format="verbose_json", language="en",
                    timestamp_granularities=["word"])  # fmt: skip
        assert said.text == items[0].outputs["transcript"]
        assert said.duration == pytest.approx(len(test.sounds[0]) / small_speech.RATE)
        assert said.language == "en"
        assert [each.word for each in said.words] == said.text.split()
        times = [time for each in said.words for time in (each.start, each.end)]
        assert times == sorted(times)
        assert 0 <= times[0] < times[-1] <= said.duration + 2 * output.step
        assert hear(model="tones", file=("a.wav", clip), response_format="text") == f"{said.text}\n"
        flac = small_speech.wav(test.sounds[0], form="FLAC")
        assert hear(model="tones", file=("a.flac", flac)).text == said.text
        predicted = httpx.post(f"{server.url}/v1/models/tones/predict", content=clip, timeout=30, trust_env=False,
                               headers={"Content-Type": "audio/wav"}).json()  # fmt: skip
        assert predicted["text"] == said.text
        assert [each["text"] for each in predicted["chunks"]] == said.text.split()

        # Of 1 sample, of 192 kHz; of 0 samples, of 10 minutes, and what is none.
        assert hear(model="tones", file=("a.wav", small_speech.wav(np.zeros(1, np.float32)))).text == ""
        assert hear(model="tones", file=("a.wav", small_speech.wav(long, 192_000))).text
        minutes = small_speech.wav(np.zeros(600 * small_speech.RATE, np.float32))

        def refused(status: int, files: Any = None, **fields: Any) -> str:
            files = {"file": ("a.wav", clip)} if files is None else files
            answer = httpx.post(f"{server.url}/v1/audio/transcriptions", files=files, data=fields, timeout=30,
                                trust_env=False)  # fmt: skip
            assert answer.status_code == status, answer.text
            return str(answer.json()["error"]["message"])

        def sent(raw: bytes) -> dict[str, tuple[str, bytes]]:
            return {"file": ("a.wav", raw)}

        assert "empty" in refused(400, sent(small_speech.wav(np.zeros(0, np.float32))))
        assert "600.0 s, longer than 20 s" in refused(400, sent(minutes))
        assert "not a clip" in refused(400, sent(b"nothing of the kind"))
        assert "no bytes" in refused(400, sent(b""))
        assert "truncated" in refused(400, sent(clip[: len(clip) // 2]))
        assert "MP3" in refused(400, sent(b"ID3" + bytes(100)))
        assert "There is no clip" in refused(400, {"model": (None, "tones")})
        assert "Unknown field 'langauge': did you mean language" in refused(400, langauge="en")
        assert "hears 'en' only" in refused(400, language="de")
        assert "response_format is json, text, verbose_json" in refused(400, response_format="srt")
        assert "takes no prompt" in refused(400, prompt="numbers")
        assert "not streamed" in refused(400, stream="true")
        assert "temperature is a number from 0 to 1" in refused(400, temperature="hot")
        assert "did you mean word" in refused(400, **{"timestamp_granularities[]": "words"})
        assert "needs response_format verbose_json" in refused(400, **{"timestamp_granularities[]": "word"})
        assert "model" in refused(404, model="whisper-1").lower()
        assert "too many files" in refused(400, [("file", ("a", clip)), ("file", ("b", clip))]).lower()
        address = f"{server.url}/v1/audio/transcriptions"
        plain = httpx.post(address, content=clip, headers={"Content-Type": "audio/wav"}, timeout=30, trust_env=False)
        assert plain.status_code == 415
        for kind in ("multipart/form-data", "multipart/form-data; boundary=x"):
            odd = httpx.post(address, content=b"--y\r\n", headers={"Content-Type": kind}, timeout=30, trust_env=False)
            assert odd.status_code == 400
        metrics = httpx.get(f"{server.url}/metrics", timeout=30, trust_env=False).text
    assert 'name="characters",output="transcript"' in metrics
    assert 'route="/v1/audio/transcriptions",status="200"' in metrics


def test_golden_items_tell_another_text(line: Paths, output: TranscriptOutput) -> None:
    signature = Signature.load(line.bundle / "signature.json")
    item = golden.load(line.bundle, signature)[0]
    assert golden.compare(signature, item, {"transcript": {"text": item.outputs["transcript"]}}) is None
    assert "expected" in str(golden.compare(signature, item, {"transcript": {"text": "bab"}}))
    with pytest.raises(MetrolineError, match="is no transcript"):
        golden.answer(output, [1.0, 2.0])


FILES = small_speech.files(3)
ONE = small_speech.wav(np.zeros(400, np.float32))


@pytest.mark.parametrize(
    ("more", "data", "problem"),
    [
        ({"clips/x.wav": ONE}, {}, r"clips/x\.wav: data\.text is not found in it"),
        ({"clips/0_low_1.wav": b"ID3"}, {}, r"clips/0_low_1\.wav: .*MP3"),
        ({"clips/0_low_1.wav": small_speech.wav(np.zeros(99_999, np.float32))}, {}, "longer than 20 s"),
        ({}, {"files": "sounds/*"}, "no fetched clip matches 'sounds/\\*'"),
        ({}, {"text": None}, r"no 0_high_0\.txt beside it"),
        ({}, {"words": {"0": " "}}, "nothing is said in it"),
        ({}, {"words": {"0": "ab", "1": "ca"}, "join": None}, ""),
        ({"clips/9_low_0.wav": ONE}, {"join": None}, "train has no '9'"),
    ],
)
def test_what_is_no_clip_with_a_text(
    tmp_path: Path, more: dict[str, bytes], data: dict[str, Any], problem: str
) -> None:
    write_raw(tmp_path / "raw", FILES | more)
    made = small_speech.recipe(split={"method": "given", "given": {"test": "_0[.]wav", "valid": "_1[.]wav"}})
    join = made.data.join.model_copy(update={"most": 2})
    made = made.model_copy(update={"data": made.data.model_copy(update={"join": join} | data)})
    prepare = kinds.task("transcription")(made).prepare
    if not problem:
        prepare(tmp_path / "raw", tmp_path / "out", None)
        assert "2" in Spoken(tmp_path / "out", "train").output.alphabet
        return
    with pytest.raises(MetrolineError, match=problem):
        prepare(tmp_path / "raw", tmp_path / "out", None)


def test_texts_beside_their_clips(tmp_path: Path) -> None:
    """Folded to lower case and single spaces; the blank stands first unless the recipe says otherwise."""
    files = {}
    for number in range(6):
        files[f"{number}.wav"] = small_speech.wav(np.full(400 + number, 0.1, np.float32))
        files[f"{number}.txt"] = "\ufeffAb  ba\n".encode()
    write_raw(tmp_path / "raw", files)
    made = small_speech.recipe(
        data={"kind": "speech", "rate": 4000, "mels": 8},
        split={"method": "given", "given": {"test": "0", "valid": "1"}},
        task={"kind": "transcription"}, evaluate={},
    )  # fmt: skip
    kinds.task("transcription")(made).prepare(tmp_path / "raw", tmp_path / "out", None)
    spoken = Spoken(tmp_path / "out", "train")
    assert spoken.texts == ["ab ba"] * 4
    assert (spoken.output.alphabet, spoken.output.blank, spoken.output.grams) == (("", " ", "a", "b"), 0, {})
    assert spoken.symbols(0) == [2, 3, 1, 3, 2]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"evaluate": {"group": "city"}}, "evaluate.group: city is no named group of data.text (speaker)"),
        ({"split": {"method": "group", "group": "city"}}, "split.group: city is no named group"),
        ({"split": {"method": "time", "by": "city"}}, "split: clips have no time"),
    ],
)
def test_sections_that_contradict_each_other(changes: dict[str, Any], problem: str) -> None:
    assert any(problem in line for line in problems(small_speech.recipe(**changes)))


@pytest.mark.parametrize("data", [{"text": "("}, {"text": "(?P<label>.)"}, {"join": {"fewest": 4, "most": 3}}])
def test_keys_that_are_none(data: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"text|most"):
        small_speech.recipe(data={"kind": "speech", **data})


def test_a_network_that_cannot(line: Paths) -> None:
    index = read_json(line.prepared / "index.json")
    with pytest.raises(MetrolineError, match="mlp writes no text of sounds"):
        build(small_speech.recipe(model={"kind": "mlp"}).model, index, torch.Generator())


def test_silence_behind_a_clip_is_no_other_clip(line: Paths) -> None:
    """What training pads is what serving hears as silence: the text stays."""
    from data.ctc import worded
    from pipelines.tasks.transcription.network import Answers, load

    test = Spoken(line.prepared, "test")
    answers = Answers(load(small_speech.recipe().model, test.index, line.checkpoint)).eval()
    same = 0
    for sound in test.sounds[:8]:
        with torch.no_grad():
            alone = answers(torch.from_numpy(sound[None]))[0].numpy()
            padded = answers(torch.from_numpy(np.pad(sound, (0, 2000))[None]))[0].numpy()
        same += worded(test.output, alone)["text"] == worded(test.output, padded)["text"]
    assert same >= 7


def test_a_clip_that_is_written_is_the_clip() -> None:
    sound = np.linspace(-0.5, 0.5, 100, dtype=np.float32)
    import soundfile

    back, rate = soundfile.read(io.BytesIO(small_speech.wav(sound)), dtype="float32")
    assert rate == small_speech.RATE
    np.testing.assert_allclose(back, sound, atol=1 / 32768)
