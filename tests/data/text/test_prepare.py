"""`prepare` end to end on generated corpora: the shards, what was dropped and why, equal bytes, little memory."""

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from base.errors import MetrolineError
from base.files import read_json, sha256
from base.parallel import ordered_map, worker_pool
from data.split import SPLITS, SplitConfig
from data.text.clean import CleanConfig
from data.text.documents import DocumentsConfig
from data.text.prepare import prepare
from data.text.shards import Shards
from data.text.tokenizer import Tokenizer, TokenizerConfig


def run(raw: Path, out: Path, **sections: Any) -> dict[str, Any]:
    defaults: dict[str, Any] = {"tokenizer": {"vocabulary": 400}}
    values = defaults | sections
    return prepare(
        raw,
        out,
        documents=DocumentsConfig.model_validate(values.get("documents", {})),
        clean=CleanConfig.model_validate(values.get("clean", {})),
        split=SplitConfig.model_validate(values.get("split", {"valid": 0.2, "test": 0.2})),
        tokenizer=TokenizerConfig.model_validate(values["tokenizer"]),
        workers=values.get("workers", 1),
        **({"shard_tokens": values["shard_tokens"]} if "shard_tokens" in values else {}),
    )


def sentences(number: int, seed: int = 0) -> list[str]:
    rng = random.Random(seed)
    letters = ("bdfgklmnprst", "aeiou", "lmnrst", "aeiou")
    words = ["".join(rng.choice(some) for some in letters) for _ in range(200)]
    return [" ".join(rng.choices(words, k=rng.randint(10, 40))) + f" nr {place}." for place in range(number)]


def corpus(number: int = 120) -> dict[str, str]:
    return {"a.txt": "\n".join(sentences(number))}


LINES = {"documents": {"separator": "\n"}}


def contents(folder: Path) -> dict[str, str]:
    return {path.name: sha256(path) for path in sorted(folder.iterdir())}


def decoded(prepared: Path, split: str) -> list[str]:
    shards, tokenizer = Shards(prepared, split), Tokenizer.load(prepared / "tokenizer.json")
    return [tokenizer.decode(shards.document(number)) for number in range(len(shards))]


@pytest.mark.parametrize("tokenizer", [{"kind": "bpe", "vocabulary": 300}, {"kind": "char"}])
def test_every_document_is_in_one_split_unchanged(fetched, tmp_path, tokenizer):
    stats = run(fetched(corpus()), tmp_path / "out", tokenizer=tokenizer, shard_tokens=100, **LINES)
    parts = {split: decoded(tmp_path / "out", split) for split in SPLITS}
    assert sorted(text for texts in parts.values() for text in texts) == sorted(sentences(120))
    assert stats["documents"] == {"read": 120, "kept": 120, "dropped": {}}
    for split, texts in parts.items():
        shards = Shards(tmp_path / "out", split)
        shards.verify()
        assert shards.bytes == sum(len(text.encode()) for text in texts)
        assert [entry["bytes"] for entry in shards.documents()] == [len(text.encode()) for text in texts]
        assert sum(entry["tokens"] for entry in shards.documents()) == shards.total_tokens
        assert stats["splits"][split]["tokens"] == shards.total_tokens
        assert all(shards.document(number)[-1] == shards.eos == 0 for number in range(len(shards)))
        assert len(shards.entry["shards"]) > 1


def test_what_is_written(fetched, tmp_path):
    run(fetched(corpus()), tmp_path / "out", **LINES)
    per_split = [f"{split}{end}" for split in SPLITS for end in ("-00000.bin", ".documents.jsonl", ".offsets.npy")]
    assert sorted(contents(tmp_path / "out")) == sorted(
        ["dropped.jsonl", "index.json", "stats.json", "stats.png", "tokenizer.json", *per_split]
    )
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_same_bytes_twice_and_with_any_number_of_workers(fetched, tmp_path, monkeypatch):
    monkeypatch.setattr("data.text.prepare.BATCH", 2000)  # many batches out of a small corpus
    raw = fetched(corpus(300) | {"b.txt": "\n".join(sentences(40)) + "\n12 34\nx"})
    for name, workers in (("one", 1), ("again", 1), ("two", 2), ("three", 3)):
        run(raw, tmp_path / name, workers=workers, clean={"min_characters": 2}, **LINES)
    first = contents(tmp_path / "one")
    assert all(contents(tmp_path / name) == first for name in ("again", "two", "three"))
    assert read_json(tmp_path / "one/stats.json")["documents"]["dropped"] == {
        "exact_duplicate": 40,
        "few_letters": 1,
        "too_short": 1,
    }


def test_size_of_batches_does_not_matter(fetched, tmp_path, monkeypatch):
    raw = fetched(corpus())
    run(raw, tmp_path / "one", **LINES)
    monkeypatch.setattr("data.text.prepare.BATCH", 100)
    run(raw, tmp_path / "two", **LINES)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_splits_stay_when_documents_are_added(fetched, tmp_path):
    run(fetched(corpus(100), "small"), tmp_path / "small-out", **LINES)
    more = {"0.txt": "\n".join(sentences(60, seed=9)), **corpus(100)}
    run(fetched(more, "large"), tmp_path / "large-out", **LINES)
    for split in SPLITS:
        assert set(decoded(tmp_path / "small-out", split)) <= set(decoded(tmp_path / "large-out", split))


def test_equal_texts_never_leak_even_with_duplicates_kept(fetched, tmp_path):
    raw = fetched({"a.txt": "\n".join(sentences(80) * 3)})
    off = {"duplicates": {"exact": False, "near": False}}
    stats = run(raw, tmp_path / "out", clean=off, **LINES)
    assert stats["documents"]["kept"] == 240
    parts = [set(decoded(tmp_path / "out", split)) for split in SPLITS]
    assert sum(map(len, parts)) == len(set.union(*parts)) == 80


def test_tokenizer_sees_the_train_split_alone(fetched, tmp_path):
    text = "b" * 10 + "a" * 170 + "c" * 20
    stats = run(fetched({"a.txt": text}), tmp_path / "out", tokenizer={"kind": "char"}, clean={"max_repeated_lines": 1},
                split={"method": "tail", "valid": 0.10, "test": 0.05})  # fmt: skip
    assert stats["tokenizer"]["vocab_size"] == 3
    assert [stats["splits"][split]["unknown_tokens"] for split in ("train", "test", "valid")] == [0, 10, 20]
    assert [entry["id"] for entry in Shards(tmp_path / "out", "valid").documents()] == ["a.txt[180:200]"]


def test_drops_are_counted_and_listed(fetched, tmp_path):
    lines = sentences(40)
    bad = [lines[0], lines[1].upper(), "1 2 3", "x"]
    raw = fetched({"a.txt": "\n".join(lines + bad).encode() + b"\nbroken \xff\n"})
    documents = {"separator": "\n", "errors": "drop"}
    stats = run(raw, tmp_path / "out", documents=documents, clean={"min_characters": 2})
    assert stats["documents"] == {
        "read": 45,
        "kept": 40,
        "dropped": {"exact_duplicate": 1, "few_letters": 1, "near_duplicate": 1, "too_short": 1, "unreadable": 1},
    }
    listed = [json.loads(line) for line in (tmp_path / "out/dropped.jsonl").read_text().splitlines()]
    start = len(("\n".join(lines + bad) + "\nbroken ").encode())
    assert listed == [
        {"id": "a.txt:41", "reason": "exact_duplicate", "detail": "a.txt:1"},
        {"id": "a.txt:42", "reason": "near_duplicate", "detail": "a.txt:2"},
        {"id": "a.txt:43", "reason": "few_letters"},
        {"id": "a.txt:44", "reason": "too_short"},
        {"id": "a.txt:45", "reason": "unreadable", "detail": f"invalid UTF-8 at byte {start:,} (0xff)"},
    ]


def test_half_a_surrogate_pair_anywhere_is_dropped_and_counted(fetched, tmp_path):
    rows = [f'{{"text": "{line}", "author": "Bob"}}' for line in sentences(40)]
    rows[3] = '{"text": "x", "author": "Ann \\ud83d"}'
    rows[5] = '{"text": "x \\ud83d", "author": "Ann"}'
    rows[7] = '{"te\\ud83dxt": "x", "author": "Ann"}'
    raw = fetched({"a.jsonl": "\n".join(rows)})
    stats = run(raw, tmp_path / "out", documents={"meta_fields": ["author"], "errors": "drop"})
    assert stats["documents"] == {"read": 40, "kept": 37, "dropped": {"unreadable": 3}}
    listed = [json.loads(line) for line in (tmp_path / "out/dropped.jsonl").read_text().splitlines()]
    assert [(entry["id"], entry["detail"]) for entry in listed] == [
        ("a.jsonl:4", "'author' has half a surrogate pair at character 4"),
        ("a.jsonl:6", "'text' has half a surrogate pair at character 2"),
        ("a.jsonl:8", r"no field 'text', only te\ud83dxt, author"),
    ]


def test_stats_add_up(fetched, tmp_path):
    stats = run(fetched(corpus()), tmp_path / "out", **LINES)
    assert stats == read_json(tmp_path / "out/stats.json")
    assert stats["files"] == 1
    assert sum(stats["splits"][split]["documents"] for split in SPLITS) == 120
    histogram = stats["tokens_per_document"]
    assert sum(histogram["counts"]) == 120
    assert len(histogram["edges"]) == len(histogram["counts"]) + 1
    train = stats["splits"]["train"]
    lengths = [entry["tokens"] for entry in Shards(tmp_path / "out", "train").documents()]
    assert (train["tokens_per_document"]["min"], train["tokens_per_document"]["max"]) == (min(lengths), max(lengths))
    assert train["bytes_per_token"] == pytest.approx(train["bytes"] / train["tokens"], abs=1e-4)
    top = stats["top_tokens"]
    assert [entry["count"] for entry in top] == sorted((entry["count"] for entry in top), reverse=True)
    row = Shards(tmp_path / "out", "train").tokens_at(0, train["tokens"]).tolist()
    assert all(row.count(entry["token"]) == entry["count"] for entry in top[:5])


def test_meta_reaches_the_shards(fetched, tmp_path):
    raw = fetched({f"{1790 + number}-X.txt": text for number, text in enumerate(sentences(60))})
    documents = {"meta_pattern": r"(?P<year>\d{4})", "bins": {"decade": {"of": "year", "width": 10}}}
    run(raw, tmp_path / "out", documents=documents)
    for entry in Shards(tmp_path / "out", "train").documents():
        year = int(entry["id"][:4])
        assert entry["meta"] == {"year": year, "decade": year // 10 * 10}


def test_text_that_spells_end_of_text(fetched, tmp_path):
    lines = [f"{line} <|endoftext|> more" for line in sentences(40)]
    run(fetched({"a.txt": "\n".join(lines)}), tmp_path / "out", **LINES)
    assert sorted(text for split in SPLITS for text in decoded(tmp_path / "out", split)) == sorted(lines)


def test_odd_tokens_can_be_drawn(fetched, tmp_path):
    text = "$x$ \\alpha {_^} 日本 \U0001f600 \x07 \u200b" * 3
    raw = fetched({"a.txt": "\n".join(f"{text} {line}" for line in sentences(30))})
    run(raw, tmp_path / "out", tokenizer={"kind": "char"}, **LINES)
    assert (tmp_path / "out/stats.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("method", ["hash", "tail"])
def test_25_documents_with_the_default_shares(fetched, tmp_path, method):
    """By hash a split may come out empty, which is told; cut by position none is."""
    raw = fetched({f"{number:02}.txt": text for number, text in enumerate(sentences(25, seed=5))})
    if method == "tail":
        stats = run(raw, tmp_path / "out", split={"method": "tail"})
        counts = [stats["splits"][split]["documents"] for split in SPLITS]
        assert (sum(counts), min(counts)) == (25, 1)
        return
    with pytest.raises(
        MetrolineError, match=r"no document falls into valid and test: there are only 25 .*set split\.method: tail"
    ):
        run(raw, tmp_path / "out", split={})


BAD = {
    "only blank files": ({"a.txt": "", "b.txt": " \n"}, {}, r"nothing is left of 2 documents after cleaning: empty 2"),
    "no pieces": ({"a.txt": "\n\n"}, LINES, r"no document in the 1 fetched files: they are empty"),
    "all dropped": (
        {"a.txt": "1 2\n3 4\nx"},
        LINES | {"clean": {"min_characters": 2}},
        r"nothing is left of 3 documents after cleaning: few_letters 2, too_short 1 \(loosen the section clean",
    ),
    "too few for a split": (
        {"a.txt": "one\ntwo"},
        LINES | {"split": {"valid": 0.001, "test": 0.001}},
        r"no document falls into valid and test: there are only 2 documents \(add documents",
    ),
    "no train": ({"a.txt": "x"}, {"split": {"method": "tail", "valid": 0.9, "test": 0}}, "falls into train"),
    "invalid utf-8": ({"a.txt": b"ab\xff"}, {}, r"a\.txt: invalid UTF-8 at byte 2 \(0xff\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_corpora(fetched, tmp_path, case):
    files, sections, message = BAD[case]
    with pytest.raises(MetrolineError, match=message):
        run(fetched(files), tmp_path / "out", **sections)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own-raw", "raw"]


def test_failure_leaves_the_older_output(fetched, tmp_path):
    run(fetched(corpus()), tmp_path / "out", **LINES)
    before = contents(tmp_path / "out")
    with pytest.raises(MetrolineError, match="nothing is left"):
        run(fetched({"a.txt": "1"}, "bad"), tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_full_disk(fetched, tmp_path, monkeypatch):
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("data.text.shards.ShardWriter.add", full)
    with pytest.raises(MetrolineError, match=r"cannot write .*out: .*No space left"):
        run(fetched(corpus()), tmp_path / "out", **LINES)
    assert not (tmp_path / "out").exists()


def die(_: int) -> int:
    os._exit(9)


def square(number: int) -> int:
    return number * number


def test_ordered_map_reads_little_ahead():
    taken = 0

    def items():
        nonlocal taken
        for number in range(100):
            taken += 1
            yield number

    with worker_pool(2) as pool:
        work = ordered_map(pool, square, items(), 2)
        assert next(work) == (0, 0)
        assert taken <= 6
        assert [result for _, result in work] == [number * number for number in range(1, 100)]


def test_dead_worker_is_one_line():
    with pytest.raises(MetrolineError, match="a worker process died"), worker_pool(2) as pool:
        list(ordered_map(pool, die, range(3), 2))


def test_workers_end_with_a_killed_parent():
    program = (
        "import time; from base.parallel import ordered_map, worker_pool; import os\n"
        "with worker_pool(2) as pool:\n"
        "    print(*{pool.submit(os.getpid).result() for _ in range(8)}, flush=True); time.sleep(60)"
    )
    child = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    workers = [int(word) for word in child.stdout.readline().split()]
    os.kill(child.pid, signal.SIGKILL)
    child.wait()
    deadline = time.monotonic() + 20
    alive = workers
    while alive and time.monotonic() < deadline:
        time.sleep(0.1)
        alive = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert workers
    assert not alive


def peak_of_preparing(fetched: Any, out: Path, megabytes: int) -> float:
    """The most memory, in MB, that Python and NumPy held at once while a corpus of this size was prepared."""
    rng = random.Random(0)
    words = [f"{number}word" for number in range(3000)]
    pages = [" ".join(rng.choices(words, k=6000)) for _ in range(megabytes * 30)]
    raw = fetched({"a.txt": "\n".join(pages)}, out.name)
    assert (raw / "files/a.txt").stat().st_size > megabytes * 1e6
    del pages
    tracemalloc.start()
    try:
        run(raw, out / "out", clean={"duplicates": {"near": False}}, **LINES)
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_corpus(fetched, tmp_path, monkeypatch):
    """Four times the corpus, the same peak; its text alone would add 3 MB. Signatures are another matter: see dedup."""
    monkeypatch.setattr("data.text.prepare.BATCH", 1 << 16)
    peak_of_preparing(fetched, tmp_path / "warm", 1)  # imports and caches
    small, large = (peak_of_preparing(fetched, tmp_path / str(size), size) for size in (1, 4))
    assert large - small < 1


def test_workers_need_no_short_folder_for_temporary_files(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    monkeypatch.setenv("TMPDIR", str(long))
    with worker_pool(2) as pool:
        assert pool is not None
        assert [result for _, result in ordered_map(pool, square, range(6), 2)] == [0, 1, 4, 9, 16, 25]
