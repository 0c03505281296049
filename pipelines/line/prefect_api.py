"""A client of a Prefect server, and what such a server refuses as one line: its password, its version, its silence.

Servers are started by pipelines/line/prefect_processes.py. Prefect is imported inside functions: it takes a second.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx
from packaging.version import Version

from base.errors import MetrolineError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient


@contextmanager
def client(url: str) -> "Iterator[SyncPrefectClient]":
    """A client of the server at `url`, which is also the server of everything Prefect does inside.

    Raises MetrolineError: the server wants a password, is older than this Prefect, or refuses something.
    """
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with refusals(url), temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as found:
        check_version(found, url)
        yield found


def check_version(prefect: "SyncPrefectClient", url: str) -> None:
    """Raise MetrolineError unless the server is of this Prefect's version or a later minor one.

    That is what Prefect promises: an older server refuses what it does not know yet.
    """
    from prefect.client.base import ServerType

    if prefect.server_type == ServerType.CLOUD:
        return
    try:
        server, here = Version(prefect.api_version()), Version(prefect.client_version())
    except (ValueError, TypeError):
        hint = "PREFECT_API_URL ends in /api"
        raise MetrolineError(f"what answers at {url} is no Prefect API", hint=hint) from None
    if server.major != here.major or server.minor < here.minor:
        hint = f"update {'the server' if server < here else 'this Prefect'}, or unset PREFECT_API_URL"
        raise MetrolineError(f"the Prefect server at {url} is of version {server}, this is {here}", hint=hint)


@contextmanager
def refusals(url: str) -> Iterator[None]:
    """Raise what the server at `url` refuses inside, or that it no longer answers, as a MetrolineError."""
    try:
        yield
    except httpx.HTTPError as error:
        if not _is_of(error, url):
            raise
        raise _as_one_line(error, url) from error
    except RuntimeError as error:  # Prefect's "Failed to reach API"
        if not isinstance(error.__cause__, httpx.HTTPError) or not _is_of(error.__cause__, url):
            raise
        raise _as_one_line(error.__cause__, url) from error


def _is_of(error: httpx.HTTPError, url: str) -> bool:
    """Whether the request that failed went to this server: there are endpoints, too."""
    try:
        asked, server = error.request.url, httpx.URL(url)
        return (asked.host, asked.port) == (server.host, server.port)
    except RuntimeError:  # httpx knows of no request
        return False


def _as_one_line(error: httpx.HTTPError, url: str) -> MetrolineError:
    if not isinstance(error, httpx.HTTPStatusError):
        return MetrolineError(f"the Prefect server at {url} does not answer: {error or type(error).__name__}")
    status = error.response.status_code
    if status in (401, 403):
        hint = "PREFECT_API_AUTH_STRING=USER:PASSWORD gives it"
        return MetrolineError(f"the Prefect server at {url} wants a password, or another one", hint=hint)
    asked = error.request.url.path
    return MetrolineError(f"the Prefect server at {url} refused {asked} with {status}: {_detail(error)}")


def _detail(error: httpx.HTTPStatusError) -> str:
    """What the server says about it, in one line."""
    try:
        said: Any = error.response.json()
    except ValueError:
        said = error.response.text
    if isinstance(said, dict):
        said = said.get("exception_detail") or said.get("exception_message") or said.get("detail") or said
    return " ".join(str(said).split())[:300]
