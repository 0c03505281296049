"""The commit that a manifest names: of the code, not of notes, and whether something is uncommitted."""

import subprocess
from pathlib import Path

from base.commit import git_commit

FILES = [Path("models/a.py"), Path("models/b.py")]


def test_the_commit_is_the_last_that_changed_code(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    assert git_commit(tmp_path, FILES) is None
    git("init", "-q")
    assert git_commit(tmp_path, FILES) is None  # no commit yet
    (tmp_path / "models").mkdir()
    (tmp_path / "models/a.py").write_text("1")
    git("add", ".")
    git("commit", "-qm", "code")
    code = git("rev-parse", "HEAD")
    (tmp_path / "notes.txt").write_text("1")
    git("add", ".")
    git("commit", "-qm", "notes")
    assert git_commit(tmp_path, FILES) == code != git("rev-parse", "HEAD")
    (tmp_path / "models/a.py").write_text("2")
    assert git_commit(tmp_path, FILES) == code + "+"
    elsewhere = tmp_path / "unpacked"
    elsewhere.mkdir()
    assert git_commit(elsewhere, FILES) is None  # inside a repository that knows nothing of it
