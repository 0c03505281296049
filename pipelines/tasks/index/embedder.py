"""The exported graph of a released embedder, run on one text at a time: a vector depends on no other text.

Not in batches: serving settles which batches give equal bits, and on a CPU a batch of long texts is hardly faster.
"""

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from base import manifest
from base.errors import BadItem, MetrolineError
from base.files import read_object, sha256, write_json
from base.forms import GRAPHS
from data import golden
from data.codecs import decode
from data.signature import FILE, Signature, TextInput, VectorOutput
from data.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import onnxruntime

FOLDER = "embedder"
"""Where it lies in the checkpoint and bundle of an index: a bundle with one graph."""


class Embedder:
    """The embedder in a bundle. Raises MetrolineError: no embedder, or damaged."""

    def __init__(self, bundle: Path) -> None:
        signature = Signature.load(bundle / FILE)
        text, vector = signature.inputs[0], signature.outputs[0]
        if not isinstance(text, TextInput) or not isinstance(vector, VectorOutput):
            raise MetrolineError(f"{bundle}: its {signature.task} makes no vector of a text", hint="as minilm does")
        self.text: TextInput = text
        self.bundle, self.tokenizer = bundle, Tokenizer.load(bundle / "tokenizer.json")
        precision = read_object(bundle / "serving.json").get("precision", "fp32")
        there = [name for name in ("int8", "fp32") if (bundle / GRAPHS[name]).is_file()]
        self.precision = precision if precision in there else there[0]
        self.graph = bundle / GRAPHS[self.precision]
        self.sha256 = sha256(self.graph)
        self._session: onnxruntime.InferenceSession | None = None

    def count(self, text: str) -> int:
        """Tokens of a text."""
        return len(self.tokenizer.encode(text))

    def fits(self, text: str) -> bool:
        """Whether the embedder takes it as a document."""
        try:
            decode(self.text, self.text.document_prefix + text, self.tokenizer)
        except BadItem:
            return False
        return True

    def document(self, text: str) -> NDArray[np.float32]:
        """The vector [W] of a text that is searched. Raises BadItem: too long, empty."""
        return self._run(self.text.document_prefix + text)

    def query(self, text: str) -> NDArray[np.float32]:
        """The vector [W] of a text that asks. Raises BadItem: too long, empty."""
        return self._run(self.text.query_prefix + text)

    def _run(self, text: str) -> NDArray[np.float32]:
        tokens = decode(self.text, text, self.tokenizer)[None]
        if self._session is None:
            self._session = _session(self.graph)
        names = [each.name for each in self._session.get_inputs()]
        feeds: dict[str, Any] = {name: tokens if name == self.text.name else np.array([tokens.size]) for name in names}
        found: NDArray[np.float32] = np.asarray(self._session.run(None, feeds)[0][0], np.float32)
        return found

    def copy(self, folder: Path, name: str) -> None:
        """Write the embedder as a bundle with this one graph, named `name`."""
        folder.mkdir(parents=True)
        for file in (FILE, "tokenizer.json", "tokenizer_config.json", self.graph.name):
            if (self.bundle / file).is_file():
                shutil.copyfile(self.bundle / file, folder / file)
        shutil.copytree(self.bundle / golden.FOLDER, folder / golden.FOLDER)
        write_json(folder / "serving.json", {"name": name, "max_tokens": 1, "precision": self.precision})
        whole = read_object(self.bundle / manifest.NAME)
        about = {"name": name, "data_hash": whole.get("data_hash"), "licence": whole.get("licence")}
        manifest.write(folder, {**about, "released": {"name": whole["name"], "version": whole["version"]}})


def _session(path: Path) -> "onnxruntime.InferenceSession":
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.inter_op_num_threads, options.log_severity_level = 1, 3
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the library raises several of its own
        raise MetrolineError(f"{path} does not load: {' '.join(str(error).split())[:200]}") from None
