"""`make demo`: the whole line of a recipe, then the endpoint, then one real request.

    metroline demo --once

It does nothing that `metroline run`, `serve` and `chat` do not do; it only puts them in a row.
"""

import json
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from base.client import Client
from base.processes import next_free_port
from data import golden
from data.index import golden as queries
from data.signature import FILE, Signature
from pipelines.line.endpoint import Served
from pipelines.line.run import run
from pipelines.recipe.load import load as load_recipe
from pipelines.release.store import Store

COMPLETIONS = "/v1/completions"
OPTIONS = {"max_tokens": 80, "temperature": 0.8, "seed": 1}


def demonstrate(recipe: str, *, once: bool, port: int, root: Path, console: Console) -> None:
    """Run, serve, ask, print; then stay until Ctrl-C unless `once`."""
    began = time.monotonic()
    run(recipe, console, [])
    free = next_free_port(port)
    if free != port:
        console.print(f"port {port} is taken, so the endpoint gets {free}")
    with Served(recipe, root, free) as served:
        served.start()
        url = served.url
        route, answered = ask(Client(url), recipe, root)
        print(f"\n{answered}\n")
        console.print(f"endpoint    {url}{route}", soft_wrap=True)
        console.print(f"playground  {url}/", soft_wrap=True)
        console.print(f"metrics     {url}/metrics", soft_wrap=True)
        if route == COMPLETIONS:
            console.print(f"terminal    metroline chat --url {url}", highlight=False, soft_wrap=True)
        console.print(f"[dim]ready after {time.monotonic() - began:.0f} s; log: {escape('.metroline/endpoint.log')}[/]")
        if once:
            console.print(f"it ends with this command; [bold]metroline serve {recipe}[/] starts it again in seconds")
        else:
            console.print("Ctrl-C ends it.")
            try:
                while True:
                    time.sleep(3600)
            except KeyboardInterrupt:
                console.print("\nthe endpoint stops; [bold]metroline demo[/] starts it again in seconds")


def ask(client: Client, recipe: str, root: Path) -> tuple[str, str]:
    """One request that the live release can answer: the route that answers, and what was asked and answered.

    A model of text goes on with the recipe's first prompt; one that answers in one call gets the first of its golden
    items, which the test split gave it, and an index its first golden query. Raises MetrolineError: no answer.
    """
    store = Store.of(root)
    bundle = store.folder(store.pointers(recipe).live or "")
    signature = Signature.load(bundle / FILE) if (bundle / FILE).is_file() else None
    if signature is None or signature.engine == "decode":
        prompts = getattr(load_recipe(recipe, root).evaluate, "prompts", ())
        prompt = prompts[0] if prompts else "The "
        chunks = client.stream(COMPLETIONS, {"prompt": prompt, **OPTIONS})
        return COMPLETIONS, prompt + "".join(choice["text"] for chunk in chunks for choice in chunk["choices"])
    if signature.engine == "retrieve":
        query = queries.load(bundle)[0].query
        best = (client.search(recipe, query) or ["nothing"])[0]
        return "/v1/search", f"{query[:400]}\n→ {json.dumps(best, ensure_ascii=False)[:400]}"
    body, kind = golden.request(signature, golden.load(bundle, signature)[0])
    answer = client.predict(recipe, body, kind)
    asked = body.decode() if kind == "application/json" else f"{kind}, {len(body):,} bytes"
    return f"/v1/models/{recipe}/predict", f"{asked[:400]}\n→ {json.dumps(answer, ensure_ascii=False)[:400]}"
