"""Each check of `metroline doctor`, on a machine that lacks what it looks for."""

import os
import re
import shutil
import socket
import sys
from collections import namedtuple
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from rich.console import Console

from pipelines.commands import doctor
from pipelines.commands.doctor import Finding
from tests.pipelines.line.scratch_project import invoke

ROOT = Path(__file__).resolve().parents[3]


def test_this_machine_is_fine(project: Path) -> None:
    shutil.copy(ROOT / "constraints.txt", project)
    done = invoke("doctor")
    assert done.exit_code == 0, done.output
    assert "Ready for: metroline demo" in done.output
    for name in ("python", "packages", "folder", "dvc", "disk", "memory", "gpu", "compiler", "kernels", "git",
                 "prometheus", "promtool", "chromium", "mirror", "port 3000", "port 4200"):  # fmt: skip
        assert f" {name} " in done.output


def test_every_problem_has_a_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    found = [
        Finding("missing", "a", "gone", "get it"),
        Finding("optional", "b", "gone", "get [it]"),
        Finding("ok", "c", "x", "no"),
    ]
    assert doctor.examine(ROOT, Console(), lambda _: iter(found)) == 1
    shown = capsys.readouterr().out
    assert "get it" in shown
    assert "get [it]" in shown
    assert "→ no" not in shown
    assert doctor.examine(ROOT, Console(), lambda _: iter(found[1:])) == 0


@pytest.mark.parametrize(
    ("version", "level"), [((3, 10), "missing"), ((3, 11), "ok"), ((3, 13), "ok"), ((3, 14), "missing")]
)
def test_python(monkeypatch, version, level):
    monkeypatch.setattr(sys, "version_info", (*version, 0, "final", 0))
    assert doctor.python().level == level


def test_constraints_fit_both_builds_of_pytorch():
    """The CUDA build of the pinned torch requires this triton to the letter; with another pin nothing installs."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    [triton] = [Requirement(line) for line in lines if re.match(r"triton\W", line)]
    assert triton.specifier.contains("3.7.1")
    assert "torch==2.13.0" in lines


def test_pins(tmp_path):
    file = tmp_path / "constraints.txt"
    file.write_text('# head\n--extra-index-url x\na==1.0\nb==2 # why\nc==3; python_version < "3"\nd>=4\n\n')
    assert doctor.pins(file) == {"a": "1.0", "b": "2"}


def test_packages(tmp_path, monkeypatch):
    versions = {"typer": "0.29.2", "rich": "15.0.0"}
    monkeypatch.setattr(doctor.metadata, "requires", lambda _: ["typer>=0.20", "rich>=14", 'pytest>=9; extra == "dev"'])

    def version(name):
        if name not in versions:
            raise doctor.metadata.PackageNotFoundError(name)
        return versions[name]

    monkeypatch.setattr(doctor.metadata, "version", version)
    pins = tmp_path / "constraints.txt"
    pins.write_text("typer==0.29.2\nrich==15.0\n")
    assert doctor.packages(tmp_path).level == "ok"
    versions["typer"] = "0.29.2+cpu"  # what makes it another build is not for the pin to say
    assert doctor.packages(tmp_path).level == "ok"
    versions["typer"] = "0.29.2"
    pins.write_text("typer==0.29.1\n")
    found = doctor.packages(tmp_path)
    assert (found.level, found.detail) == ("optional", "typer 0.29.2 (tested with 0.29.1)")
    versions["rich"] = "13.0"
    assert doctor.packages(tmp_path).detail == "rich 13.0 (needs >=14)"
    del versions["rich"]
    assert (doctor.packages(tmp_path).level, doctor.packages(tmp_path).detail) == ("missing", "no rich")
    pins.unlink()
    assert doctor.packages(tmp_path).level == "missing"


def test_programs(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    found = doctor.program("git", ("git",), "history", "apt install git")
    assert (found.level, found.detail) == ("optional", "none; needed for history")
    tool = tmp_path / "git"
    tool.write_text("#!/bin/sh\n")
    tool.chmod(0o755)
    assert doctor.program("git", ("hg", "git"), "history", "").detail == str(tool)


def test_accelerator(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "none; " in doctor.accelerator().detail
    for script, seen in (("echo 'NVIDIA H200, 143771 MiB'", "NVIDIA H200"), ("exit 9", "none; ")):
        tool = tmp_path / "nvidia-smi"
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert seen in doctor.accelerator().detail


def test_folder_that_cannot_be_written(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    assert doctor.writable(tmp_path).level == "ok"
    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", refuse)
    found = doctor.writable(tmp_path)
    assert found.level == "missing"
    assert "Permission denied" in found.detail


@pytest.mark.parametrize(("free", "level"), [(0.5e9, "missing"), (2e9, "optional"), (50e9, "ok")])
def test_disk(tmp_path, monkeypatch, free, level):
    usage = namedtuple("usage", "total used free")(0, 0, free)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert doctor.disk(tmp_path).level == level


def test_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        doctor.PORTS[number] = "choose another"
        try:
            assert doctor.port(number).level == "optional"
        finally:
            del doctor.PORTS[number]


def test_kernels(tmp_path, monkeypatch):
    """Built or not, by another Python, before the sources were changed; with and without a compiler."""
    folder, tools = tmp_path / "serving/native", tmp_path / "bin"
    folder.mkdir(parents=True)
    tools.mkdir()
    monkeypatch.setenv("PATH", str(tools))
    source, library = folder / "attention.c", folder / f"kernels{doctor.EXTENSION_SUFFIXES[0]}"
    source.touch()
    (folder / "kernels.cpython-27-other.so").touch()
    found = doctor.kernels(tmp_path)
    assert (found.level, "not built" in found.detail) == ("optional", True)
    assert found.remedy == "apt install gcc, then: rm .venv/.installed && make setup"
    (tools / "cc").touch(0o755)
    assert doctor.kernels(tmp_path).remedy == "rm .venv/.installed && make setup"
    library.touch()
    os.utime(source, (1, 1))
    assert doctor.kernels(tmp_path) == Finding("ok", "kernels", f"serving/native/{library.name}")
    os.utime(library, (0, 0))
    found = doctor.kernels(tmp_path)
    assert (found.level, found.detail) == ("optional", f"{library.name} is older than attention.c")
    (folder / "rows.h").touch()
    assert doctor.kernels(tmp_path).detail == f"{library.name} is older than attention.c and 1 more of its sources"


def test_mirror(tmp_path, monkeypatch):
    for value, level in ((str(tmp_path), "ok"), (str(tmp_path / "none"), "optional"), ("", "ok")):
        monkeypatch.setenv("METROLINE_MIRROR", value)
        assert doctor.mirror().level == level


def test_dvc(tmp_path):
    assert doctor.repository(tmp_path).level == "missing"
    os.mkdir(tmp_path / ".dvc")
    (tmp_path / ".dvc/config").touch()
    assert doctor.repository(tmp_path).level == "ok"
