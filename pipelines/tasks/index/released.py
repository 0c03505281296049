"""The exported graph of a released bundle that travels in an index, run on one item at a time: what it says of a text
depends on no other text.

Not in batches: serving settles which batches give equal bits, and on a CPU a batch of long texts is hardly faster.
"""

import shutil
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from base import manifest
from base.errors import MetrolineError
from base.files import read_object, sha256, write_json
from base.forms import GRAPHS
from data import golden
from data.signature import FILE, Signature
from data.text.tokenizer import Tokenizer

if TYPE_CHECKING:
    import onnxruntime


class Released:
    """A bundle of a model of texts. Raises MetrolineError: damaged."""

    def __init__(self, bundle: Path) -> None:
        self.bundle, self.signature = bundle, Signature.load(bundle / FILE)
        precision = read_object(bundle / "serving.json").get("precision", "fp32")
        there = [name for name in ("int8", "fp32") if (bundle / GRAPHS[name]).is_file()]
        self.precision = precision if precision in there else there[0]
        self.graph = bundle / GRAPHS[self.precision]

    @cached_property
    def sha256(self) -> str:
        """Of the graph."""
        return sha256(self.graph)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The bundle's."""
        return Tokenizer.load(self.bundle / "tokenizer.json")

    @cached_property
    def _session(self) -> "onnxruntime.InferenceSession":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.inter_op_num_threads, options.log_severity_level = 1, 3
        try:
            return onnxruntime.InferenceSession(str(self.graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # the library raises several of its own
            said = " ".join(str(error).split())[:200]
            raise MetrolineError(f"{self.graph} does not load: {said}") from None

    def run(self, *tokens: NDArray[np.int64]) -> NDArray[np.float32]:
        """The first output of one item, by the token ids of each input."""
        given = {declared.name: each[None] for declared, each in zip(self.signature.inputs, tokens, strict=True)}
        names = [each.name for each in self._session.get_inputs()]
        feeds = {name: given[name] if name in given else np.array([tokens[0].size]) for name in names}
        found: NDArray[np.float32] = np.asarray(self._session.run(None, feeds)[0][0], np.float32)
        return found

    def copy(self, folder: Path, name: str) -> None:
        """Write it as a bundle with this one graph, named `name`."""
        folder.mkdir(parents=True)
        for file in (FILE, "tokenizer.json", "tokenizer_config.json", self.graph.name):
            if (self.bundle / file).is_file():
                shutil.copyfile(self.bundle / file, folder / file)
        shutil.copytree(self.bundle / golden.FOLDER, folder / golden.FOLDER)
        write_json(folder / "serving.json", {"name": name, "max_tokens": 1, "precision": self.precision})
        whole = read_object(self.bundle / manifest.NAME)
        about = {"name": name, "data_hash": whole.get("data_hash"), "licence": whole.get("licence")}
        manifest.write(folder, {**about, "released": {"name": whole["name"], "version": whole["version"]}})
