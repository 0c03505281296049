"""A real bundle in a second: a small random decoder as an ONNX graph with the names and rules of an exported one.

Two kinds of model. Random weights: attention, RoPE and the cache matter for every logit. A script: whatever the prompt,
position p is followed by token script[p + 1], which makes text in streams predictable.
"""

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from base import manifest
from data.text.spelling import ALPHABET

HEADS, KV_HEADS, HEAD_DIM, LAYERS, WIDTH = 4, 2, 16, 2, 64
SCRIPT = "Fellow citizens: naïve café, 😀 and 漢字; the end. "
TEXT = "the people of the united states and the government of the union; ça va, naïve 😀 the state of the union "


def byte_tokenizer() -> Tokenizer:
    """256 bytes and a few merges; id 0 ends a text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("t", "h"), ("th", "e"), ("Ġ", "the"), ("Ġ", "o"), ("Ġo", "f"), ("s", "t")]
    tokens = ["<|endoftext|>", *alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
    tokenizer.add_special_tokens(["<|endoftext|>"])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def character_tokenizer(characters: str) -> Tokenizer:
    """One token a character; ids 0 and 1 are end of text and unknown."""
    tokens = ["<|endoftext|>", "<unk>", *sorted(set(characters))]
    tokenizer = Tokenizer(models.WordLevel({token: i for i, token in enumerate(tokens)}, unk_token="<unk>"))
    tokenizer.add_special_tokens(["<|endoftext|>", "<unk>"])
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.decoder = decoders.Fuse()
    return tokenizer


def build(
    folder: Path,
    *,
    name: str = "tiny",
    context: int = 64,
    max_tokens: int = 200,
    script: list[int] | None = None,
    tokenizer: Tokenizer | None = None,
    int8: bool = False,
    delay_nodes: int = 0,
    seed: int = 0,
) -> Path:
    """Write a bundle to `folder`. `delay_nodes`: useless large matrix products that make each step slow."""
    folder.mkdir(parents=True)
    tokenizer = tokenizer or byte_tokenizer()
    vocab = tokenizer.get_vocab_size()
    onnx.save(graph(vocab, context, script, delay_nodes, seed), folder / "model.onnx")
    if int8:
        from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

        # Activations are quantized block by block, so that a row's result does not depend on its neighbours.
        config = DefaultWeightOnlyQuantConfig(block_size=32, is_symmetric=True, accuracy_level=4, bits=8)
        quantizer = MatMulNBitsQuantizer(onnx.load(folder / "model.onnx"), algo_config=config)
        quantizer.process()
        quantizer.model.save_model_to_file(str(folder / "model.int8.onnx"))
    tokenizer.save(str(folder / "tokenizer.json"))
    precision = "int8" if int8 else "fp32"
    serving = {"context": context, "max_tokens": max_tokens, "precision": precision, "eos": 0, "name": name}
    (folder / "serving.json").write_text(json.dumps(serving))
    (folder / "reference.json").write_text(json.dumps({"loss_mean": 5.5, "loss_std": 0.5, "tokens": 64}))
    (folder / "README.md").write_text(CARD.format(name=name))
    (folder / "curves.png").write_bytes(PNG)
    write_manifest(folder, name, {"layers": LAYERS, "kv_heads": KV_HEADS, "head_dim": HEAD_DIM,
                                  "vocab_size": vocab, "context": context, "eos": 0})  # fmt: skip
    return folder


def bytes_of(text: str, tokenizer: Tokenizer) -> list[int]:
    """One token for each of a text's bytes: a script for a tokenizer of bytes."""
    stand_ins = {byte: token for token, byte in ALPHABET.items()}
    return [tokenizer.token_to_id(stand_ins[byte]) for byte in text.encode()]


def write_manifest(folder: Path, name: str, model: dict) -> None:
    values = {"name": name, "data_hash": "d" * 64, "licence": "test", "model": model, "metrics": {}, "parity": {}}
    manifest.write(folder, values | {"recipe": {}})


def graph(vocab: int, context: int, script: list[int] | None, delay_nodes: int, seed: int) -> onnx.ModelProto:
    """The decoder: embedding, layers of GroupQueryAttention with a residual, head, and the script on top."""
    random = np.random.default_rng(seed)
    weights, nodes = [], []
    int64, int32, f32 = TensorProto.INT64, TensorProto.INT32, TensorProto.FLOAT
    value = helper.make_tensor_value_info
    inputs = [value("input_ids", int64, ["batch", "sequence"]), value("seqlens_k", int32, ["batch"]),
              value("total_sequence_length", int32, []), value("logits_at", int64, ["rows"])]  # fmt: skip
    outputs = [value("logits", f32, ["rows", vocab])]

    def weight(name: str, array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(array, name))
        return name

    def matrix(name: str, rows: int, columns: int) -> str:
        return weight(name, (random.normal(size=(rows, columns)) / rows**0.5).astype(np.float32))

    def node(kind: str, inputs: list[str], outputs: list[str], **attributes: object) -> str:
        nodes.append(helper.make_node(kind, inputs, outputs, **attributes))
        return outputs[0]

    angles = np.outer(np.arange(context), 10_000.0 ** -(np.arange(0, HEAD_DIM, 2) / HEAD_DIM))
    weight("cos", np.cos(angles).astype(np.float32))
    weight("sin", np.sin(angles).astype(np.float32))
    x = node("Gather", [weight("embed", random.normal(size=(vocab, WIDTH)).astype(np.float32)), "input_ids"], ["x"])
    for i in range(LAYERS):
        cache = [f"past_key_values.{i}.key", f"past_key_values.{i}.value"]
        present = [f"present.{i}.key", f"present.{i}.value"]
        inputs += [value(each, f32, ["batch", KV_HEADS, "past", HEAD_DIM]) for each in cache]
        outputs += [value(each, f32, ["batch", KV_HEADS, "total", HEAD_DIM]) for each in present]
        sizes = {"q": HEADS * HEAD_DIM, "k": KV_HEADS * HEAD_DIM, "v": KV_HEADS * HEAD_DIM}
        qkv = [node("MatMul", [x, matrix(f"w{n}{i}", WIDTH, size)], [f"{n}{i}"]) for n, size in sizes.items()]
        attended = node("GroupQueryAttention", [*qkv, *cache, "seqlens_k", "total_sequence_length", "cos", "sin"],
                        [f"a{i}", *present], domain="com.microsoft", num_heads=HEADS, kv_num_heads=KV_HEADS,
                        do_rotary=1)  # fmt: skip
        projected = node("MatMul", [attended, matrix(f"wo{i}", HEADS * HEAD_DIM, WIDTH)], [f"o{i}"])
        x = node("Add", [x, projected], [f"x{i}"])
    for i in range(delay_nodes):
        wide = node("MatMul", [x, matrix(f"wide{i}", WIDTH, 4096)], [f"wide_out{i}"])
        narrow = node("MatMul", [wide, matrix(f"narrow{i}", 4096, WIDTH)], [f"narrow_out{i}"])
        x = node("Add", [x, node("Mul", [narrow, weight(f"nought{i}", np.zeros(1, np.float32))], [f"nothing{i}"])],
                 [f"delayed{i}"])  # fmt: skip
    x = node("Reshape", [x, weight("flat", np.array([-1, WIDTH]))], ["x_flat"])
    x = node("Gather", [x, "logits_at"], ["x_rows"])
    logits = node("MatMul", [x, matrix("head", WIDTH, vocab)], ["plain" if script else "logits"])
    if script:
        table = np.zeros((context, vocab), np.float32)
        table[np.arange(context), [script[(p + 1) % len(script)] for p in range(context)]] = 100.0
        # positions: seqlens_k + 1 - sequence + (0 ... sequence - 1)
        length = node("Gather", [node("Shape", ["input_ids"], ["shape"]), weight("one", np.array(1))], ["length"])
        steps = node("Range", [weight("zero", np.array(0)), length, "one"], ["steps"])
        last = node("Cast", ["seqlens_k"], ["last"], to=int64)
        start = node("Sub", [node("Add", [last, "one"], ["total"]), length], ["start"])
        column = node("Unsqueeze", [start, weight("axis", np.array([1]))], ["column"])
        positions = node("Add", [column, steps], ["positions"])
        flat = node("Reshape", [positions, weight("line", np.array([-1]))], ["positions_flat"])
        asked = node("Gather", [flat, "logits_at"], ["positions_rows"])
        wanted = node("Gather", [weight("table", table), asked], ["wanted"])
        node("Add", [logits, wanted], ["logits"])
    made = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, outputs, weights),
        opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)],
    )
    made.ir_version = 10
    return made


def full_logits(folder: Path, tokens: list[int], context: int) -> np.ndarray:
    """Logits [S, V] of one call without any cache: what prefill and decode must add up to."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])
    size = len(tokens)
    feeds = {"input_ids": np.array([tokens]), "seqlens_k": np.array([size - 1], np.int32),
             "total_sequence_length": np.array(size, np.int32), "logits_at": np.arange(size)}  # fmt: skip
    for i in range(LAYERS):
        for part in ("key", "value"):
            feeds[f"past_key_values.{i}.{part}"] = np.zeros((1, KV_HEADS, 0, HEAD_DIM), np.float32)
    return session.run(["logits"], feeds)[0]


CARD = """# {name}

A *tiny* model for tests, with `code` and a [link](https://example.org).

| gate | value |
| --- | --- |
| test.loss | 5.5 |

- one
- two

![Curves](curves.png)
"""

# A 1 × 1 pixel.
PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415478da63105432060000"
    "ae00672be372f30000000049454e44ae426082"
)
