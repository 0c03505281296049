"""What is chosen on the validation split after training: the temperature of probabilities, the threshold of two labels.

Temperature: one number that the logits are divided by so that the loss on `valid` is lowest (Guo et al. 2017,
arXiv:1706.04599); it changes no order of labels. Threshold: where F1 of the second label is highest.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from pipelines.tasks.supervised.examples import Examples
from pipelines.tasks.supervised.network import Answers, Network
from pipelines.tasks.supervised.predict import predict

FEWEST = 20  # examples in `valid` below which nothing is chosen on it


def fit(network: Network, valid: Examples, *, choose: bool) -> dict[str, Any]:
    """Put the temperature into the network's `spread`; {"temperature": ..., "threshold": ... or None}. `choose`:
    whether there is to be a threshold."""
    if len(valid) < FEWEST:
        return {"temperature": 1.0, "threshold": None}
    logits = predict(network, valid.inputs)
    separable = bool((logits.argmax(1) == valid.targets).all())  # then the loss falls with the temperature, to no end
    temperature = 1.0 if separable else best_temperature(logits, valid.targets)
    network.spread.fill_(1 / temperature)
    found: float | None = None
    if choose and logits.shape[1] == 2:
        scores = predict(Answers(network, labels=True).eval(), valid.inputs)[:, 1]
        found = best_threshold(scores, valid.targets)
    return {"temperature": round(temperature, 6), "threshold": found}


def best_temperature(logits: NDArray[Any], targets: NDArray[np.int64]) -> float:
    """Between 1/8 and 8, by golden section on its logarithm: the loss has one minimum there."""
    raw, wanted = torch.from_numpy(logits).double(), torch.from_numpy(targets)

    def loss(log: float) -> float:
        return float(functional.cross_entropy(raw / np.exp(log), wanted))

    low, high, ratio = -np.log(8.0), np.log(8.0), (np.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        low, high = (low, right) if loss(left) < loss(right) else (left, high)
    return float(np.exp((low + high) / 2))


def best_threshold(scores: NDArray[Any], targets: NDArray[np.int64]) -> float | None:
    """The score of the second label from which on it is the answer, F1 being highest; None: `valid` has only one."""
    from sklearn.metrics import precision_recall_curve

    if len(np.unique(targets)) < 2:
        return None
    precision, recall, borders = precision_recall_curve(targets, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    at = int(f1[:-1].argmax())
    below = scores[scores < borders[at]]
    return float((borders[at] + below.max()) / 2) if len(below) else float(borders[at])
