"""Which addresses there are, as the guard and the metrics see them: each engine's routes extend the table.

A path becomes a template of a few fixed strings, so that no client can make up new label values.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

WEB = Path(__file__).parents[1] / "web"
"""The playground's files, all of which are served."""
PROBES = ("/livez", "/readyz", "/healthz", "/metrics", "/schema.json")


@dataclass(frozen=True)
class Route:
    """One address. `template`: {name} stands for one part of the path."""

    template: str
    answers: bool = False
    """It runs a model: it is turned away before its body is read when there is no room, and its time is counted."""
    keyed: bool = True
    """It needs an API key once there are keys."""

    @property
    def pattern(self) -> re.Pattern[str]:
        """What the paths of this address look like."""
        return re.compile("".join("[^/]+" if part[0] == "{" else re.escape(part)
                                  for part in re.split(r"(\{\w+\})", self.template) if part))  # fmt: skip


PAGES = tuple(
    Route(path, keyed=False)
    for path in (
        "/",
        "/card",
        "/card/{name}",
        "/openapi.json",
        "/status",
        *(f"/web/{each.name}" for each in WEB.iterdir()),
    )
)
COMMON = (Route("/v1/models"), Route("/v1/models/{model}"), Route("/v1/models/{model}/delivery"),
          Route("/v1/feedback"), Route("/status.json"))  # fmt: skip
DECODE = (Route("/v1/completions", answers=True), Route("/v1/chat/completions", answers=True))
VERSIONS = ("/v2/models/{model}", "/v2/models/{model}/versions/{version}")
FORWARD = (
    Route("/v1/models/{model}/predict", answers=True), Route("/v1/embeddings", answers=True),
    Route("/v1/audio/transcriptions", answers=True),
    Route("/v1/rerank", answers=True), Route("/v2/rerank", answers=True),
    Route("/v2"), Route("/v2/health/live", keyed=False), Route("/v2/health/ready", keyed=False),
    *(Route(path + more, answers=more == "/infer") for path in VERSIONS for more in ("", "/ready", "/infer")),
)  # fmt: skip
RETRIEVE = (Route("/v1/search", answers=True),)

ROUTES = {route.template: route for route in (*PAGES, *COMMON, *DECODE, *FORWARD, *RETRIEVE)}
UNKNOWN = Route("/unknown", keyed=False)
_PATTERNS = tuple((route.pattern, route) for route in ROUTES.values() if "{" in route.template)


@lru_cache(1024)
def find(path: str) -> Route:
    """The route of a path. What is no address below /v1/ or /v2/ still needs a key."""
    if route := ROUTES.get(path):
        return route
    for pattern, route in _PATTERNS:
        if pattern.fullmatch(path):
            return route
    return Route(UNKNOWN.template, keyed=path.startswith(("/v1/", "/v2/")))
