"""A candidate release on the endpoints of this machine: wait for what their rule decides, then move the pointers.

The evidence is the endpoint's (serving/runtime/delivery/), which acts on it at once: a candidate that it rolls back
gets no further request. Here the decision becomes the store's, so that it outlives the endpoint, and is written down in
`artifacts/RECIPE/delivery.json`. Killed while it waits, the next `metroline run RECIPE` goes on.
"""

import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from base.delivery import Decision, Plan
from base.endpoints import Endpoint, authorization, endpoints
from base.errors import MetrolineError
from base.files import read_json, write_json
from pipelines.line import dvc as line
from pipelines.paths import Paths
from pipelines.release import live
from pipelines.release.smoke import smoke
from pipelines.release.store import Store

PATIENCE = 60.0
"""Seconds that an endpoint has to load a candidate."""
LOOK, SAY = 0.5, 15.0
"""Seconds between two looks at the evidence, and between two lines about it."""


class RolledBack(MetrolineError):
    """A candidate was tried and is no longer."""


def seconds(recipe: str, root: Path = Path(".")) -> float:
    """How long trying the candidate may take; 0: there is none."""
    plan = Store.of(root).pointers(recipe).plan
    return 60 * float(plan["minutes"]) + PATIENCE if plan else 0.0


def deliver(recipe: str, watch: line.Watch, root: Path = Path(".")) -> None:
    """Try the candidate of a recipe, and make it live where it is good.

    Raises RolledBack, saying why: it is not live. MetrolineError: no endpoint serves the recipe, so that nobody asks
    the candidate anything (it stays); somebody else has released, promoted or rolled back meanwhile.
    """
    store = Store.of(root)
    pointers = store.pointers(recipe)
    assert pointers.candidate
    tag, plan = pointers.candidate, Plan.of(pointers.plan or {})
    running = endpoints(store.home, recipe)
    if not running:
        hint = f"metroline serve {recipe}, then metroline run {recipe} goes on; metroline promote {recipe} needs none"
        raise MetrolineError(f"{tag} waits as a candidate: no endpoint serves {recipe}, so nobody asks it", hint=hint)
    watch(f"{tag} is tried as {plan.mode} by {plan.share:.0%} of the requests, beside {pointers.live}")
    problems = [problem for each in running if (problem := _load(each, tag, plan, store))]
    decision, why = ("rollback", problems[0]) if problems else _decided(tag, plan, running, watch, store)
    report = {
        "tag": tag, "live": pointers.live, "plan": plan.values(), "decision": decision, "why": why,
        "seconds": round(time.time() - plan.began, 1), "endpoints": [_state(each, recipe) for each in running],
    }  # fmt: skip
    if decision == "promote":
        live.promote(recipe, root, plan.id)
        write_json(Paths(recipe, root).delivery, report)
        watch(f"{tag} is promoted: {why}")
        return
    problem = f"{tag} was rolled back: {why}; {pointers.live} stays live"
    live.drop(recipe, root, plan.id)
    write_json(Paths(recipe, root).deployed, {"tag": tag, "problem": problem})  # at once, or a run would try it again
    write_json(Paths(recipe, root).delivery, report)
    follow(str(pointers.live), running, store)
    raise RolledBack(problem)


def follow(tag: str, running: list[Endpoint], store: Store) -> None:
    """Have endpoints serve what is live, and that alone. Raises MetrolineError: one does not."""
    for endpoint in running:
        endpoint.reload()
        try:
            smoke(endpoint.url, tag, PATIENCE, store.folder(tag))
        except MetrolineError as error:
            raise MetrolineError(f"{tag} is live, but {endpoint.url} does not serve it: {error}") from None


def _load(endpoint: Endpoint, tag: str, plan: Plan, store: Store) -> str | None:
    """Have an endpoint load the candidate, and ask it as a client would. Returns what is wrong; None: nothing."""
    recipe = tag.partition(":")[0]
    if _state(endpoint, recipe).get("plan") != plan.id:
        endpoint.reload()
    end = time.monotonic() + PATIENCE
    while (state := _state(endpoint, recipe)).get("plan") != plan.id:
        if time.monotonic() > end:
            return f"{endpoint.url} does not take it"
        time.sleep(0.2)
    if state["decision"] == "rollback":
        return str(state["why"])
    try:
        smoke(endpoint.url, tag, PATIENCE, store.folder(tag), candidate=True)
    except MetrolineError as error:
        return str(error)
    return None


def _decided(
    tag: str, plan: Plan, running: Sequence[Endpoint], watch: line.Watch, store: Store
) -> tuple[Decision, str]:  # fmt: skip
    """What the endpoints decide, and why. Raises MetrolineError: it is no candidate any more."""
    recipe, said, told = tag.partition(":")[0], 0.0, ""
    while True:
        now = store.pointers(recipe)
        if now.candidate != tag or (now.plan or {}).get("id") != plan.id:
            raise MetrolineError(
                f"{tag} is no longer a candidate; {now.live} is live", hint=f"metroline status {recipe}"
            )
        states = [_state(each, recipe) for each in running]
        decisions = [each.get("decision") for each in states]
        if "rollback" in decisions:
            return "rollback", str(states[decisions.index("rollback")]["why"])
        if all(each == "promote" for each in decisions):
            return "promote", str(states[0]["why"])
        evidence = "; ".join(_words(state, plan.requests) for state in states)
        if time.time() > plan.began + 60 * plan.minutes:
            return "rollback", f"not decided after {plan.minutes:g} minutes ({evidence})"
        if time.monotonic() - said > SAY and evidence != told:
            said, told = time.monotonic(), evidence
            watch(evidence)
        time.sleep(LOOK)


def _words(state: dict[str, Any], wanted: int) -> str:
    if not state:
        return "an endpoint does not answer"
    tests = (f"{each['test']} {each['says']} ({each['found']})" for each in state["tests"])
    return f"{state['outcomes']['compared']} of {wanted} compared: {', '.join(tests) or 'nothing yet'}"


def _state(endpoint: Endpoint, recipe: str) -> dict[str, Any]:
    """What an endpoint says of the candidate; empty where it has none, or does not answer."""
    with suppress(httpx.HTTPError, ValueError):
        address = f"{endpoint.url}/v1/models/{recipe}/delivery"
        answer = httpx.get(address, headers=authorization(endpoint.url), timeout=5, trust_env=False)
        return dict(answer.json()) if answer.status_code == 200 else {}
    return {}


def report(recipe: str, root: Path = Path(".")) -> str | None:
    """The last decision in Markdown, for who reads the run; None: there was none of the release that DVC names."""
    paths = Paths(recipe, root)
    if not paths.delivery.is_file() or not paths.release.is_file():
        return None
    found = read_json(paths.delivery)
    if found["tag"] != read_json(paths.release)["tag"]:
        return None
    rows = [
        f"| {each['test']} | {each['count']} | {each['found']} | {each['says']} |"
        for state in found["endpoints"]
        for each in state.get("tests", ())
    ]
    plan = found["plan"]
    return "\n".join([
        f"# {found['tag']}: {found['decision']}", "", f"{found['why']}.", "",
        f"Tried as {plan['mode']} by {plan['share']:.0%} of the requests for {found['seconds']:g} s, beside "
        f"{found['live']}.", "", "| test | of | found | says |", "| --- | --- | --- | --- |", *rows,
    ])  # fmt: skip
