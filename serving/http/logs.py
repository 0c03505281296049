"""Structured logs: one JSON object a line on standard output, never with the text of a prompt or completion.

    log.info("request", extra={"fields": {"status": 200}})   →   {"time": ..., "level": "info", "event": "request", ...}

An exception is logged as its type and where it came from; its message is left out, since it may quote a prompt.
"""

import json
import logging
import os
import sys
import traceback
from datetime import UTC, datetime
from typing import Any


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """Time in UTC, level, event (the message), then `extra={"fields": ...}`."""
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": time, "level": record.levelname.lower(), "event": record.getMessage()}
        line |= getattr(record, "fields", {})
        if record.exc_info and record.exc_info[0]:
            frames = traceback.extract_tb(record.exc_info[2])[-6:]
            line["error"] = record.exc_info[0].__name__
            line["where"] = [f"{os.path.basename(f.filename)}:{f.lineno} {f.name}" for f in frames]
        return json.dumps(line, ensure_ascii=False, default=str)


def configure() -> None:
    """Send everything below the logger `metroline` to standard output. Calling it again changes nothing."""
    logger = logging.getLogger("metroline")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(JsonFormatter())
        logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel(logging.INFO)
