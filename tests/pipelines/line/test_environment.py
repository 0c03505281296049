"""Users without a name, a home, or the right to write: what a container's `--user 12345` and a read-only one have."""

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest

from base import writable
from pipelines.line.environment import enter
from tests.pipelines.line.scratch_project import ROOT, environment, make_project

STRANGER = 12345
"""A user number that no list of users has."""


def entered(project: Path, **variables: str) -> dict[str, str]:
    """What `enter` makes of an environment."""
    with mock.patch.dict(os.environ, {"PATH": "/bin", **variables}, clear=True):
        enter(project)
        return dict(os.environ)


@pytest.fixture
def unlisted(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(uid: int) -> pwd.struct_passwd:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.mark.parametrize("home", [{}, {"HOME": ""}, {"HOME": "relative"}])
def test_a_user_without_an_entry_gets_a_name_and_a_home(project: Path, unlisted: None, home: dict[str, str]) -> None:
    made = entered(project, **home)
    assert made["USER"] == f"uid{os.getuid()}"
    assert made["HOME"] == str(project / ".metroline/home")
    assert "XDG_CACHE_HOME" not in made, "that home can be written"


def test_what_the_user_has_said_stays(project: Path, unlisted: None, tmp_path: Path) -> None:
    made = entered(project, USER="me", HOME=str(tmp_path), XDG_CACHE_HOME="/mine")
    assert (made["USER"], made["HOME"], made["XDG_CACHE_HOME"]) == ("me", str(tmp_path), "/mine")


def test_a_listed_user_keeps_the_listed_home(project: Path) -> None:
    made = entered(project)
    assert made["HOME"] == pwd.getpwuid(os.getuid()).pw_dir
    assert "USER" not in made


def test_caches_of_a_home_that_cannot_be_written_lie_in_the_project(project: Path) -> None:
    made = entered(project, HOME="/dev/null")
    assert made["HOME"] == "/dev/null"
    assert made["XDG_CACHE_HOME"] == str(project / ".metroline/cache")
    assert made["MPLCONFIGDIR"] == str(project / ".metroline/cache/matplotlib")


def test_can_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "dangling").symlink_to(tmp_path / "gone")
    assert writable.can_write(tmp_path)
    assert writable.can_write(tmp_path / "new/folder")
    for path in ("file", "file/below", "dangling"):
        assert not writable.can_write(tmp_path / path)


@pytest.fixture
def shared() -> Iterator[Path]:
    """A scratch project that every user of the machine may read."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    if not shutil.which("setpriv"):
        pytest.skip("no setpriv")
    folder = Path(tempfile.mkdtemp(prefix="metroline-test-", dir="/tmp"))  # pytest's own is closed to others
    try:
        folder.chmod(0o755)
        make_project(folder / "project")
        (folder / "project/corpus.txt").write_text("some text\n")
        yield folder / "project"
    finally:
        shutil.rmtree(folder)


def as_stranger(project: Path, *arguments: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    """The command line as a user that has no entry; it may read all (this Python may be root's), and write no more."""
    become = f"--reuid {STRANGER} --regid {STRANGER} --clear-groups --inh-caps +dac_read_search"
    command = [
        "setpriv",
        *become.split(),
        "--ambient-caps",
        "+dac_read_search",
        sys.executable,
        "-m",
        "pipelines.commands.cli",
    ]
    return subprocess.run(
        [*command, *arguments], cwd=project, capture_output=True, text=True, timeout=120,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **variables},
    )  # fmt: skip


def test_a_stranger_can_use_a_project_of_their_own(shared: Path) -> None:
    for path in (shared, *shared.rglob("*")):
        os.chown(path, STRANGER, STRANGER)
    for command, home in (("status one", {}), ("init mine --data corpus.txt", {}), ("stage fetch mine", {"HOME": "/"})):
        done = as_stranger(shared, *command.split(), **home)
        assert done.returncode == 0, done.stderr
    assert (shared / "data/raw/mine").is_dir()


@pytest.mark.parametrize(
    ("command", "folder"),
    [
        (["run", "one"], "."),
        (["status", "one"], ".dvc"),
        (["init", "mine", "--data", "corpus.txt"], "."),
        (["init", "one", "--data", "corpus.txt", "--update"], "pipelines/recipes"),
        (["schedule", "one", "--cron", "0 3 * * *"], "."),
        (["stage", "fetch", "one"], "."),
    ],
)
def test_what_a_stranger_cannot_write_is_one_line(shared: Path, command: list[str], folder: str) -> None:
    before = sorted(shared.rglob("*"))
    done = as_stranger(shared, *command)
    closed = (shared / folder).resolve()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {closed} cannot be written: it is closed to user {STRANGER} (sudo chown -R {STRANGER} {closed})\n"
    )
    assert sorted(shared.rglob("*")) == before


def test_a_read_only_file_system(shared: Path) -> None:
    script = (
        'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && '
        'exec "$1" -m pipelines.commands.cli status'
    )
    command = ["unshare", "--mount", "sh", "-c", script, str(shared), sys.executable]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=60, env=environment(PYTHONPATH=str(ROOT))
        )
    except OSError:
        pytest.skip("no unshare")
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip("mounts are not allowed here")
    assert f"{shared}/.dvc cannot be written: its file system is read-only (mount it writable)" in done.stdout
    assert "Traceback" not in done.stderr
