"""POST /v1/audio/transcriptions: a clip → what is said in it, as OpenAI's clients send it (multipart/form-data).

    curl -F file=@clip.wav -F response_format=verbose_json HOST/v1/audio/transcriptions

For a bundle whose one input is a sound and whose one output a transcript.
"""

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from base.errors import nearest
from data.signature import AudioInput, Signature, TranscriptOutput
from serving.http.body import read_bytes
from serving.http.errors import ApiError, invalid
from serving.http.stream import while_connected
from serving.routes.able import able
from serving.runtime.runtime import Runtime

if TYPE_CHECKING:
    from serving.engines.forward.graph import Prepared

FORMATS = ("json", "text", "verbose_json")
FIELDS = (
    "file",
    "model",
    "language",
    "prompt",
    "response_format",
    "temperature",
    "timestamp_granularities[]",
    "stream",
)
GRANULARITIES = ("word", "segment")
_STRING = {"type": "string"}
BODY: dict[str, Any] = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": {
    "type": "object", "required": ["file"], "additionalProperties": False, "properties": {
        "file": {"type": "string", "format": "binary", "description": "WAV or FLAC"}, "model": _STRING,
        "response_format": {"type": "string", "enum": list(FORMATS)}, "language": _STRING, "prompt": _STRING,
        "temperature": {"type": "number", "minimum": 0, "maximum": 1}, "stream": {"type": "boolean"},
        "timestamp_granularities[]": {"type": "array", "items": {"type": "string", "enum": list(GRANULARITIES)}},
    }}}}}}  # fmt: skip
"""Of the OpenAPI description."""


async def transcribe(runtime: Runtime, request: Request) -> Response:
    """Answer a request. Raises ApiError."""
    settings, fields = runtime.settings, request.scope["metroline"]["fields"]
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "multipart/form-data":
        raise ApiError(415, "Send the clip as multipart/form-data.", code="unsupported_media_type")
    body = await read_bytes(request, max(settings.media_limit, settings.body_limit), settings.body_seconds)
    form = await _form(request, body)
    name, sent = _text(form, "model"), form.get("file")
    if not isinstance(sent, UploadFile):
        raise invalid("There is no clip. Send it as the file `file`.", "file", "missing_file")
    clip = await sent.read()
    await runtime.until_ready()
    served = able(runtime, request, name, hears, "writes no transcripts", "no_transcriptions")
    (output,) = served.bundle.typed.outputs
    (heard,) = served.bundle.typed.inputs
    assert isinstance(output, TranscriptOutput)
    assert isinstance(heard, AudioInput)
    shape, words = _wanted(form, output)
    seconds = 0.0

    def admit(ready: "list[Prepared]") -> None:
        nonlocal seconds
        seconds = ready[0].decoded[0].size / heard.rate

    fields["items"] = 1
    work = served.engine.answer([(clip,)], fields["request_id"], admit=admit, param="file")
    ((frames,),) = await while_connected(request.receive, work)
    from data.ctc import worded

    said = await asyncio.to_thread(worded, output, frames)
    return _answer(said, shape, words, output.language, seconds)


def hears(signature: Signature | None) -> bool:
    """Whether a model with this signature makes a transcript of a sound."""
    return (signature is not None and signature.engine == "forward"
            and [each.kind for each in (*signature.inputs, *signature.outputs)] == ["audio", "transcript"])  # fmt: skip


async def _form(request: Request, body: bytes) -> FormData:
    """The fields of a body that was read. Raises ApiError 400."""

    async def once() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await MultiPartParser(request.headers, once(), max_files=1, max_fields=20).parse()
    except (MultiPartException, KeyError, ValueError, UnicodeDecodeError) as error:
        words = getattr(error, "message", None) or "it is damaged"
        raise invalid(f"The form cannot be read: {words}", code="invalid_form") from None
    for key in form:
        if key not in FIELDS:
            raise invalid(f"Unknown field {key[:100]!r}: {nearest(key, FIELDS)}", key[:100], "unknown_parameter")
    return form


def _text(form: FormData, key: str) -> str | None:
    """A field that is no file. Raises ApiError 400: it is one."""
    value = form.get(key)
    if isinstance(value, UploadFile):
        raise invalid(f"{key} is a text, not a file.", key)
    return value or None


def _wanted(form: FormData, output: TranscriptOutput) -> tuple[str, bool]:
    """The form of the answer, and whether it is to have words. Raises ApiError 400: what this model cannot do."""
    shape = _text(form, "response_format") or "json"
    if shape not in FORMATS:
        raise invalid(f"response_format is {', '.join(FORMATS)}.", "response_format", "unsupported_format")
    language = _text(form, "language")
    if language and output.language and language.lower() != output.language:
        raise invalid(f"This model hears {output.language!r} only.", "language", "unsupported_language")
    if _text(form, "prompt"):
        raise invalid("This model takes no prompt.", "prompt", "unsupported_parameter")
    if (_text(form, "stream") or "false").lower() not in ("false", "0"):
        raise invalid("Transcripts are not streamed.", "stream", "unsupported_parameter")
    try:
        warm = float(_text(form, "temperature") or 0)
    except ValueError:
        warm = -1.0
    if not 0 <= warm <= 1:
        raise invalid(
            "temperature is a number from 0 to 1; the likeliest text is the answer whatever it is.", "temperature"
        )
    parts = [each for each in form.getlist("timestamp_granularities[]") if isinstance(each, str)]
    if odd := [each for each in parts if each not in GRANULARITIES]:
        hint = nearest(odd[0], GRANULARITIES)
        raise invalid(f"timestamp_granularities[] has {odd[0][:100]!r}: {hint}", "timestamp_granularities[]")
    if parts and shape != "verbose_json":
        raise invalid("timestamp_granularities[] needs response_format verbose_json.", "timestamp_granularities[]")
    return shape, "word" in parts or not parts


def _answer(said: dict[str, Any], shape: str, words: bool, language: str, seconds: float) -> Response:
    text = said["text"]
    if shape == "text":
        return PlainTextResponse(f"{text}\n")
    if shape == "json":
        usage = {"type": "duration", "seconds": -int(-seconds // 1)}
        return JSONResponse({"text": text, "usage": usage})
    spoken = [
        {"word": each["text"], "start": each["timestamp"][0], "end": each["timestamp"][1]} for each in said["chunks"]
    ]
    segment = {"id": 0, "start": 0.0, "end": seconds, "text": text}
    body: dict[str, Any] = {"task": "transcribe", "language": language, "duration": seconds, "text": text,
                            "segments": [segment] if text else []}  # fmt: skip
    return JSONResponse(body | ({"words": spoken} if words else {}))
