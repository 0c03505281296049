"""Rows of chats become masked shards; what cannot be learnt from is counted by its reason, or stops."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from base.errors import MetrolineError
from base.files import read_json
from data.split import SplitConfig
from data.text.chat_rows import InstructionsConfig
from data.text.chat_tokens import load_chats
from data.text.instructions import prepare
from data.text.messages import ChatConfig, of_row
from data.text.shards import Shards
from data.text.tokenizer import Tokenizer
from serving.engines.decode.text import Vocabulary
from serving.routes.chat_schema import ChatRequest
from serving.routes.prompts import chat_tokens
from serving.routes.schema import parse
from tests import chats

CHAT = ChatConfig(user="{instruction}\n{input}", assistant="{output}")
SPLIT = SplitConfig(valid=0.1, test=0.2)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    return chats.model(tmp_path_factory.mktemp("model") / "pretrained")


def made(folder: Path, rows: list[object], pretrained: Path, split: SplitConfig = SPLIT, **values: object) -> Path:
    raw = chats.fetched(folder / "raw", chats.write_rows(folder / "raw/files/rows.jsonl", rows))
    values = {"chat": CHAT, "duplicates": {"near": False}, **values}
    prepare(raw, folder / "out", InstructionsConfig(**values), split, pretrained)
    return folder / "out"


def multi_turn(count: int) -> list[object]:
    """Chats of two answers, some of which spell special tokens or write accents and line ends in their own way."""
    return [
        {"messages": [
            {"role": "system", "content": f"You are <|im_end|> number {n}."},
            {"role": "user", "content": f"cafe\u0301\r\n{n}"},
            {"role": "assistant", "content": f"<|im_start|>é {n}", "weight": n % 2},
            {"role": "user", "content": "And?"},
            {"role": "assistant", "content": "No more."}]}
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.parametrize(("rows", "chat"), [(chats.rows(), CHAT), (multi_turn(60), ChatConfig())])
def test_training_sees_what_the_endpoint_makes_of_the_same_messages(rows, chat, pretrained, tmp_path):
    """Of every row and each of its answers: the tokens before it are the prompt's, and what is learnt ends it."""
    out = made(tmp_path, rows, pretrained, chat=chat)
    vocabulary = Vocabulary(out / "tokenizer.json", 259)
    made_chats, ends = load_chats(out, InstructionsConfig().clean)
    bundle = SimpleNamespace(name="m", context=4096, max_tokens=64, vocab_size=259, form=InstructionsConfig().clean)
    served = SimpleNamespace(bundle=bundle, vocabulary=vocabulary, chats=made_chats)
    checked = 0
    for split in ("train", "valid", "test"):
        shards = Shards(out, split)
        for number, document in enumerate(shards.documents()):
            messages = of_row(rows[int(document["id"].rpartition(":")[2]) - 1], chat)
            tokens = shards.document(number)
            mask = shards.mask_at(int(shards.offsets[number]), len(tokens))
            begins = np.flatnonzero(np.diff(mask.astype(int)) == 1) + 1
            stops = np.append(np.flatnonzero(np.diff(mask.astype(int)) == -1), len(mask) - 1)
            learnt = [place for place, message in enumerate(messages)
                      if message["role"] == "assistant" and message.get("weight") != 0]  # fmt: skip
            assert len(begins) == len(learnt)
            for place, begin, stop in zip(learnt, begins, stops, strict=True):
                sent = [{"role": m["role"], "content": m["content"]} for m in messages[:place]]
                request = parse(json.dumps({"model": "m", "messages": sent}).encode(), ChatRequest)
                prompt = chat_tokens(served, [message.plain() for message in request.messages], None)
                assert tuple(tokens[:begin]) == prompt
                assert tokens[stop] in ends
                answer = made_chats.form.apply(messages[place]["content"])
                assert tokens[begin:stop].tolist() == vocabulary.encode(answer)
                checked += 1
    assert checked >= len(rows)


def test_the_shards_tell_what_is_learnt_and_their_hash_covers_it(pretrained, tmp_path):
    out = made(tmp_path, chats.rows(), pretrained)
    index, stats = read_json(out / "index.json"), read_json(out / "stats.json")
    assert index["splits"].keys() == {"train", "valid", "test"}
    shard = index["splits"]["train"]["shards"][0]
    mask = np.fromfile(out / shard["mask"]["file"], np.uint8)
    assert hashlib.sha256(mask.tobytes()).hexdigest() == shard["mask"]["sha256"]
    assert mask.sum() == index["splits"]["train"]["targets"] == stats["splits"]["train"]["targets"]
    assert sum(split["documents"] for split in stats["splits"].values()) == len(chats.rows())
    Shards(out, "train").verify()
    (out / shard["mask"]["file"]).write_bytes((1 - mask).tobytes())
    with pytest.raises(MetrolineError, match=r"train-00000\.mask\.bin: wrong SHA-256"):
        Shards(out, "train").verify()


def test_two_masks_give_two_hashes(pretrained, tmp_path):
    """The same tokens with other targets are other data."""
    hashes = [
        read_json(
            made(tmp_path / answers, multi_turn(40), pretrained, chat=ChatConfig(), answers=answers) / "index.json"
        )
        for answers in ("all", "last")
    ]
    tokens = [[shard["sha256"] for shard in index["splits"]["test"]["shards"]] for index in hashes]
    assert tokens[0] == tokens[1]
    assert hashes[0]["data_hash"] != hashes[1]["data_hash"]


def bad_rows() -> list[object]:
    good = {"instruction": "Say this.", "input": "", "output": "this"}
    return [good, dict(good), {"instruction": "a", "input": ""}, {**good, "output": ""}, {**good, "instruction": ""},
            {"instruction": "b", "input": "", "output": "word " * 200}, "text", [1]]  # fmt: skip


def test_bad_rows_are_counted_by_their_reasons(pretrained, tmp_path):
    out = made(tmp_path, [*chats.rows(), *bad_rows()], pretrained)
    wanted = {
        "exact_duplicate": 1,
        "no_field": 1,
        "empty_answer": 1,
        "empty_message": 1,
        "too_long": 1,
        "unreadable": 2,
    }
    assert read_json(out / "stats.json")["documents"]["dropped"] == wanted
    lines = [json.loads(line) for line in (out / "dropped.jsonl").read_text().splitlines()]
    assert {(line["id"].rpartition(":")[2], line["reason"]) for line in lines} >= {
        ("86", "exact_duplicate"),
        ("87", "no_field"),
    }


@pytest.mark.parametrize(("row", "message"), [
    (bad_rows()[2], r"rows\.jsonl:85: no_field: no field 'output'"),
    (bad_rows()[5], r"rows\.jsonl:85: too_long: .* more than data\.length \(512\)"),
    ("text", r"rows\.jsonl:85: unreadable: not an object but str"),
])  # fmt: skip
def test_bad_rows_stop_when_asked_to(row, message, pretrained, tmp_path):
    with pytest.raises(MetrolineError, match=message):
        made(tmp_path, [*chats.rows(), row], pretrained, errors="stop")
    assert not (tmp_path / "out").exists()


def test_a_field_that_no_row_has_leaves_nothing(pretrained, tmp_path):
    with pytest.raises(MetrolineError, match=r"nothing is left of 84 rows: no_field 84 \(.*data\.chat"):
        made(tmp_path, chats.rows(), pretrained, chat=ChatConfig())


def test_a_field_of_a_template_that_no_row_has_is_named(pretrained, tmp_path):
    chat = ChatConfig(user="{instruction}\n{inputs}", assistant="{output}")
    with pytest.raises(MetrolineError, match=r"data\.chat: no row has a field 'inputs'"):
        made(tmp_path, chats.rows(), pretrained, chat=chat)


def test_equal_questions_in_two_splits_are_refused_or_dropped(pretrained, tmp_path):
    """With `duplicates.exact: false` the same question may have several answers, but on one side only."""
    rows = [{**row, "output": f"{row['output']}{n}"} for n in range(2) for row in chats.rows()]
    values = {"duplicates": {"exact": False, "near": False}}
    tail = {"method": "tail", "valid": 0.1, "test": 0.2}
    with pytest.raises(MetrolineError, match="records are in two splits"):
        made(tmp_path / "stop", rows, pretrained, SplitConfig(**tail), **values)
    out = made(tmp_path / "drop", rows, pretrained, SplitConfig(**tail, duplicates="drop"), **values)
    dropped = read_json(out / "stats.json")["documents"]["dropped"]["in_another_split"]
    asked = {
        split: {shards.document(n)[: int(np.argmax(shards.mask_at(int(shards.offsets[n]), len(shards.document(n)))))]
                .tobytes() for n in range(len(shards))}
        for split in ("train", "test") for shards in [Shards(out, split)]
    }  # fmt: skip
    assert dropped == 33 + 17, "all of test and valid are asked again in train"
    assert not asked["train"] & asked["test"]


@pytest.mark.parametrize("split", [
    {"method": "given", "by": "part", "valid": 0.1},
    {"method": "group", "group": "thing", "valid": 0.2, "test": 0.3},
])  # fmt: skip
def test_a_split_may_go_by_a_field(split, pretrained, tmp_path):
    rows = [{**row, "thing": row["output"].split()[1], "part": "test" if n % 5 == 0 else "train"}
            for n, row in enumerate(chats.rows())]  # fmt: skip
    out = made(tmp_path, rows, pretrained, SplitConfig(**split))
    sides: dict[str, set[str]] = {}
    for name in ("train", "valid", "test"):
        for document in Shards(out, name).documents():
            row = rows[int(document["id"].rpartition(":")[2]) - 1]
            sides.setdefault(row["thing"] if "group" in split else row["part"], set()).add(name)
    wanted = {"train": {"train", "valid"}, "test": {"test"}} if "by" in split else None
    assert sides == wanted if wanted else all(len(found) == 1 for found in sides.values())


NO_END = chats.TEMPLATE.replace("'<|im_end|>\\n'", "'\\n'")
PREFIX = "{{ messages | length }}" + chats.TEMPLATE


@pytest.mark.parametrize(("template", "message"), [
    (None, "have no chat template"),
    (NO_END, r"rows\.jsonl:\d+: the chat template ends the answer of message 2 with no token"),
    (PREFIX, r"rows\.jsonl:\d+: the chat template writes a chat up to message 2 differently"),
])  # fmt: skip
def test_weights_that_cannot_be_taught_chats_are_refused(template, message, tmp_path):
    weights = chats.model(tmp_path / "weights", template=template)
    with pytest.raises(MetrolineError, match=message):
        made(tmp_path, chats.rows(), weights)


def test_a_template_that_refuses_some_messages_drops_them(tmp_path):
    template = "{% if messages[0].role == 'system' %}{{ raise_exception('no systems') }}{% endif %}" + chats.TEMPLATE
    weights = chats.model(tmp_path / "weights", template=template)
    rows = [*({"messages": [{"role": "user", "content": row["instruction"]},
                            {"role": "assistant", "content": row["output"]}]} for row in chats.rows()),
            *multi_turn(3)]  # fmt: skip
    out = made(tmp_path, rows, weights, chat=ChatConfig())
    assert read_json(out / "stats.json")["documents"]["dropped"] == {"template_refuses": 3}


def test_an_end_that_the_endpoint_does_not_stop_at_is_no_end(tmp_path):
    weights = chats.model(tmp_path / "weights", eos=257)
    with pytest.raises(MetrolineError, match="would never learn to stop"):
        made(tmp_path, chats.rows(), weights)


@pytest.mark.parametrize("kind", ["json", "parquet", "jsonl.gz"])
def test_other_files_hold_the_same_rows(kind, pretrained, tmp_path):
    import gzip

    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / f"raw/files/rows.{kind}"
    path.parent.mkdir(parents=True)
    if kind == "json":
        path.write_text(json.dumps(chats.rows()))
    elif kind == "parquet":
        pq.write_table(pa.Table.from_pylist(chats.rows()), path)
    else:
        path.write_bytes(gzip.compress("\n".join(map(json.dumps, chats.rows())).encode()))
    config = InstructionsConfig(chat=CHAT, duplicates={"near": False})
    prepare(chats.fetched(tmp_path / "raw", path), tmp_path / "out", config, SPLIT, pretrained)
    plain = made(tmp_path / "plain", chats.rows(), pretrained)
    assert read_json(tmp_path / "out/index.json")["data_hash"] == read_json(plain / "index.json")["data_hash"]


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not JSON"), ('{"a": 1}', "not a list but dict"), ("[1]", "unreadable 1")]
)
def test_a_json_file_that_is_no_list_of_objects(text, message, pretrained, tmp_path):
    path = tmp_path / "raw/files/rows.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(MetrolineError, match=message):
        prepare(chats.fetched(tmp_path / "raw", path), tmp_path / "out", InstructionsConfig(), SPLIT, pretrained)


def test_workers_change_nothing(pretrained, tmp_path):
    raw = chats.fetched(tmp_path / "raw", chats.write_rows(tmp_path / "raw/files/rows.jsonl", chats.rows()))
    config = InstructionsConfig(chat=CHAT)
    for workers in (1, 2):
        prepare(raw, tmp_path / str(workers), config, SPLIT, pretrained, workers=workers)
    assert read_json(tmp_path / "1/index.json") == read_json(tmp_path / "2/index.json")


def test_a_tokenizer_knows_its_special_tokens(pretrained):
    assert Tokenizer.load(pretrained / "files/tokenizer.json").special == {
        "<|endoftext|>": 0, "<|im_start|>": 257, "<|im_end|>": 258
    }  # fmt: skip
