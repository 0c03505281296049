"""The secret that Alertmanager and the receiver share, in a file that both read."""

import os
import secrets
from pathlib import Path

from base.errors import MetrolineError

FILE = Path(".metroline/watch/key")


def shared_key(path: Path) -> str:
    """The key in the file, which is made (readable by its owner alone) where there is none. Raises MetrolineError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            pass
        else:
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32))
        key = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise MetrolineError(f"{path} cannot be read or made: {why}", hint="--key names another file") from None
    if len(key) < 16 or not key.isprintable() or " " in key:
        hint = "remove it, and a new one is made"
        raise MetrolineError(f"{path} holds no key of at least 16 characters without blanks", hint=hint)
    return key
