"""Real bundles of the `forward` engine in a moment: a table, an image and a text model, with golden items.

The graphs normalise by constants of their own, as exported ones do, and end in probabilities or plain numbers.
"""

import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from base import manifest
from data import drift, golden
from data.boxes import finished
from data.codecs import decode
from data.signature import (
    Column,
    ImageInput,
    LabelsOutput,
    NumbersOutput,
    Signature,
    TableInput,
    TextInput,
    VectorOutput,
)
from tests.serving import tiny_bundle

COLUMNS = (
    Column(name="age", kind="number", missing=True, example=40.0),
    Column(name="income", kind="number", example=1000.0),
    Column(name="city", kind="category", categories=("Bonn", "Ulm"), example="Ulm"),
)
FLOWER = Signature(
    task="tabular-classification",
    inputs=(TableInput(name="row", shape=(3,), columns=COLUMNS),),
    outputs=(LabelsOutput(name="label", shape=(3,), labels=("low", "middle", "high")),),
)
PRICE = FLOWER.model_copy(
    update={"task": "tabular-regression", "outputs": (NumbersOutput(name="price", shape=(1,), names=("price",)),)}
)
SHAPES = Signature(
    task="image-classification",
    inputs=(ImageInput(name="image", shape=(8, 8, 3), height=8, width=8, max_pixels=1_000_000),),
    outputs=(LabelsOutput(name="label", shape=(4,), labels=("round", "square", "flat", "thin")),),
)
MOOD = Signature(
    task="text-classification",
    inputs=(TextInput(name="text", shape=(-1,), length=100),),
    outputs=(LabelsOutput(name="label", labels=("sad", "glad")),),
)
RANK = Signature(
    task="text-ranking",
    inputs=(
        TextInput(name="query", shape=(-1,), length=30),
        TextInput(name="document", shape=(-1,), length=60),
    ),
    outputs=(LabelsOutput(name="relevance", shape=(2,), labels=("other", "relevant")),),
)
BLANK = Signature(
    task="fill-mask",
    inputs=(TextInput(name="text", shape=(-1,), length=100, mask="[MASK]"),),
    outputs=(LabelsOutput(name="label", labels=("north", "south"), top=1),),
)
VECTOR = MOOD.model_copy(update={"task": "feature-extraction", "outputs": (VectorOutput(name="vector", shape=(4,)),)})


class Builder:
    """Nodes and weights of a graph."""

    def __init__(self, seed: int = 0) -> None:
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.dice = np.random.default_rng(seed)

    def weight(self, array: np.ndarray, name: str = "") -> str:
        name = name or f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def random(self, *shape: int, scale: float = 1.0) -> str:
        return self.weight((scale * self.dice.normal(size=shape)).astype(np.float32))

    def node(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        out = out or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [out], **attributes))
        return out

    def save(self, path: Path, inputs: dict[str, tuple[int, list]], outputs: dict[str, list]) -> None:
        made = helper.make_graph(
            self.nodes, "graph",
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
            self.weights,
        )  # fmt: skip
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])
        model.ir_version = 10
        onnx.save(model, path)


def table_graph(path: Path, output: str, width: int, delay: int = 0) -> None:
    """Rows with NaN → standardised → two layers → probabilities, or numbers."""
    b = Builder()
    rows = b.node("Where", b.node("IsNaN", "row"), b.weight(np.array([40, 1000, 0], np.float32), "mean"), "row")
    x = b.node("Sub", rows, "mean")
    x = b.node("Div", x, b.weight(np.array([10, 300, 1], np.float32), "std"))
    x = b.node("Relu", b.node("Gemm", x, b.random(3, 64), b.random(64)))
    for _ in range(delay):
        wide = b.node("Relu", b.node("MatMul", x, b.random(64, 4096, scale=0.1)))
        x = b.node("Add", x, b.node("MatMul", wide, b.random(4096, 64, scale=0.001)))
    x = b.node("Gemm", x, b.random(64, width, scale=0.2), b.random(width))
    if output == "label":
        b.node("Softmax", x, out=output, axis=-1)
    else:
        x = b.node("Mul", x, b.weight(np.array([50_000], np.float32)))
        b.node("Add", x, b.weight(np.array([200_000], np.float32)), out=output)
    b.save(path, {"row": (TensorProto.FLOAT, ["B", 3])}, {output: ["B", width]})


def image_graphs(folder: Path, mode: str = "linear") -> None:
    """Any size → 8 × 8 by pre.onnx; then normalised, one convolution, one linear layer."""
    b = Builder()
    x = b.node("Cast", "raw", to=TensorProto.FLOAT)
    x = b.node("Transpose", x, perm=[0, 3, 1, 2])
    shape = b.node("Shape", x)
    kept = b.node("Slice", shape, b.weight(np.array([0])), b.weight(np.array([2])))
    wanted = b.node("Concat", kept, b.weight(np.array([8, 8])), axis=0)
    x = b.node("Resize", x, "", "", wanted, mode=mode, antialias=int(mode != "nearest"))
    x = b.node("Transpose", b.node("Round", x), perm=[0, 2, 3, 1])
    b.node("Cast", b.node("Clip", x, b.weight(np.float32(0)), b.weight(np.float32(255))), out="image",
           to=TensorProto.UINT8)  # fmt: skip
    made = helper.make_graph(
        b.nodes, "pre", [helper.make_tensor_value_info("raw", TensorProto.UINT8, [1, "H", "W", 3])],
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 8, 8, 3])], b.weights,
    )  # fmt: skip
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, folder / "pre.onnx")
    b = Builder(1)
    x = b.node("Cast", "image", to=TensorProto.FLOAT)
    x = b.node("Transpose", x, perm=[0, 3, 1, 2])
    x = b.node("Sub", x, b.weight(np.array([120, 110, 100], np.float32).reshape(1, 3, 1, 1), "mean"))
    x = b.node("Div", x, b.weight(np.array([60, 50, 70], np.float32).reshape(1, 3, 1, 1), "std"))
    x = b.node("Relu", b.node("Conv", x, b.random(8, 3, 3, 3, scale=0.3), pads=[1, 1, 1, 1]))
    x = b.node("MatMul", b.node("Flatten", x), b.random(512, 4, scale=0.1))
    b.node("Softmax", x, out="label", axis=-1)
    b.save(folder / "model.onnx", {"image": (TensorProto.UINT8, ["B", 8, 8, 3])}, {"label": ["B", 4]})


def text_graph(path: Path, output: str, vocabulary: int) -> None:
    """Token ids, padded by 0, and their lengths → mean of embeddings → probabilities, or the mean itself."""
    b = Builder(2)
    x = b.node("Gather", b.random(vocabulary, 4), "text")
    mask = b.node("Cast", b.node("Greater", "text", b.weight(np.array(0))), to=TensorProto.FLOAT)
    x = b.node("ReduceSum", b.node("Mul", x, b.node("Unsqueeze", mask, b.weight(np.array([2])))),
               b.weight(np.array([1])), keepdims=0)  # fmt: skip
    length = b.node("Unsqueeze", b.node("Cast", "lengths", to=TensorProto.FLOAT), b.weight(np.array([1])))
    x = b.node("Div", x, length, out="" if output == "label" else output)
    if output == "label":
        b.node("Softmax", b.node("MatMul", x, b.random(4, 2, scale=3)), out=output, axis=-1)
    inputs = {"text": (TensorProto.INT64, ["B", "S"]), "lengths": (TensorProto.INT64, ["B"])}
    b.save(path, inputs, {output: ["B", 2 if output == "label" else 4]})


def pair_graph(path: Path, vocabulary: int) -> None:
    """Token ids of a query and a document, padded by 0 → sums of embeddings of each → how well they go together."""
    b = Builder(3)
    table = b.random(vocabulary, 8, scale=0.3)
    sides = []
    for name in ("query", "document"):
        mask = b.node("Cast", b.node("Greater", name, b.weight(np.array(0))), to=TensorProto.FLOAT)
        x = b.node("Mul", b.node("Gather", table, name), b.node("Unsqueeze", mask, b.weight(np.array([2]))))
        sides.append(b.node("ReduceSum", x, b.weight(np.array([1])), keepdims=0))
    score = b.node("ReduceSum", b.node("Mul", *sides), b.weight(np.array([1])), keepdims=1)
    score = b.node("Mul", score, b.weight(np.array([0.05], np.float32)))
    b.node("Sigmoid", b.node("Concat", b.node("Neg", score), score, axis=1), out="relevance")
    inputs = {name: (TensorProto.INT64, ["B", f"{name}_tokens"]) for name in ("query", "document")}
    b.save(path, inputs, {"relevance": ["B", 2]})


def row(seed: int) -> bytes:
    dice = np.random.default_rng(seed)
    age = None if seed % 4 == 3 else round(float(dice.normal(40, 10)), 2)
    return json.dumps({"age": age, "income": round(float(dice.normal(1000, 300)), 2),
                       "city": ("Bonn", "Ulm", "Aachen")[seed % 3]}).encode()  # fmt: skip


def png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG")
    return out.getvalue()


def picture(seed: int, kind: str = "PNG", size: tuple[int, int] = (37, 23)) -> bytes:
    dice = np.random.default_rng(seed)
    small = Image.fromarray(dice.integers(0, 256, (5, 7, 3), dtype=np.uint8)).resize(size)
    out = io.BytesIO()
    small.save(out, kind)
    return out.getvalue()


TEXTS = ("the people of the united states", "ça va? naïve 😀", "a", "and the government of the union " * 2)


def text(seed: int) -> bytes:
    return TEXTS[seed % len(TEXTS)].encode()


def table(folder: Path, name: str = "flower", signature: Signature = FLOWER, **options: Any) -> Path:
    """A bundle that classifies rows, or with PRICE gives a number."""
    return write(folder, name, signature, row, lambda: table_graph(
        folder / "model.onnx", signature.outputs[0].name, signature.outputs[0].shape[0], **options))  # fmt: skip


def image(folder: Path, name: str = "shapes") -> Path:
    """A bundle that classifies images."""
    kinds = ("PNG", "JPEG")
    return write(folder, name, SHAPES, lambda seed: picture(seed, kinds[seed % 2], (20 + 9 * seed, 31)),
                  lambda: image_graphs(folder))  # fmt: skip


def texts(folder: Path, name: str = "mood", signature: Signature = MOOD) -> Path:
    """A bundle that classifies texts, with VECTOR embeds them, or with BLANK fills a blank in them."""
    (declared,) = signature.inputs
    assert isinstance(declared, TextInput)

    def make() -> None:
        tokenizer = tiny_bundle.byte_tokenizer()
        if declared.mask:
            tokenizer.add_special_tokens([declared.mask])
        tokenizer.save(str(folder / "tokenizer.json"))
        text_graph(folder / "model.onnx", signature.outputs[0].name, tokenizer.get_vocab_size())

    return write(folder, name, signature, lambda seed: text(seed) + f" {declared.mask}".encode().rstrip(), make)


def pairs(folder: Path, name: str = "pairs") -> Path:
    """A bundle that says how well a document answers a query."""

    def make() -> None:
        tokenizer = tiny_bundle.byte_tokenizer()
        tokenizer.save(str(folder / "tokenizer.json"))
        pair_graph(folder / "model.onnx", tokenizer.get_vocab_size())

    return write(folder, name, RANK, text, make, inputs=lambda seed: (text(0)[:20], text(seed)[:50]))


def reseal(folder: Path) -> None:
    """Make the manifest true again, so that only golden items can tell."""
    kept = json.loads((folder / "manifest.json").read_text()) if (folder / "manifest.json").exists() else {}
    values = {"name": kept.get("name", folder.name), "data_hash": "d" * 64, "licence": "test", "metrics": {}}
    manifest.write(folder, values)


def expected(folder: Path, signature: Signature, raw: tuple[bytes, ...]) -> list[np.ndarray]:
    """One item, alone, straight through the bundle's graphs: what the endpoint must say."""
    declared = signature.inputs[0]
    from data.text.tokenizer import Tokenizer

    tokenizer = Tokenizer.load(folder / "tokenizer.json") if declared.kind == "text" else None
    arrays = [decode(each, one, tokenizer) for each, one in zip(signature.inputs, raw, strict=True)]
    array = arrays[0]
    if declared.kind == "image":
        pre = ort.InferenceSession(str(folder / "pre.onnx"), providers=["CPUExecutionProvider"])
        array = pre.run(None, {pre.get_inputs()[0].name: array[None]})[0][0]
    model = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    feeds = {declared.name: array[None]}
    feeds |= {each.name: one[None] for each, one in zip(signature.inputs[1:], arrays[1:], strict=True)}
    if declared.kind == "text" and len(feeds) == 1:
        feeds["lengths"] = np.array([array.size])
    return [*finished(signature, arrays, [output[0] for output in model.run(None, feeds)])]


def write(
    folder: Path, name: str, signature: Signature, item: Callable[[int], bytes], make: Callable[[], None],
    inputs: Callable[[int], tuple[bytes, ...]] | None = None,
) -> Path:  # fmt: skip
    folder.mkdir(parents=True)
    make()
    signature.save(folder)
    raw = [inputs(seed) if inputs else (item(seed),) for seed in range(6)]
    answers = [expected(folder, signature, each) for each in raw]
    golden.write(folder, signature, raw, [_named(signature, each) for each in answers])
    if signature.inputs[0].kind == "table":
        rows = [(decode(signature.inputs[0], item(seed)),) for seed in range(400)]
        model = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
        outputs = list(zip(*model.run(None, {"row": np.stack([each[0] for each in rows])}), strict=True))
        (folder / "reference.json").write_text(json.dumps(drift.reference(signature, rows, outputs)))
    (folder / "serving.json").write_text(json.dumps({"name": name, "max_tokens": 1, "precision": "fp32"}))
    (folder / "README.md").write_text(f"# {name}\n")
    manifest.write(folder, {"name": name, "data_hash": "d" * 64, "licence": "test", "metrics": {}})
    return folder


def _named(signature: Signature, arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
    return {output.name: array for output, array in zip(signature.outputs, arrays, strict=True)}
