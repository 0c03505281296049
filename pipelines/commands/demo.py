"""`make demo`: the whole line of a recipe, then the endpoint, then one real request.

    metroline demo --once

It does nothing that `metroline run`, `serve` and `chat` do not do; it only puts them in a row.
"""

import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from base.processes import next_free_port
from pipelines.line.endpoint import Served, complete
from pipelines.line.run import run
from pipelines.recipe.load import load as load_recipe

OPTIONS = {"max_tokens": 80, "temperature": 0.8, "seed": 1}


def demonstrate(recipe: str, *, once: bool, port: int, root: Path, console: Console) -> None:
    """Run, serve, ask, print; then stay until Ctrl-C unless `once`."""
    began = time.monotonic()
    run(recipe, console, [])
    free = next_free_port(port)
    if free != port:
        console.print(f"port {port} is taken, so the endpoint gets {free}")
    prompts = load_recipe(recipe, root).evaluate.prompts
    prompt = prompts[0] if prompts else "The "
    with Served(recipe, root, free) as served:
        served.start()
        url = served.url
        text = "".join(complete(url, prompt, **OPTIONS))
        print(f"\n{prompt}{text}\n")
        console.print(f"endpoint    {url}/v1/completions   (OpenAI's schema)", soft_wrap=True)
        console.print(f"playground  {url}/", soft_wrap=True)
        console.print(f"metrics     {url}/metrics", soft_wrap=True)
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
