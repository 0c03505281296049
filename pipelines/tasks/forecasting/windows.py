"""The windows of a split: so many steps of history, and the steps behind them as target."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from base.errors import MetrolineError
from base.files import read_object, sha256
from data.signature import SeriesInput, SeriesOutput, Signature

Array = NDArray[np.float32]
AGAIN = "run `metroline stage prepare` again"


class Windows:
    """Every window of a split, in order of time; those without any value in the target or in a channel's history are
    left out. Raises MetrolineError: not prepared, damaged, or no window is left."""

    def __init__(self, prepared: Path, split: str) -> None:
        self.index: dict[str, Any] = read_object(prepared / "index.json", hint=AGAIN)
        self.signature = Signature.model_validate(self.index["signature"])
        history, forecast = self.signature.inputs[0], self.signature.outputs[0]
        assert isinstance(history, SeriesInput)
        assert isinstance(forecast, SeriesOutput)
        self.input, self.output, self.split = history, forecast, split
        self.context, self.horizon = history.context, forecast.shape[0]
        path = prepared / "series.npy"
        if not path.is_file() or sha256(path) != self.index["sha256"]:
            raise MetrolineError(f"{path} is missing, or has changed", hint=AGAIN)
        self.series: Array = np.load(path)
        border = self.index["splits"][split]
        self.origins = self._known(np.arange(border["begin"], border["end"] - self.horizon + 1))
        if not len(self.origins):
            raise MetrolineError(f"no window of the {split} split has values", hint="the series has too many gaps")

    def __len__(self) -> int:
        return len(self.origins)

    def _known(self, origins: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those whose target has a value, and each channel of whose history has one."""
        there = np.concatenate([np.zeros((1, self.series.shape[1]), np.int64), (~np.isnan(self.series)).cumsum(0)])
        history = there[origins] > there[origins - self.context]
        target = there[origins + self.horizon] > there[origins]
        return origins[history.all(1) & target.any(1)]

    def inputs(self, rows: NDArray[np.int64]) -> Array:
        """Histories float32 [rows, context, channels], NaN: no value."""
        return self.series[self.origins[rows][:, None] + np.arange(-self.context, 0)]

    def targets(self, rows: NDArray[np.int64]) -> Array:
        """What came then, float32 [rows, horizon, channels], NaN: no value."""
        return self.series[self.origins[rows][:, None] + np.arange(self.horizon)]

    def raw(self, row: int) -> bytes:
        """A history as a client would send it: numbers as short as they are the same in float32."""
        steps = self.inputs(np.array([row]))[0]
        return json.dumps([[None if np.isnan(x) else float(str(x)) for x in step] for step in steps]).encode()
