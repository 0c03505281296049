"""The peers of `serving.py`, each measured by a script of its own in a Python of its own: none is a dependency of ours.

    llama.cpp, the baseline             METROLINE_PEER_PYTHON (has llama-cpp-python), METROLINE_GGUF
    transformers, on the bundle itself  METROLINE_TRANSFORMERS_PYTHON (has torch and transformers)
    onnxruntime-genai                   METROLINE_GENAI_PYTHON (has it), METROLINE_GENAI=FOLDER:... (_serving_genai.py)

One whose variables are not set, or whose script fails, is left out, and that is said.
"""

import json
import os
import subprocess
from pathlib import Path

KINDS = ("one", "many", "prefill")


def measured(name: str, script: str, python: str, model: str, threads: int) -> dict[str, float] | None:
    """A peer's best of each kind, in tokens per second, over the forms that its script measures; None: left out.

    `python`, `model`: environment variables, or for the model a path.
    """
    interpreter = os.environ.get(python)
    given = model if os.sep in model else os.environ.get(model)
    if not interpreter or not given:
        missing = " and ".join(each for each in (python, model) if os.sep not in each)
        print(f"{name} is left out: {missing} {'are' if ' ' in missing else 'is'} not set")
        return None
    command = [interpreter, str(Path(__file__).with_name(script)), given, str(threads)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    except OSError as error:
        print(f"{name} is left out: {interpreter} cannot be run: {error.strerror}")
        return None
    found = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not found:
        print(f"{name} is left out: its script ended with {done.returncode}")
        return None
    for entry in found:
        print(f"{name} {json.dumps(entry)}", flush=True)
    return {kind: max(entry[kind] for entry in found) for kind in KINDS}


def baseline(threads: int) -> dict[str, float] | None:
    """llama.cpp's best, in the quantization that is fastest there."""
    return measured("llama.cpp", "_serving_llama.py", "METROLINE_PEER_PYTHON", "METROLINE_GGUF", threads)


def further(bundle: Path, threads: int) -> dict[str, dict[str, float]]:
    """The other peers that are installed, by name."""
    found = {
        "transformers": measured("transformers", "_serving_transformers.py", "METROLINE_TRANSFORMERS_PYTHON",
                                 str(bundle.resolve()), threads),
        "onnxruntime-genai": measured("onnxruntime-genai", "_serving_genai.py", "METROLINE_GENAI_PYTHON",
                                      "METROLINE_GENAI", threads),
    }  # fmt: skip
    return {name: speeds for name, speeds in found.items() if speeds}
