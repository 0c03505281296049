"""Python as a child process: it runs this process's own code, and nothing that lies in the folder it is started in.

A user's data.py, random.py or serving.py in the working folder is not ours to import. Stages are another matter: DVC
runs them as `python -m` in the project's root, because the code that it tracks there is the code that has to run.
"""

import os
import sys
from pathlib import Path

CODE = Path(__file__).resolve().parent.parent
"""Where our packages lie: a checkout or site-packages."""


def python(module: str, *arguments: str) -> list[str]:
    """The command line that runs a module, without the working folder on its path."""
    return [sys.executable, "-P", "-m", module, *arguments]


def share_code() -> None:
    """Name CODE in PYTHONPATH, for children, where only the working folder led to it: a checkout not installed."""
    if sys.path[:1] and sys.path[0] and Path(sys.path[0]).resolve() == CODE:
        others = os.environ.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = os.pathsep.join([str(CODE), *([others] if others else [])])
