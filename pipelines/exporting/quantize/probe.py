"""The values inside a float32 graph while it reads calibration text: what `ranges` measures.

It reduces nothing itself, and keeps no more than one window's values.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import onnx
import onnxruntime


def values(
    proto: onnx.ModelProto, names: Sequence[str], windows: Sequence[np.ndarray]
) -> Iterator[tuple[str, np.ndarray]]:
    """Run a graph on each window of token ids [S], without a past; yield each named value's name and numbers.

    `proto` gets the values as outputs.
    """
    known = {value.name for value in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in known)
    caches = [value for value in proto.graph.input if value.name.startswith("past_key_values.")]
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    for window in windows:
        size = len(window)
        feeds = {"input_ids": window[None].astype(np.int64), "seqlens_k": np.array([size - 1], np.int32),
                 "total_sequence_length": np.array(size, np.int32),
                 "logits_at": np.arange(size)}  # fmt: skip
        for value in caches:
            heads, width = (value.type.tensor_type.shape.dim[i].dim_value for i in (1, 3))
            feeds[value.name] = np.zeros((1, heads, 0, width), np.float32)
        yield from zip(names, session.run(list(names), feeds), strict=True)
