"""Settings from the environment: defaults, values, and one line for each kind of nonsense."""

from pathlib import Path

import pytest

from base.errors import MetrolineError
from serving.http.settings import DESCRIPTIONS, Settings


def test_defaults():
    settings = Settings.from_environment({})
    assert settings.precision is None
    assert settings.threads == 0
    assert settings.cores >= 1
    assert (settings.workers, settings.waiting_completions, settings.deadline) == (1, 4, 120.0)
    assert (settings.body_limit, settings.media_limit) == (1 << 20, 16 << 20)
    assert (settings.slots, settings.kv_tokens, settings.prefill_chunk, settings.speculative) == (16, 0, 64, 0)


def test_values():
    settings = Settings.from_environment({
        "METROLINE_PRECISION": "fp32", "METROLINE_THREADS": "3", "METROLINE_QUEUE": "0", "METROLINE_DRAIN": "0.5",
        "METROLINE_NATIVE": "off",
    })  # fmt: skip
    assert (settings.precision, settings.threads, settings.queue, settings.drain) == ("fp32", 3, 0, 0.5)
    assert not settings.native
    assert Settings.from_environment({}).native


def test_the_queue_follows_the_slots():
    queues = [Settings.from_environment({"METROLINE_SLOTS": slots}).waiting_completions for slots in ("1", "7", "64")]
    assert queues == [1, 1, 16]
    assert Settings.from_environment({}).waiting_items == 256
    given = Settings.from_environment({"METROLINE_QUEUE": "9"})
    assert (given.waiting_completions, given.waiting_items) == (9, 9)


def test_cores_are_shared_out():
    assert Settings.from_environment({"METROLINE_WORKERS": "1000"}).cores == 1


def test_each_setting_is_described():
    named = {f"METROLINE_{name.upper()}" for name in Settings.__dataclass_fields__ if name != "cores"}
    assert named == set(DESCRIPTIONS)


def test_the_documentation_says_the_same():
    text = (Path(__file__).parents[3] / "docs" / "serving.md").read_text(encoding="utf-8")
    for variable, meaning in DESCRIPTIONS.items():
        assert f"| `{variable}` | {meaning} |" in text


def test_what_models_share():
    settings = Settings(cores=8, slots=4, kv_tokens=0).share(2)
    assert (settings.cores, settings.kv_budget, settings.slots) == (4, 2048, 4)
    assert Settings(kv_tokens=900).share(3).kv_budget == 300


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("METROLINE_PRECISION", "int3"),
        ("METROLINE_THREADS", "-1"),
        ("METROLINE_THREADS", "two"),
        ("METROLINE_NATIVE", "0"),
        ("METROLINE_WORKERS", "0"),
        ("METROLINE_QUEUE", "1.5"),
        ("METROLINE_SLOTS", "0"),
        ("METROLINE_KV_TOKENS", "-1"),
        ("METROLINE_PREFILL_CHUNK", "1"),
        ("METROLINE_SPECULATIVE", "-1"),
        ("METROLINE_DEADLINE", "0"),
        ("METROLINE_DEADLINE", "nan"),
        ("METROLINE_DEADLINE", "inf"),
        ("METROLINE_DRAIN", "-1"),
        ("METROLINE_BODY_LIMIT", "0"),
        ("METROLINE_PROMPTS", """ "16" """),
        ("METROLINE_AUTH", "maybe"),
        ("METROLINE_TOKENS_PER_MINUTE", "-5"),
        ("METROLINE_CORS", "app.example"),
        ("METROLINE_TRACES", "collector:4318"),
        ("METROLINE_CORS", "https://app.example/page"),
        ("METROLINE_CORS", "https://*.example"),
        ("METROLINE_CORS", "file://"),
        ("METROLINE_CORS", "null, nil"),
        ("METROLINE_KEEP_ALIVE", "0"),
    ],
)
def test_nonsense_is_refused(variable, value):
    with pytest.raises(MetrolineError, match=variable):
        Settings.from_environment({variable: value})
