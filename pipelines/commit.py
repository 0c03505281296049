"""The Git commit of the code, for a bundle's manifest. It changes nothing, and a project without Git is fine."""

import subprocess
from pathlib import Path

CODE = ("data", "kernels", "models", "pipelines", "serving", "pyproject.toml", "constraints.txt")


def git_commit(root: Path) -> str | None:
    """The last commit that changed code, with `+` when there are changes that are in no commit; None without git."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(root), *arguments, "--", *CODE]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=30).stdout.strip()

    try:
        commit = git("log", "-1", "--format=%H")
        return (commit + ("+" if git("status", "--porcelain") else "")) or None
    except (OSError, subprocess.SubprocessError):
        return None
