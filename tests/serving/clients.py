"""Clients of a server under test: plain HTTP, OpenAI's own, and a reader of its metrics."""

import httpx
import openai

from serving.app.run import Server


def http(server: Server) -> httpx.Client:
    """To be closed, or used in a `with`."""
    return httpx.Client(base_url=server.url, timeout=20, trust_env=False)


def official(server: Server, key: str = "none") -> openai.OpenAI:
    """It reports errors at once instead of trying again."""
    return openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, timeout=20, max_retries=0)


def metric(server: Server, name: str, **labels: str) -> float:
    """The sum of a metric's samples that have these labels."""
    text = httpx.get(f"{server.url}/metrics", timeout=20, trust_env=False).text
    lines = [line for line in text.splitlines() if line.split("{")[0] == name]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines if all(f'{k}="{v}"' in line for k, v in labels.items()))
