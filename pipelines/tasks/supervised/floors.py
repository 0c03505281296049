"""What a model is held against: floors that it must beat, and references of scikit-learn that are only reported."""

import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.tasks.supervised import metrics
from pipelines.tasks.supervised.examples import Examples

if TYPE_CHECKING:
    from sklearn.base import BaseEstimator

Answers = NDArray[Any]
PIXELS = 5000  # rows of train that a linear model of images is fitted on, at most


def classification_floor(train: Examples, test: Examples) -> Answers:
    """An answer that knows no input, once for each of `test`: how often each label is in train."""
    labels = len(test.signature.outputs[0].labels)  # type: ignore[union-attr]
    shares = np.bincount(train.targets, minlength=labels) / max(1, len(train))
    return np.tile(np.maximum(shares, 1e-9), (len(test), 1))


def regression_floor(train: Examples, test: Examples) -> Answers:
    """The mean of train as every answer."""
    return np.full(len(test), train.targets.mean())


def references(train: Examples, test: Examples, most: int, primary: str) -> dict[str, Answers]:
    """Answers of stronger models, fitted on at most `most` rows of train, the first ones of a seeded shuffle; of those
    models that have the value `primary`."""
    kind, labels = test.signature.inputs[0].kind, test.index["target"] == "int64"
    most = min(most, PIXELS) if kind in ("image", "audio") else most
    rows = np.random.Generator(np.random.Philox(key=1)).permutation(len(train))[:most]
    made = {"table": _tables, "text": _texts, "image": _images, "audio": _sounds}[kind](train, labels)
    found = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # not converged: it is a reference as it is
        for name, (model, given) in made.items():
            model.fit(given(train, rows), train.targets[rows])
            inputs = given(test, np.arange(len(test)))
            if not labels:
                found[name] = model.predict(inputs)
            elif hasattr(model, "predict_proba"):
                found[name] = model.predict_proba(inputs)
            elif primary not in metrics.OF_PROBABILITIES:
                found[name] = softmax(model.decision_function(inputs))
    return found


def softmax(margins: NDArray[Any]) -> NDArray[Any]:
    """Distances from a classifier's borders, of two labels [items], else [items, labels] → scores [items, labels] in
    the same order. They rank and decide as the margins do; probabilities they are not."""
    if margins.ndim == 1:
        margins = np.stack([-margins, margins], 1)
    powers = np.exp(margins - margins.max(1, keepdims=True))
    scores: NDArray[Any] = powers / powers.sum(1, keepdims=True)
    return scores


Reference = tuple[Any, Callable[[Examples, NDArray[np.int64]], Any]]
"""A model of scikit-learn, and what it is given of some rows."""


def _tables(train: Examples, labels: bool) -> dict[str, Reference]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.linear_model import LogisticRegression, Ridge

    columns = train.signature.inputs[0].columns  # type: ignore[union-attr]
    codes = [i for i, column in enumerate(columns) if column.kind == "category"]
    few = [i for i in codes if len(columns[i].categories) < 255]
    boosted = HistGradientBoostingClassifier if labels else HistGradientBoostingRegressor
    linear = _pipeline(codes, LogisticRegression(max_iter=200) if labels else Ridge())
    trees = boosted(categorical_features=few or None, random_state=0)
    return {"linear": (linear, _inputs), "boosted_trees": (trees, _inputs)}


def _inputs(examples: Examples, chosen: NDArray[np.int64]) -> NDArray[Any]:
    return examples.inputs[chosen]


def _pipeline(codes: list[int], last: "BaseEstimator") -> Any:
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    split = ColumnTransformer([("codes", OneHotEncoder(handle_unknown="ignore"), codes)], remainder=numbers)
    return make_pipeline(split, last)


def _texts(train: Examples, labels: bool) -> dict[str, Reference]:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.svm import LinearSVC, LinearSVR

    def words() -> Any:
        return TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)

    def texts(examples: Examples, chosen: NDArray[np.int64]) -> list[str]:
        return [examples.raw(int(number))[0].decode() for number in chosen]

    linear = make_pipeline(words(), LogisticRegression(C=10, max_iter=200) if labels else Ridge())
    vectors = make_pipeline(words(), LinearSVC(random_state=0) if labels else LinearSVR(random_state=0))
    return {"tfidf_linear": (linear, texts), "tfidf_svm": (vectors, texts)}


def _images(train: Examples, labels: bool) -> dict[str, Reference]:
    from sklearn.linear_model import LogisticRegression, Ridge
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def pixels(examples: Examples, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        images = examples.inputs[chosen]
        return images.reshape(len(images), -1).astype(np.float32)

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=30) if labels else Ridge())
    return {"linear": (model, pixels)}


def _sounds(train: Examples, labels: bool) -> dict[str, Reference]:
    import torch

    from models.common.entries import entry

    sound, _ = entry(train.signature, train.index["fitted"], torch.Generator())
    linear, _ = _images(train, labels)["linear"]

    def bands(examples: Examples, chosen: NDArray[np.int64]) -> NDArray[np.float32]:
        """Their spectrograms, as the network sees them."""
        with torch.no_grad():
            made: NDArray[np.float32] = sound(torch.from_numpy(examples.inputs[chosen])).flatten(1).numpy()
        return made

    return {"linear": (linear, bands)}
