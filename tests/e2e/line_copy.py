"""A copy of the project, as a clone would be, with a smaller `tiny` (the export's own tests make all its forms)."""

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    ".dvc/config", ".dvc/.gitignore", ".dvcignore", ".gitignore", "base", "constraints.txt", "data", "dvc.yaml",
    "kernels", "models", "params.yaml", "pipelines", "prefect.yaml", "pyproject.toml", "serving",
)  # fmt: skip


def copy_project(folder: Path) -> Path:
    """The files of the line, without what it has made."""

    def made(path: str, names: list[str]) -> set[str]:
        ours = {"raw", "prepared"} if Path(path) == ROOT / "data" else set()
        return {name for name in names if name == "__pycache__" or name in ours}

    for part in PARTS:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / part).is_file():
            shutil.copy(ROOT / part, folder / part)
        else:
            shutil.copytree(ROOT / part, folder / part, ignore=made)
    recipe = folder / "pipelines/recipes/tiny.yaml"
    text = recipe.read_text()
    for old, new in (
        ("steps: 60", "steps: 120"),  # long enough to be interrupted
        ("export: {}", "export: {torchscript: false, pt2: false, batch_sizes: [1, 2], lengths: [1, 7]}"),
    ):
        assert old in text
        text = text.replace(old, new)
    recipe.write_text(text)
    return folder


def environment(**more: str) -> dict[str, str]:
    """A user's environment: nothing of this project or of a server is set; the virtual environment is activated."""
    drop = ("PREFECT_", "METROLINE_", "BENTOML_", "DVC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(drop)}
    path = os.pathsep.join([str(Path(sys.executable).parent), kept["PATH"]])
    return kept | {"PATH": path, "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"} | more
