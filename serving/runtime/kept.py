"""What a worker keeps of its requests for learning from them: feedback, and a share of inputs and answers.

Off unless METROLINE_FEEDBACK names a folder. Records are JSON objects in the log of base/segments.py; what the
operator's function (METROLINE_REDACT) takes out is never written. It knows no HTTP.
"""

import asyncio
import json
import logging
import queue
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.errors import MetrolineError
from base.segments import Log
from serving.http.redaction import load
from serving.http.settings import Settings

if TYPE_CHECKING:
    from serving.runtime.loaded_model import LoadedModel

REMEMBERED = 100_000
"""Answers whose truth may still come to be compared with; the oldest are forgotten."""

log = logging.getLogger("metroline.feedback")


def check(settings: Settings) -> None:
    """Raise MetrolineError where the folder cannot be made, or the redaction cannot be loaded."""
    load(settings.redact)
    try:
        if settings.feedback:
            Path(settings.feedback).mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise MetrolineError(f"METROLINE_FEEDBACK={settings.feedback}: {error.strerror}", hint="a folder") from None


class Kept:
    """The log of one worker, and the answers that it remembers. For the event loop's thread."""

    def __init__(self, settings: Settings) -> None:
        """Raises MetrolineError, as `check`."""
        check(settings)
        self._share, self._redact = settings.sample, load(settings.redact)
        self._log = None
        if settings.feedback:
            days = settings.feedback_days * 86400
            self._log = Log(Path(settings.feedback), most_bytes=settings.feedback_bytes, most_seconds=days)
        self._answers: OrderedDict[tuple[str, int], tuple[str, str, str]] = OrderedDict()

    @property
    def on(self) -> bool:
        """Feedback is taken."""
        return self._log is not None

    def answered(
        self, served: "LoadedModel", fields: dict[str, Any], labels: Sequence[str | None],
        inputs: Callable[[], Any], outputs: Callable[[], Any],
    ) -> None:  # fmt: skip
        """Note a request's items: `labels` as they were answered, to compare with the truth. `inputs`, `outputs`: what
        a sample holds, made for those that are samples."""
        if self._log is None:
            return
        name, caller = str(fields["request_id"]), str(fields.get("caller", ""))
        for item, label in enumerate(labels):
            self._answers[name, item] = (label or "", f"{served.name}:{served.bundle.version}", caller)
        while len(self._answers) > REMEMBERED:
            self._answers.popitem(last=False)
        if zlib.crc32(name.encode()) >= self._share * 2**32:
            return
        try:
            record = {**self._head("sample", served, name, caller), "inputs": inputs(), "outputs": outputs()}
        except Exception:  # the answer is right all the same
            log.exception("a sample could not be made")
            served.metrics.sampled("dropped")
            return
        served.metrics.sampled("kept" if self._write(record) else "dropped")

    def answer(self, name: str, item: int) -> tuple[str, str, str] | None:
        """(label, name:version of the model, caller) of an answer that is remembered and has had no truth yet."""
        return self._answers.get((name, item))

    async def feedback(
        self, served: "LoadedModel", name: str, item: int, caller: str, values: dict[str, Any]
    ) -> bool:  # fmt: skip
        """Keep what somebody said of an answer. Returns whether it is on the disk: redaction may keep nothing of it.

        Raises OSError, queue.Full: it could not be written.
        """
        record = {**self._head("feedback", served, name, caller), "item": item, **values}
        written = self._write(record, wait=True)
        if written is not None:
            await asyncio.wrap_future(written)
        label, known = values.get("label"), self.answer(name, item)
        if label is None:
            outcome = "other"
        elif known is None:
            outcome = "late"
        else:
            outcome = "other" if not known[0] else "right" if known[0] == label else "wrong"
            del self._answers[name, item]
        served.metrics.feedback(outcome)
        return written is not None

    def close(self) -> None:
        """Write what waits."""
        if self._log is not None:
            self._log.close()

    def _head(self, kind: str, served: "LoadedModel", name: str, caller: str) -> dict[str, Any]:
        version = served.bundle.version
        return {"kind": kind, "time": time.time(), "id": name, "model": served.name, "version": version,
                "caller": caller}  # fmt: skip

    def _write(self, record: dict[str, Any], *, wait: bool = False) -> Any:
        """The record's future; None: nothing of it is to be kept, or (unless `wait`) there is no room."""
        assert self._log is not None
        try:
            kept = self._redact(record)
            data = None if kept is None else json.dumps(kept).encode()
        except Exception:  # it is not ours, and what it did not look at is not written
            log.exception("METROLINE_REDACT failed: the record is not kept")
            return None
        if data is None:
            return None
        try:
            return self._log.append(data)
        except (queue.Full, ValueError):
            if wait:
                raise
            return None
