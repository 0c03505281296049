"""Who may ask, how much, and from which web pages: API keys, rate limits by key, CORS.

The routes below /v1/ and /v2/, and /status.json, need a key once there are keys (METROLINE_AUTH=auto). The playground,
the model card, the probes and /metrics do not: an endpoint that others reach is put behind a proxy that shows only what
they are to see.
"""

import hmac
import logging
import os
import tempfile
from pathlib import Path

from base.errors import MetrolineError
from serving.http.errors import invalid, rate_limited, unauthorized
from serving.http.keys import Key, KeyRing, digest, key_file
from serving.http.limits import Buckets
from serving.http.settings import Settings

Headers = list[tuple[bytes, bytes]]

REQUESTS, TOKENS = 0, 1
EXPOSED = b"X-Request-Id, Retry-After, X-RateLimit-Limit-Requests, X-RateLimit-Remaining-Requests"
"""Headers of an answer that a page may read, beside those that any page may."""
ANYONE = "anyone"
"""The caller's name where no key is asked for."""
LINE = "line"
"""The caller's name when the line itself asks, to see whether a release answers."""

log = logging.getLogger("metroline.access")


class Caller:
    """Whoever sent one request, with what is left to them."""

    def __init__(self, name: str, requests: int, tokens: int, buckets: Buckets | None) -> None:
        """`requests`, `tokens`: a minute; 0: no limit."""
        self.name, self._requests, self._tokens, self._buckets = name, requests, tokens, buckets
        self._spent = 0

    def request(self) -> Headers:
        """Count a request. Returns headers that say what is left. Raises ApiError 429."""
        if not self._requests or not self._buckets:
            return []
        if wait := self._buckets.take(REQUESTS, 1, self._requests):
            raise rate_limited("requests", self._requests, wait)
        left = self._buckets.left(REQUESTS, self._requests)
        return [(b"x-ratelimit-limit-requests", str(self._requests).encode()),
                (b"x-ratelimit-remaining-requests", str(left).encode())]  # fmt: skip

    def spend(self, tokens: int, param: str = "max_tokens") -> None:
        """Count tokens before they are read or generated. Raises ApiError 429; 400 for more than a minute has.

        `param`: the request's field that would have to ask for less.
        """
        if not self._tokens or not self._buckets:
            return
        if tokens > self._tokens:
            change = "Lower max_tokens." if param == "max_tokens" else f"Shorten {param}."
            message = f"This request may take {tokens} tokens, but {self._tokens} a minute are allowed. {change}"
            raise invalid(message, param, "tokens_over_limit")
        if wait := self._buckets.take(TOKENS, tokens, self._tokens):
            raise rate_limited("tokens", self._tokens, wait)
        self._spent = tokens

    def settle(self, used: int) -> None:
        """At the request's end: give back what was counted and not used."""
        if self._tokens and self._buckets and self._spent > used:
            self._buckets.give(TOKENS, self._spent - used, self._tokens)


class Access:
    """The rules of one server process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ring = KeyRing(key_file())
        self._line = digest(key) if (key := os.environ.get("METROLINE_LINE_KEY")) else None
        shared = os.environ.get("METROLINE_METRICS_FOLDER") or os.environ.get("PROMETHEUS_MULTIPROC_DIR")
        self._folder = Path(shared or tempfile.mkdtemp(prefix="metroline-limits-"))
        self._buckets: dict[str, Buckets] = {}

    def caller(self, headers: dict[bytes, bytes]) -> Caller:
        """Who asks, by the Authorization header. Raises ApiError 401."""
        settings = self._settings
        if settings.auth == "off" or (settings.auth == "auto" and not self._ring.there):
            return self._caller(ANYONE, ANYONE, None)
        scheme, _, given = headers.get(b"authorization", b"").decode("latin-1").partition(" ")
        presented = given.strip() if scheme.lower() == "bearer" else ""
        if self._line and hmac.compare_digest(self._line, digest(presented)):
            return Caller(LINE, 0, 0, None)
        try:
            key = self._ring.find(presented) if presented else None
        except MetrolineError as error:
            log.error("keys not read", extra={"fields": {"problem": str(error)}})
            key = None
        if key is None:
            raise unauthorized(given=bool(presented))
        return self._caller(key.name, key.sha256[:32], key)

    def _caller(self, name: str, file: str, key: Key | None) -> Caller:
        settings = self._settings
        requests, tokens = settings.requests_per_minute, settings.tokens_per_minute
        if key and key.requests_per_minute is not None:
            requests = key.requests_per_minute
        if key and key.tokens_per_minute is not None:
            tokens = key.tokens_per_minute
        if not requests and not tokens:
            return Caller(name, 0, 0, None)
        if file not in self._buckets:
            self._buckets[file] = Buckets(self._folder / f"limits-{file}")
        return Caller(name, requests, tokens, self._buckets[file])

    def cors(self, headers: dict[bytes, bytes]) -> Headers:
        """The headers that let a page of an allowed origin read an answer; none for others."""
        origin = headers.get(b"origin")
        allowed = self._settings.cors
        if not origin or not allowed:
            return []
        if "*" not in allowed and origin.decode("latin-1").lower() not in allowed:
            return [(b"vary", b"Origin")]
        return [
            (b"access-control-allow-origin", b"*" if "*" in allowed else origin),
            (b"access-control-expose-headers", EXPOSED),
            (b"vary", b"Origin"),
        ]

    def preflight(self, method: str, headers: dict[bytes, bytes]) -> Headers | None:
        """The answer to a browser that asks whether a page may send a request; None: it is no such question.

        A page of an allowed origin may send what headers it likes: clients bring their own (`X-Stainless-Lang`), and
        new ones with each version.
        """
        if method != "OPTIONS" or b"origin" not in headers or b"access-control-request-method" not in headers:
            return None
        granted = self.cors(headers)
        if any(name == b"access-control-allow-origin" for name, _ in granted):
            granted += [(b"access-control-allow-methods", b"GET, HEAD, POST"), (b"access-control-max-age", b"600")]
            if asked := headers.get(b"access-control-request-headers"):
                granted += [(b"access-control-allow-headers", asked), (b"vary", b"Access-Control-Request-Headers")]
        return granted
