"""The walk through the house names files that are there, and leads through every folder that does something."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WRITTEN = (ROOT / "docs/lifecycle.md").read_text(encoding="utf-8")
NAMED = re.findall(r"`((?:base|data|kernels|models|pipelines|serving)/[\w./-]+)`", WRITTEN)


def test_what_it_names_is_there():
    made_by_a_run = ("data/raw/", "data/prepared/")
    missing = [path for path in NAMED if not path.startswith(made_by_a_run) and not (ROOT / path).exists()]
    assert not missing


def test_it_passes_through_every_room():
    rooms = {str(path.parent.relative_to(ROOT)) for top in ("pipelines", "serving") for path in ROOT.glob(f"{top}/*/*")}
    rooms = {room for room in rooms if not room.endswith("__pycache__")}
    unseen = {room for room in rooms if not any(path.startswith(f"{room}/") for path in NAMED)}
    assert unseen <= {"serving/web"}  # the playground is a client
