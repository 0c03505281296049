"""Download one file whose SHA-256 is known: resumed where it broke, retried with back-off, checked, then renamed.

What has arrived of a file lies as `SHA256.part` in a folder of its own (`cache_folder`), so that the next try, also one
after a kill or a reboot, goes on from there. Nothing else of the project ever sees a partial file.
"""

import hashlib
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from filelock import FileLock

from base.errors import MetrolineError, NetworkError
from base.files import sha256 as sha256_of

if TYPE_CHECKING:
    import httpx

ATTEMPTS = 6  # in a row without one new byte; about 16 s of waiting in all
LONGEST_WAIT = 30.0  # seconds, also when a server asks for more
PASSING = {408, 425, 429, 500, 502, 503, 504}  # HTTP statuses that may be gone at the next try
Report = Callable[[int], None]  # called with the number of bytes that arrived


class Again(Exception):
    """A try that failed in a way that may pass; `wait` is what the server asked for, in seconds."""

    def __init__(self, message: str, wait: float = 0.0) -> None:
        super().__init__(message)
        self.wait = wait


def cache_folder() -> Path:
    """Where broken downloads wait: `downloads` in METROLINE_CACHE, or in `metroline` in the user's cache folder."""
    users = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metroline"
    return Path(os.environ.get("METROLINE_CACHE") or users) / "downloads"


def download(
    url: str,
    sha256: str | None,
    target: Path,
    *,
    name: str,
    headers: dict[str, str] | None = None,
    cache: Path | None = None,
    report: Report = lambda _: None,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Fetch `url`, check it, and copy it to `target`; it stays in the cache until `forget`. Without a `sha256` (the
    caller checks what is inside) it is not checked, not resumed and not kept.

    `name` (the recipe's) opens every error; `headers` go to the address's own host only. Raises MetrolineError: no
    network, refused address, wrong hash.
    """
    import httpx

    folder = cache or cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    key = sha256 or hashlib.sha256(url.encode()).hexdigest()
    whole = folder / key
    timeout = httpx.Timeout(30.0, connect=10.0)
    # Two processes that want the same file take turns; the second finds it whole.
    with FileLock(folder / f"{key}.lock"), httpx.Client(follow_redirects=True, timeout=timeout) as client:
        if not whole.exists():
            _fill(client, url, sha256, folder / f"{key}.part", name, headers or {}, report, sleep)
            (folder / f"{key}.part").replace(whole)
        else:
            report(size(whole))
        shutil.copyfile(whole, target)
        if sha256 is None:
            whole.unlink()


def forget(sha256: str, *, cache: Path | None = None) -> None:
    """Remove a whole file from the cache, once all files of its source are where they belong."""
    folder = cache or cache_folder()
    with FileLock(folder / f"{sha256}.lock"):
        (folder / sha256).unlink(missing_ok=True)


def _fill(
    client: "httpx.Client",
    url: str,
    sha256: str | None,
    part: Path,
    name: str,
    headers: dict[str, str],
    report: Report,
    sleep: Callable[[float], None],
) -> None:
    """Bring `part` to the pinned content, over as many tries as it takes."""
    import httpx

    jitter = random.Random()
    if sha256 is None:
        part.unlink(missing_ok=True)
    failures, most, resumed = 0, size(part), size(part) > 0
    while True:
        try:
            _attempt(client, url, headers, part, report)
        except (Again, httpx.TransportError) as error:
            if sha256 is None:  # the next answer may be of other bytes
                part.unlink(missing_ok=True)
            failures = 0 if size(part) > most else failures + 1
            most, resumed = max(most, size(part)), resumed or size(part) > 0
            if failures >= ATTEMPTS:
                raise no_network(name, urlsplit(url).netloc, f"{error} ({ATTEMPTS} tries)") from None
            pause = min(0.5 * 2**failures, LONGEST_WAIT) * (0.5 + jitter.random() / 2)
            sleep(min(max(pause, getattr(error, "wait", 0.0)), LONGEST_WAIT))
        except httpx.HTTPStatusError as error:
            answer = f"{error.response.status_code} {error.response.reason_phrase}"
            raise MetrolineError(
                f"{name}: {url} answers {answer}",
                hint="check the address in the recipe's source, and that you may read it",
            ) from None
        except (httpx.InvalidURL, httpx.RequestError) as error:
            raise MetrolineError(f"{name}: {url}: {error}", hint="check the address in the recipe's source") from None
        else:
            found = sha256_of(part)
            if sha256 is None or found == sha256:
                return
            part.unlink()
            if not resumed:
                raise wrong_hash(name, url, found, sha256)
            most, resumed = 0, False  # What lay there may be of another file, or damaged: once more from the start.


def _attempt(client: "httpx.Client", url: str, headers: dict[str, str], part: Path, report: Report) -> None:
    """One request that appends to `part`; returns when the file is whole by the server's word."""
    have = size(part)
    headers = headers | {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code in PASSING:
            after = response.headers.get("Retry-After", "")
            raise Again(f"status {response.status_code}", float(after) if after.isdecimal() else 0.0)
        if have and response.status_code == 416:  # Nothing after `have`: whole, or too long; the hash will tell.
            return
        response.raise_for_status()
        partial = response.status_code == 206
        if partial and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            part.unlink(missing_ok=True)
            raise Again("the server sent another range than asked for")
        report(have if partial else 0)
        with part.open("ab" if partial else "wb") as file:
            for chunk in response.iter_raw():  # as it arrives: a fixed size would lose the last piece of a broken one
                file.write(chunk)
                report(len(chunk))


def size(path: Path) -> int:
    """Bytes of a file, 0 when it is not there."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def wrong_hash(name: str, where: str | Path, found: str, wanted: str) -> MetrolineError:
    """The error for a file that is not the pinned one."""
    return MetrolineError(
        f"{name}: {where} has SHA-256 {found}, the recipe pins {wanted}",
        hint="it changed or was damaged on the way; if it changed on purpose, look at it and pin the new one",
    )


def no_network(name: str, host: str, reason: object) -> MetrolineError:
    """The error for a host that cannot be reached."""
    return NetworkError(
        f"{name}: cannot reach {host}: {' '.join(str(reason).split())}",
        hint="check the network, or set METROLINE_MIRROR to a folder that holds host/path; a broken download resumes",
    )
