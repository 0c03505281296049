"""Where a release came from: data, code, recipe, what was measured and proven, the gates it passed, its parents.

Everything is read from the bundle in the store, whose files are hashed again: what is said is true of these bytes.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from base import manifest
from base.errors import MetrolineError, nearest
from base.files import read_json
from base.segments import read
from pipelines.recipe import gates
from pipelines.release.signing import signer
from pipelines.release.store import Store


def tag_of(said: str, store: Store) -> str | None:
    """The tag that a name, a version or name:version means: of a name its live release. None: nothing in the store.

    Raises MetrolineError: a version that several releases begin with, a recipe without a live release.
    """
    names = sorted(path.name for path in (store.home / "models").glob("*") if path.is_dir())
    if said in names:
        if (live := store.pointers(said).live) is None:
            raise MetrolineError(f"no release of {said} is live", hint=f"metroline run {said}")
        return live
    name, _, version = said.rpartition(":")
    found = [
        tag
        for each in ([name] if name else names)
        for tag in store.releases(each)
        if version and tag.partition(":")[2].startswith(version)
    ]
    if len(found) > 1:
        raise MetrolineError(f"{said} may be {', '.join(found)}", hint="write more of it")
    return found[0] if found else None


def unknown(said: str, store: Store, where: Path | None) -> MetrolineError:
    """The error for what is neither a release nor a request that was kept; `where` requests were looked for."""
    tags = [tag for path in (store.home / "models").glob("*") for tag in store.releases(path.name)]
    hint = nearest(said, tags) if tags else "nothing is released"
    if where is None:
        hint += "; of a request say --from FOLDER, the endpoint's METROLINE_FEEDBACK"
    return MetrolineError(f"{said} is no release in {store.home}, and no request that was kept", hint=hint)


def lineage(tag: str, store: Store) -> dict[str, Any]:
    """All that is known of a release. Raises MetrolineError: it is not in the store, or no longer whole."""
    folder, name = store.folder(tag), tag.partition(":")[0]
    bundle = manifest.verify(folder)
    pointers = store.pointers(name)
    recipe = bundle.get("recipe") or {}
    every = tuple(dict.fromkeys((gates.floor(bundle["metrics"]), *recipe.get("gates", ()))))
    results = gates.check(every, gates.measured(bundle["metrics"], bundle["parity"]))
    primary = bundle["metrics"]["primary"]
    flat = gates.flatten(bundle["metrics"])
    states = {pointers.candidate: "candidate", pointers.previous: "previous", pointers.live: "live"}
    return {
        "release": tag,
        "state": states.get(tag, "kept"),
        "files": dict(sorted(bundle["files"].items())),
        "signed": signer(folder),
        "git_commit": bundle.get("git_commit"),
        "licence": bundle.get("licence"),
        "data": {"hash": bundle["data_hash"], "source": recipe.get("source")},
        "recipe": recipe,
        "primary": {**primary, "value": flat.get(primary["metric"])},
        "gates": [
            {"gate": str(result.gate), "value": result.value, "bound": result.bound, "passed": result.passed}
            for result in results
        ],
        "parity": bundle["parity"],
        "parents": list(_parents(recipe, folder, store)),
    }


def _parents(recipe: dict[str, Any], folder: Path, store: Store) -> Iterator[dict[str, Any]]:
    """What its weights began with: another recipe (with its release, where one is live), files of others, or a released
    bundle that travels in this one."""
    source = (recipe.get("pretrained") or {}).get("source")
    if source is None:
        return
    if source["kind"] == "release":
        for path in sorted(folder.glob("*/manifest.json")):
            if released := read_json(path).get("released"):
                yield {"role": path.parent.name, "release": f"{released['name']}:{released['version']}"}
        return
    if source["kind"] != "recipe":
        yield {"role": "first weights", **source}
        return
    yield {"role": "first weights", "recipe": source["name"], "live": store.pointers(source["name"]).live}


def text(found: dict[str, Any]) -> str:
    """The same for people."""
    primary, data = found["primary"], found["data"]
    source = data["source"] or {}
    where = source.get("path") or source.get("url") or source.get("package") or source.get("repository") or ""
    lines = [
        ("release", f"{found['release']} ({found['state']})"),
        ("files", f"{len(found['files'])}, hashed again now"),
        ("signed", f"by {signed['key']}: {signed['comment']}" if (signed := found["signed"]) else "by nobody"),
        ("commit", found["git_commit"] or "unknown: the code was in no Git repository"),
        ("data", f"{data['hash']}"),
        ("", " ".join(str(each) for each in (source.get("kind"), where) if each)),
        ("task", f"{_kind(found, 'task')}, model {_kind(found, 'model')}, seed {_seed(found)}"),
        ("measured", f"{primary['metric']} {_number(primary['value'])} ({primary['better']} is better)"),
        *(
            ("gate", f"{'passed' if each['passed'] else 'FAILED'}  {each['gate']}  ({_number(each['value'])})")
            for each in found["gates"]
        ),
        *(("parity", f"{name} {_number(value)}") for name, value in gates.flatten(found["parity"]).items()),
        *(("parent", ", ".join(f"{k} {v}" for k, v in parent.items() if v)) for parent in found["parents"]),
    ]
    return "\n".join(f"{name:<9} {value}".rstrip() for name, value in lines if name or value)


def _kind(found: dict[str, Any], section: str) -> str:
    return str((found["recipe"].get(section) or {}).get("kind", "unknown"))


def _seed(found: dict[str, Any]) -> Any:
    return (found["recipe"].get("train") or {}).get("seed", "unknown")


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.6g}"


def request(name: str, folder: Path) -> dict[str, Any] | None:
    """What was kept of a request: its model, version, time, and what was said of it; None: nothing."""
    records = [record for data in read(folder) if (record := json.loads(data)).get("id") == name]
    whole = [record for record in records if record.get("model") and record.get("version")]  # the rest is redacted
    if not whole:
        return None
    first = min(whole, key=lambda record: (record.get("kind") != "sample", record.get("time") or 0.0))
    said = [record for record in records if record.get("kind") == "feedback"]
    return {"id": name, "model": first["model"], "version": first["version"], "time": first.get("time"),
            "caller": first.get("caller"), "sampled": first.get("kind") == "sample", "feedback": said}  # fmt: skip
