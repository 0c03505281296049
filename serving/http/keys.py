"""API keys: who may use an endpoint of this store. Only hashes are kept, in <BENTOML_HOME>/metroline/keys.json.

    metroline keys add NAME [--requests-per-minute N] [--tokens-per-minute N]     # prints the key, once
    metroline keys list
    metroline keys remove NAME

A key has 256 random bits, so that SHA-256 is enough to keep it by: there is nothing to guess. Running endpoints see a
change at once. As soon as the file is there a key is needed, even after the last one was removed.
"""

import argparse
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from base.errors import MetrolineError
from base.files import write_json
from base.terminal import print_anywhere
from serving.store import home

PREFIX = "mk-"
LATEST = 253_402_300_799
"""Seconds since 1970 in the last second of the year 9999."""


@dataclass(frozen=True)
class Key:
    """One key as it is kept. Limits: None: the endpoint's own (METROLINE_REQUESTS_PER_MINUTE, ...)."""

    name: str
    sha256: str
    created: int
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


def key_file(environment: Mapping[str, str] = os.environ) -> Path:
    """METROLINE_KEYS, else keys.json in the store."""
    named = environment.get("METROLINE_KEYS")
    return Path(named).expanduser() if named else home(environment) / "metroline" / "keys.json"


def digest(key: str) -> str:
    """What is kept of a key."""
    return hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest()


class KeyRing:
    """The keys in a file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp: tuple[int, ...] | None = None
        self._keys: tuple[Key, ...] = ()
        self._there = False

    @property
    def there(self) -> bool:
        """Whether keys were ever made here. A file that goes away while this runs opens nothing."""
        if not self._there:
            try:
                self._there = self.path.exists()
            except OSError:  # it may be there, for all that can be seen
                return True
        return self._there

    def read(self) -> tuple[Key, ...]:
        """All keys. Raises MetrolineError for a file that cannot be read."""
        try:
            stat = self.path.stat()
            stamp = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if stamp != self._stamp:
                entries = json.loads(self.path.read_text(encoding="utf-8"))["keys"]
                self._keys, self._stamp = tuple(_checked(Key(**entry)) for entry in entries), stamp
        except FileNotFoundError:
            self._keys, self._stamp = (), None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:  # the last: nested too deep
            raise MetrolineError(
                f"{self.path}: cannot be read: {error!r}", hint="delete it, and add keys anew"
            ) from None
        return self._keys

    def find(self, presented: str) -> Key | None:
        """The key that was presented. Takes as long for every wrong one."""
        wanted, found = digest(presented), None
        for key in self.read():
            if hmac.compare_digest(key.sha256, wanted):
                found = key
        return found

    def add(self, name: str, requests_per_minute: int | None = None, tokens_per_minute: int | None = None) -> str:
        """Make a key and keep its hash. Returns the key itself. Raises MetrolineError for a name that does not do."""
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
            raise MetrolineError(f"{name!r} is no name for a key", hint="letters, digits, dots, hyphens; at most 64")
        made = PREFIX + secrets.token_urlsafe(32)
        with self._locked():
            keys = self.read()
            if any(key.name == name for key in keys):
                raise MetrolineError(f"there is a key named {name} already", hint=f"metroline keys remove {name}")
            self._write((*keys, Key(name, digest(made), int(time.time()), requests_per_minute, tokens_per_minute)))
        return made

    def remove(self, name: str) -> None:
        """Forget a key. Raises MetrolineError when there is none of that name."""
        with self._locked():
            keys = self.read()
            left = tuple(key for key in keys if key.name != name)
            if len(left) == len(keys):
                known = ", ".join(key.name for key in keys) or "there are none"
                raise MetrolineError(f"there is no key named {name}", hint=known)
            self._write(left)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Wait until no other process changes the file: of two that read and then write, one would lose its key."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise MetrolineError(
                f"{self.path} cannot be written: {error.strerror}", hint="METROLINE_KEYS names another file"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, keys: Sequence[Key]) -> None:
        write_json(self.path, {"keys": [asdict(key) for key in keys]})
        self.path.chmod(0o600)


def _checked(key: Key) -> Key:
    """The key itself. Raises ValueError for what nobody's key can be compared with."""
    limits = (key.requests_per_minute, key.tokens_per_minute)
    numbers = all(limit is None or (type(limit) is int and limit >= 0) for limit in limits)
    numbers = numbers and type(key.created) is int and 0 <= key.created <= LATEST
    if not (isinstance(key.name, str) and re.fullmatch(r"[0-9a-f]{64}", str(key.sha256)) and numbers):
        raise ValueError(f"not a key: {str(key.name)[:64]!r}")
    return key


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="metroline keys", description="API keys of this project's endpoints.")
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add", help="make a key and print it, once")
    add.add_argument("name")
    add.add_argument("--requests-per-minute", type=_limit, metavar="N", help="0: no limit")
    add.add_argument("--tokens-per-minute", type=_limit, metavar="N", help="of prompts and answers; 0: no limit")
    commands.add_parser("list", help="names, ages and limits")
    commands.add_parser("remove", help="take a key back").add_argument("name")
    given = parser.parse_args(arguments)
    print_anywhere()
    ring = KeyRing(key_file())
    try:
        if given.command == "add":
            print(ring.add(given.name, given.requests_per_minute, given.tokens_per_minute))
            print("This is the only time it is shown. Clients send it as: Authorization: Bearer KEY", file=sys.stderr)
        elif given.command == "remove":
            ring.remove(given.name)
        else:
            for key in ring.read():
                made = time.strftime("%Y-%m-%d", time.gmtime(key.created))
                limits = f"{_shown(key.requests_per_minute)} requests, {_shown(key.tokens_per_minute)} tokens a minute"
                print(f"{key.name:24} {made}  {limits}")
    except MetrolineError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _limit(text: str) -> int:
    if not text.isdecimal() or len(text) > 12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 up")
    return int(text)


def _shown(limit: int | None) -> str:
    return "default" if limit is None else "unlimited" if limit == 0 else f"{limit:,}"


if __name__ == "__main__":
    sys.exit(main())
