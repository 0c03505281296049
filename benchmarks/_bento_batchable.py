"""The peer of `benchmarks/forward.py`: BentoML's own adaptive batching around the same ONNX file.

MODEL=model.onnx THREADS=2 python -m bentoml serve benchmarks._bento_batchable:Peer --port 3001
"""

import os

import bentoml
import numpy as np
import onnxruntime


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 1000})
class Peer:
    """One call: a batch of decoded inputs in, the graph's first output back."""

    def __init__(self) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = int(os.environ["THREADS"])
        self.session = onnxruntime.InferenceSession(os.environ["MODEL"], options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0]

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        """Rows [B, ...] → answers [B, ...]."""
        kind = np.uint8 if self.input.type == "tensor(uint8)" else np.float32
        (answers, *_) = self.session.run(None, {self.input.name: rows.astype(kind)})
        return np.asarray(answers)
