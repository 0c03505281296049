import pickle
import random
import struct

import gguf
import numpy as np
import pytest
from gguf import GGMLQuantizationType as Kind

from base.errors import MetrolineError
from data.text.gguf_file import GgufFile
from tests.gguf_files import finish, write_tokenizer

GENERATOR = np.random.default_rng(0)
VALUES = GENERATOR.normal(size=(3, 5, 256)).astype(np.float32)
# Largest error of a type as a share of its block's largest value (BF16 and F16: of the value).
TYPES = {
    Kind.F32: 0.0,
    Kind.F16: 2**-11,
    Kind.BF16: 2**-8,
    Kind.Q8_0: 0.5 / 127 + 1e-3,
    Kind.Q5_0: 1 / 16,
    Kind.Q5_1: 1 / 15,
    Kind.Q4_0: 1 / 8,
    Kind.Q4_1: 1 / 7,
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file with every type of metadata and two tensors."""
    path = tmp_path_factory.mktemp("gguf") / "whole.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_uint8("a.u8", 255)
    writer.add_int8("a.i8", -128)
    writer.add_uint16("a.u16", 65535)
    writer.add_int16("a.i16", -32768)
    writer.add_uint32("a.u32", 2**32 - 1)
    writer.add_int32("a.i32", -(2**31))
    writer.add_uint64("a.u64", 2**64 - 1)
    writer.add_int64("a.i64", -(2**63))
    writer.add_float32("a.f32", 0.5)
    writer.add_float64("a.f64", 0.1)
    writer.add_bool("a.bool", True)
    writer.add_string("a.text", "Grüße 🤖")
    writer.add_array("a.texts", ["", "x", "日本"])
    writer.add_array("a.numbers", [1, -2, 3])
    writer.add_tensor("row", VALUES[0, 0])
    writer.add_tensor("matrix", VALUES[0])
    finish(writer)
    return path


def test_metadata_is_what_the_gguf_package_reads(whole):
    theirs = {name: field.contents() for name, field in gguf.GGUFReader(whole).fields.items()}
    with GgufFile(whole) as file:
        assert file.metadata == {name: value for name, value in theirs.items() if not name.startswith("GGUF.")}
        assert list(file.shapes.items()) == [("row", (256,)), ("matrix", (5, 256))]
        assert np.array_equal(file.tensor("matrix"), VALUES[0])


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.name)
def test_dequantized(kind, tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "file.gguf", "llama")
    stored = gguf.quantize(VALUES, kind)
    writer.add_tensor("x", stored, raw_dtype=kind)
    finish(writer)
    with GgufFile(tmp_path / "file.gguf") as file:
        found = file.tensor("x")
    assert found.dtype == np.float32
    assert found.shape == VALUES.shape
    blocks = VALUES.reshape(-1, 32)
    largest = np.abs(VALUES) if kind in (Kind.F16, Kind.BF16) else np.abs(blocks).max(1, keepdims=True)
    # Types with a minimum spread their steps over the whole block, which may be twice its largest value.
    width = 2 if kind.name.endswith("_1") else 1
    error = np.abs(found - VALUES).reshape(largest.shape if largest.shape == VALUES.shape else blocks.shape)
    assert (error <= TYPES[kind] * width * largest + 1e-7).all()


def test_a_tensor_outlives_its_file(whole):
    with GgufFile(whole) as file:
        row = file.tensor("row")
    assert np.array_equal(row, VALUES[0, 0])


def test_cut_off_anywhere(whole, tmp_path):
    data, path = whole.read_bytes(), tmp_path / "cut.gguf"
    for length in range(0, len(data), 7):
        path.write_bytes(data[:length])
        with pytest.raises(MetrolineError, match=r"cut\.gguf") as caught:
            GgufFile(path)
        assert "\n" not in str(caught.value)


def test_flipped_bytes_give_an_error_or_a_file_never_a_crash(whole, tmp_path):
    data, path, draw = whole.read_bytes(), tmp_path / "flipped.gguf", random.Random(0)
    header, errors = len(data) - VALUES[0].nbytes - VALUES[0, 0].nbytes, []
    for _ in range(400):
        damaged = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            damaged[draw.randrange(header)] = draw.choice([0, 255, draw.randrange(256)])
        path.write_bytes(damaged)
        try:
            with GgufFile(path) as file:
                for name in file.shapes:
                    file.tensor(name)
        except MetrolineError as error:
            errors.append(str(error))
    assert len(errors) > 100
    assert not any("\n" in line for line in errors)


def header(*parts: bytes, entries: int = 0, tensors: int = 0, version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, entries) + b"".join(parts)


def text(value: str) -> bytes:
    return struct.pack("<Q", len(value.encode())) + value.encode()


def tensor(name: str, *shape: int, kind: int = 0, offset: int = 0) -> bytes:
    return text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


HUGE = 2**62
BAD = {
    "empty": (b"", "cannot read"),
    "text": (b"hello, I am no model", "does not begin with GGUF"),
    "a pickle": (pickle.dumps({"a": 1}), "does not begin with GGUF"),
    "version": (header(version=1), "version 1 is not supported"),
    "big-endian": (header(version=3 << 24), "is not supported"),
    "entries": (header(entries=HUGE), "cut off"),
    "tensors": (header(tensors=HUGE), "cut off"),
    "array of numbers": (header(text("a"), struct.pack("<IIQ", 9, 4, HUGE), entries=1), "cut off"),
    "array of texts": (header(text("a"), struct.pack("<IIQ", 9, 8, HUGE), entries=1), "cut off"),
    "array of arrays": (header(text("a"), struct.pack("<IIQ", 9, 9, 1), entries=1), "array of the type 9"),
    "type of a value": (header(text("a"), struct.pack("<I", 77), entries=1), "unknown type 77"),
    "twice": (header(text("a"), struct.pack("<IB", 0, 1), text("a"), struct.pack("<IB", 0, 1), entries=2), "a occurs"),
    "no UTF-8": (header(struct.pack("<Q", 1), b"\xff", struct.pack("<IB", 0, 1), entries=1), "no UTF-8"),
    "alignment": (header(text("general.alignment"), struct.pack("<II", 4, 3), entries=1), "general.alignment is 3"),
    "dimensions": (header(tensor("x", *[1] * 9), tensors=1), "has 9 dimensions"),
    "no dimension": (header(tensor("x"), tensors=1), "has 0 dimensions"),
    "zero": (header(tensor("x", 0), tensors=1), r"has the shape \[0\]"),
    "huge": (header(tensor("x", HUGE, HUGE), tensors=1), "x ends at byte"),
    "offset": (header(tensor("x", 1, offset=HUGE), tensors=1), "x ends at byte"),
    "type of a tensor": (
        header(tensor("x", 1, kind=999), tensors=1),
        "type 999, .*upgrade gguf, or take",
    ),
    "part of a block": (header(tensor("x", 31, kind=8), b"\0" * 999, tensors=1), r"has the shape \[31\]"),
    "tensor twice": (header(tensor("x", 1), tensor("x", 1), b"\0" * 99, tensors=2), "x occurs twice"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_give_one_clear_line(name, tmp_path):
    content, message = BAD[name]
    path = tmp_path / "bad.gguf"
    path.write_bytes(content)
    with pytest.raises(MetrolineError, match=message) as caught:
        GgufFile(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_and_a_folder(tmp_path):
    for path in (tmp_path / "none.gguf", tmp_path):
        with pytest.raises(MetrolineError, match="cannot read"):
            GgufFile(path)


def test_values_that_are_not_finite(tmp_path):
    writer = gguf.GGUFWriter(tmp_path / "file.gguf", "llama")
    writer.add_tensor("x", np.array([1.0, np.nan], np.float32))
    finish(writer)
    with GgufFile(tmp_path / "file.gguf") as file, pytest.raises(MetrolineError, match="x has values that are not"):
        file.tensor("x")


def test_a_type_without_arithmetic(tmp_path):
    size = gguf.GGML_QUANT_SIZES[Kind.Q8_K][1]
    writer = gguf.GGUFWriter(tmp_path / "file.gguf", "llama")
    writer.add_tensor("x", np.zeros((1, size), np.uint8), raw_dtype=Kind.Q8_K)
    finish(writer)
    with GgufFile(tmp_path / "file.gguf") as file, pytest.raises(MetrolineError, match="Q8_K, which cannot be"):
        file.tensor("x")


def test_a_file_without_tensors(tmp_path):
    with GgufFile(write_tokenizer(tmp_path / "file.gguf")) as file:
        assert not file.shapes
        assert file.metadata["tokenizer.ggml.pre"] == "smollm"
