"""How this server process runs: bounds that are the operator's choice, from METROLINE_* environment variables.

What belongs to the model (context, most tokens of a request, default precision) is in the bundle's `serving.json`.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from base.errors import MetrolineError
from base.parallel import cores

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class Settings:
    """See `DESCRIPTIONS` for what each one means."""

    precision: str | None = None
    threads: int = 0
    native: bool = True
    workers: int = 1
    cores: int = 1
    """That this process may use, shared out among the workers; not a setting but found out."""
    slots: int = 16
    kv_tokens: int = 0
    prefill_chunk: int = 64
    speculative: int = 0
    queue: int | None = None
    deadline: float = 120.0
    drain: float = 20.0
    body_limit: int = 1 << 20
    media_limit: int = 16 << 20
    body_seconds: float = 10.0
    send_seconds: float = 30.0
    keep_alive: int = 75
    prompts: int = 16
    auth: str = "auto"
    keys: str = ""
    requests_per_minute: int = 0
    tokens_per_minute: int = 0
    cors: tuple[str, ...] = ()
    traces: str = ""
    feedback: str = ""
    sample: float = 0.0
    feedback_bytes: int = 1 << 30
    feedback_days: float = 30.0
    redact: str = ""
    trust: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read METROLINE_PRECISION, METROLINE_THREADS, ... Raises MetrolineError for a value that makes no sense."""
        workers = _number(environment, "workers", 1, int, 1)
        return cls(
            precision=_precision(environment.get("METROLINE_PRECISION")),
            threads=_number(environment, "threads", 0, int, 0),
            native=_word(environment, "native", ("on", "off")) == "on",
            cores=max(1, cores() // workers),
            workers=workers,
            slots=_number(environment, "slots", 16, int, 1),
            kv_tokens=_number(environment, "kv_tokens", 0, int, 0),
            prefill_chunk=_number(environment, "prefill_chunk", 64, int, 2),
            speculative=_number(environment, "speculative", 0, int, 0),
            queue=_number(environment, "queue", 0, int, 0) if environment.get("METROLINE_QUEUE") else None,
            deadline=_number(environment, "deadline", 120.0, float, 0.1),
            drain=_number(environment, "drain", 20.0, float, 0.0),
            body_limit=_number(environment, "body_limit", 1 << 20, int, 1),
            media_limit=_number(environment, "media_limit", 16 << 20, int, 1),
            body_seconds=_number(environment, "body_seconds", 10.0, float, 0.1),
            send_seconds=_number(environment, "send_seconds", 30.0, float, 0.1),
            keep_alive=_number(environment, "keep_alive", 75, int, 1),
            prompts=_number(environment, "prompts", 16, int, 1),
            auth=_word(environment, "auth", ("auto", "on", "off")),
            keys=environment.get("METROLINE_KEYS", ""),
            requests_per_minute=_number(environment, "requests_per_minute", 0, int, 0),
            tokens_per_minute=_number(environment, "tokens_per_minute", 0, int, 0),
            cors=_origins(environment.get("METROLINE_CORS", "")),
            traces=_address(environment.get("METROLINE_TRACES", "")),
            feedback=environment.get("METROLINE_FEEDBACK", ""),
            sample=_share(environment),
            feedback_bytes=_number(environment, "feedback_bytes", 1 << 30, int, 1 << 16),
            feedback_days=_number(environment, "feedback_days", 30.0, float, 0.0),
            redact=environment.get("METROLINE_REDACT", ""),
            trust=environment.get("METROLINE_TRUST", ""),
        )

    def share(self, models: int) -> "Settings":
        """What each of several models in this process gets of what they share."""
        return replace(self, cores=max(1, self.cores // models), kv_tokens=max(1, self.kv_budget // models))

    @property
    def waiting_completions(self) -> int:
        """Completions that may wait for a model."""
        return max(1, self.slots // 4) if self.queue is None else self.queue

    @property
    def waiting_items(self) -> int:
        """Items that may wait for a model that answers in one call, beside those of the batch that runs."""
        return 256 if self.queue is None else self.queue

    @property
    def kv_budget(self) -> int:
        """Tokens that the key/value caches of this process may hold."""
        return self.kv_tokens or 1024 * self.slots


DESCRIPTIONS = {
    "METROLINE_PRECISION": "auto, fp32, int8 or int4: which graph of the bundle answers; unset: what the bundle says",
    "METROLINE_THREADS": "threads of ONNX Runtime in each worker; 0: one for a small model, else all cores, shared out",
    "METROLINE_NATIVE": "on: serving's C kernels where they were built; off: ONNX Runtime's operators instead",
    "METROLINE_WORKERS": "server processes, each with its own model and queue",
    "METROLINE_SLOTS": "sequences that each model of a worker runs at once; more wait",
    "METROLINE_KV_TOKENS": "tokens that a worker's key/value caches hold, shared out to its models; 0: 1,024 a slot",
    "METROLINE_PREFILL_CHUNK": "tokens of a prompt between two steps of running streams; four times that if none runs",
    "METROLINE_SPECULATIVE": "tokens that are guessed from the text so far while one sequence runs alone; 0: none",
    "METROLINE_QUEUE": "completions or items that may wait for a model of a worker; more: 429; unset: slots/4, or 256",
    "METROLINE_DEADLINE": "seconds from arrival after which a request is stopped with 504",
    "METROLINE_DRAIN": "seconds that running requests get to finish after SIGTERM",
    "METROLINE_BODY_LIMIT": "bytes of a request body; more gets 413",
    "METROLINE_MEDIA_LIMIT": "the same for a model that looks at images or listens",
    "METROLINE_BODY_SECONDS": "seconds in which a request body must arrive; slower gets 408",
    "METROLINE_SEND_SECONDS": "seconds in which a client must take the next part of its answer; slower is cut off",
    "METROLINE_KEEP_ALIVE": "seconds that a connection stays open between requests; more than a proxy keeps its own",
    "METROLINE_PROMPTS": "most completions (prompts × n) that one request may ask for",
    "METROLINE_AUTH": "on: /v1/ needs an API key; off: it needs none; auto: as soon as `metroline keys add` made one",
    "METROLINE_KEYS": "file with the hashes of API keys; unset: metroline/keys.json in the model store",
    "METROLINE_REQUESTS_PER_MINUTE": "requests that a key may send in a minute, unless it has its own limit; 0: any",
    "METROLINE_TOKENS_PER_MINUTE": "tokens of prompts and answers that a key may use in a minute; 0: any",
    "METROLINE_CORS": "origins whose pages may use the endpoint, as in https://a.example,app://b,null; or * for all",
    "METROLINE_TRACES": "where OpenTelemetry traces go by OTLP, http://HOST:4318/v1/traces; needs the extra `traces`",
    "METROLINE_FEEDBACK": "folder where feedback (POST /v1/feedback) and samples are kept; unset: neither is",
    "METROLINE_SAMPLE": "share of requests whose inputs and answers are kept beside feedback, 0 to 1; 0: none",
    "METROLINE_FEEDBACK_BYTES": "of that folder, at most; beyond it the oldest records go",
    "METROLINE_FEEDBACK_DAYS": "after which records of that folder are removed",
    "METROLINE_REDACT": "module:function that gets each record before it is kept, and returns what may be, or None",
    "METROLINE_TRUST": "public keys of minisign, or files of them, of which one must have signed a model; unset: any",
}


def _number(environment: Mapping[str, str], name: str, default: Number, kind: type[Number], least: Number) -> Number:
    variable = f"METROLINE_{name.upper()}"
    text = environment.get(variable, "")
    if not text:
        return default
    try:
        value = kind(text)
        if least <= value < 1e12:
            return value
    except ValueError:
        pass
    word = "a whole number" if kind is int else "a number"
    raise MetrolineError(f"{variable}={text!r} is not {word} from {least} up", hint=DESCRIPTIONS[variable])


def _share(environment: Mapping[str, str]) -> float:
    share = _number(environment, "sample", 0.0, float, 0.0)
    hint = DESCRIPTIONS["METROLINE_SAMPLE"]
    if share > 1:
        raise MetrolineError(f"METROLINE_SAMPLE={share:g} is no share from 0 to 1", hint=hint)
    if share and not environment.get("METROLINE_FEEDBACK"):
        raise MetrolineError(f"METROLINE_SAMPLE={share:g} has no folder to go to", hint="METROLINE_FEEDBACK=FOLDER")
    return share


def _word(environment: Mapping[str, str], name: str, words: tuple[str, ...]) -> str:
    """One of some words; the first one by default."""
    variable = f"METROLINE_{name.upper()}"
    text = environment.get(variable) or words[0]
    if text not in words:
        raise MetrolineError(f"{variable}={text!r} is none of {', '.join(words)}", hint=DESCRIPTIONS[variable])
    return text


def _origins(text: str) -> tuple[str, ...]:
    """Origins as browsers write them: in small letters, without the port that the scheme has anyway."""
    origins = tuple(origin for each in text.split(",") if (origin := each.strip().lower()))
    for origin in origins:
        if origin not in ("*", "null") and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s*?#@]+", origin):
            hint = DESCRIPTIONS["METROLINE_CORS"]
            raise MetrolineError(f"METROLINE_CORS: {origin!r} is no origin: scheme and host, no path", hint=hint)
    return tuple(re.sub(r"^(http://.+):80$|^(https://.+):443$", r"\1\2", origin) for origin in origins)


def _address(text: str) -> str:
    if text and not re.fullmatch(r"https?://[^\s/]+(/\S*)?", text):
        hint = DESCRIPTIONS["METROLINE_TRACES"]
        raise MetrolineError(f"METROLINE_TRACES={text!r} is no http address", hint=hint)
    return text


def _precision(text: str | None) -> str | None:
    if text in (None, ""):
        return None
    if text not in ("auto", "fp32", "int8", "int4"):
        raise MetrolineError(f"METROLINE_PRECISION={text!r} is not a precision", hint="auto, fp32, int8 or int4")
    return text
