"""The Git commit of the code, for a bundle's manifest. It changes nothing, and a project without Git is fine."""

import subprocess
from collections.abc import Iterable
from pathlib import Path


def git_commit(root: Path, files: Iterable[Path]) -> str | None:
    """The last commit that changed one of these files, with `+` when there are changes that are in no commit.

    None without git, or where Git knows nothing of the code.
    """

    def git(*arguments: str) -> str:
        command = ["git", "--no-optional-locks", "-C", str(root), *arguments, "--", *map(str, files)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    try:
        commit = git("log", "-1", "--format=%H")
        return commit + ("+" if git("status", "--porcelain") else "") if commit else None
    except (OSError, subprocess.SubprocessError):
        return None
