"""`.ci/run` with stand-ins for make, apt-get and systemctl: what it installs, in which order, and how it exits."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / ".ci/run"
PROGRAMS = (
    "prometheus", "promtool", "prometheus-node-exporter", "prometheus-alertmanager", "amtool",
    "chromium", "g++", "minisign", "nginx", "npm",
)  # fmt: skip


@pytest.fixture
def machine(tmp_path: Path):
    """A checkout on a machine with nothing but stand-ins, each of which notes how it was called."""
    tools, checkout = tmp_path / "bin", tmp_path / "work/checkout"
    (checkout / ".ci").mkdir(parents=True)
    tools.mkdir()
    shutil.copy(SCRIPT, checkout / ".ci/run")
    for name in ("bash", "dirname", "id", "sort", "env"):
        (tools / name).symlink_to(shutil.which(name) or name)
    notes = tmp_path / "notes"

    def stand_in(name: str, body: str = "exit 0") -> None:
        path = tools / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> {notes}\n{body}\n')
        path.chmod(0o755)

    for name in ("apt-get", "systemctl", "service"):
        stand_in(name)
    stand_in("make", f'echo "CI=$CI MIRROR=$METROLINE_MIRROR" >> {notes}')
    stand_in("sudo", '"$@"')

    def run(**environment: str) -> tuple[int, str, list[str]]:
        done = subprocess.run(
            ["bash", str(checkout / ".ci/run")],
            cwd="/",
            env={"PATH": str(tools), "HOME": str(tmp_path), **environment},
            capture_output=True,
            text=True,
        )
        return done.returncode, done.stdout + done.stderr, notes.read_text().splitlines()

    return stand_in, run, checkout


def test_installs_what_is_missing_and_leaves_no_service_running(machine):
    _, run, _ = machine
    status, output, notes = run()
    notes = [note for note in notes if not note.startswith("sudo")]
    assert status == 0, output
    assert notes[0].startswith("apt-get update")
    wanted = "chromium g++ minisign nginx npm prometheus prometheus-alertmanager prometheus-node-exporter"
    assert notes[1].endswith(wanted)
    assert notes[2:6] == [
        f"systemctl disable --now {service}"
        for service in ("prometheus", "prometheus-node-exporter", "prometheus-alertmanager", "nginx")
    ]
    assert [note for note in notes if note.startswith("make")] == ["make peers", "make lint", "make test"]
    assert notes[-1] == "CI=true MIRROR="


def test_leaves_alone_what_is_there(machine):
    stand_in, run, _ = machine
    for program in PROGRAMS:
        stand_in(program)
    _, _, notes = run()
    assert [note.split()[0] for note in notes if note.startswith(("apt-get", "systemctl", "service"))] == []


def test_a_service_that_was_there_before_is_not_stopped(machine):
    stand_in, run, _ = machine
    for program in PROGRAMS[:5]:
        stand_in(program)
    _, _, notes = run()
    assert any(
        note.startswith("apt-get install") and note.endswith(" chromium g++ minisign nginx npm") for note in notes
    )
    assert [note for note in notes if note.startswith("systemctl")] == ["systemctl disable --now nginx"]


def test_the_mirror_beside_the_checkout(machine):
    _, run, checkout = machine
    mirror = checkout.parent / "shared/mirror"
    mirror.mkdir(parents=True)
    assert run()[2][-1] == f"CI=true MIRROR={mirror}"
    assert run(METROLINE_MIRROR="/elsewhere")[2][-1] == "CI=true MIRROR=/elsewhere"


@pytest.mark.parametrize("target", ["lint", "test"])
def test_a_failure_is_a_failure_but_the_tests_run_all_the_same(machine, target):
    stand_in, run, _ = machine
    stand_in("make", f'[ "$1" != {target} ] || exit 2')
    status, output, notes = run()
    assert status == 2
    assert [note for note in notes if note.startswith("make")] == ["make peers", "make lint", "make test"]
    assert ("make lint failed" in output) == (target == "lint")


def test_a_failed_installation_ends_it(machine):
    stand_in, run, _ = machine
    stand_in("apt-get", '[ "$1" = update ] || exit 100')
    status, _, notes = run()
    assert status == 100
    assert not any(note.startswith("make") for note in notes)


def test_without_what_the_tests_compare_with_it_fails(machine):
    stand_in, run, _ = machine
    stand_in("make", '[ "$1" != peers ] || exit 2')
    status, _, notes = run()
    assert status == 2
    assert [note for note in notes if note.startswith("make")] == ["make peers"]


def test_it_can_be_run_from_a_checkout():
    assert os.access(SCRIPT, os.X_OK)
