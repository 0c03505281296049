"""Prepare: raw files → cleaned, deduplicated, split, tokenized shards.

    metroline stage prepare speeches

Two passes over a corpus that is never in memory: the first reads, cleans and drops, and spools what is left to disk;
the second, after the tokenizer is trained on the train split, writes the shards. Cleaning and encoding run in worker
processes; everything that depends on order runs here, so the output's bytes do not depend on their number.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from base.errors import MetrolineError
from base.files import atomic_folder, write_json
from base.parallel import cores, ordered_map, worker_pool
from base.progress import Progress
from data.split import SPLITS, SplitConfig
from data.text import plots
from data.text.clean import CleanConfig, normalise, reason_to_drop
from data.text.dedup import Duplicates, Signature, signature
from data.text.documents import Document, DocumentsConfig, Unreadable, raw_files, read
from data.text.shards import SHARD_TOKENS, ShardWriter, write_index
from data.text.spool import Spool, Spooled
from data.text.stats import Statistics
from data.text.tokenizer import MOST_LOST, Tokenizer, TokenizerConfig, save, train
from data.text.weights import find as find_pretrained
from data.text.weights import read as read_pretrained

Item = TypeVar("Item")
Encoded = tuple[npt.NDArray[np.uint32], int]
"""Tokens [n] of a document, and how many of its characters they do not give back."""
BATCH = 1 << 19  # characters handed to a worker at once
ALONE = 1 << 22  # bytes of raw files for which another worker pays its start


def prepare(
    raw: Path,
    out: Path,
    *,
    documents: DocumentsConfig,
    clean: CleanConfig,
    split: SplitConfig,
    tokenizer: TokenizerConfig,
    pretrained: Path | None = None,
    workers: int | None = None,
    shard_tokens: int = SHARD_TOKENS,
) -> dict[str, Any]:
    """Fill the folder `out` (see data/text/shards.py) from the fetched folder `raw`; return the content of stats.json.

    `pretrained`: fetched folder of pretrained weights, whose tokenizer is taken when `tokenizer.kind` says so; all that
    belongs to it is written beside it. `workers`: processes, by default one a core (one alone for small corpora).
    Raises MetrolineError: nothing fetched, unreadable documents, nothing left after cleaning, an empty split, an
    unsupported tokenizer, one that loses text, disk full. `out` then stays as it was.
    """
    files = raw_files(raw)
    size = sum(path.stat().st_size for path in files.values() if path.is_file())
    if workers is None:
        workers = max(1, min(cores(), size // ALONE))
    try:
        with atomic_folder(out) as folder, worker_pool(workers) as pool:
            statistics = Statistics()
            with Spool(folder / "spool.jsonl", split) as spool:
                _clean_all(files, size, documents, clean, spool, statistics, folder / "dropped.jsonl", pool, workers)
            if not spool.documents:
                raise _nothing_left(statistics, len(files))
            sizes = Counter(document.split for document in spool.read())
            _refuse_empty_splits(sizes, split)
            if tokenizer.kind == "pretrained":
                made = pretrained_tokenizer(pretrained, folder)
            else:
                made = _train_tokenizer(spool, tokenizer, sizes["train"])
                save(made, folder / "tokenizer.json")
            batches = in_batches(spool.read(), lambda document: len(document.text))
            encode = partial(encode_batch, folder / "tokenizer.json", tokenizer.kind == "pretrained")
            work = ordered_map(pool, encode, batches, workers)
            entries = _encode_all(work, made, folder, statistics, shard_tokens, sizes.total())
            _refuse_lost_text(statistics)
            spool.path.unlink()
            write_index(folder, entries, vocab_size=made.vocab_size, eos=made.eos, first=made.first)
            stats = statistics.as_dict(entries, made, tokenizer.kind, len(files))
            write_json(folder / "stats.json", stats)
            plots.draw(stats, folder / "stats.png")
    except OSError as error:
        raise MetrolineError(f"cannot write {out}: {error}") from None
    return stats


def _clean_all(
    files: dict[str, Path],
    size: int,
    documents: DocumentsConfig,
    clean: CleanConfig,
    spool: Spool,
    statistics: Statistics,
    dropped: Path,
    pool: ProcessPoolExecutor | None,
    workers: int,
) -> None:
    """First pass: read, clean, drop; what is left goes to the spool, the rest with its reason to `dropped`."""
    duplicates = Duplicates(clean.duplicates)
    batches = in_batches(read(files, documents), lambda entry: len(entry.text) if isinstance(entry, Document) else 0)
    work = ordered_map(pool, partial(clean_batch, clean), batches, workers)
    with Progress("clean", size // 1000, "kB") as progress, dropped.open("w", encoding="utf-8", newline="\n") as log:
        for batch, results in work:
            for entry, (reason, text, sketch) in zip(batch, results, strict=True):
                statistics.read += 1
                detail = entry.problem if isinstance(entry, Unreadable) else ""
                if reason is None and (repeated := duplicates.check(entry.id, text, sketch)):
                    reason, detail = repeated
                if reason is None and isinstance(entry, Document):
                    spool.add(entry.id, text, entry.meta)
                else:
                    statistics.dropped[str(reason)] += 1
                    line = {"id": entry.id, "reason": reason} | ({"detail": detail} if detail else {})
                    log.write(json.dumps(line, ensure_ascii=False) + "\n")
            characters = sum(len(text) for _, text, _ in results)
            progress.update(min(characters // 1000, size // 1000 - progress.done), documents=statistics.read)
        progress.update(size // 1000 - progress.done)


def clean_batch(
    config: CleanConfig, batch: list[Document | Unreadable]
) -> list[tuple[str | None, str, Signature | None]]:
    """For each document: why it is dropped (None: kept), its cleaned text, its signature. Runs in a worker."""
    results: list[tuple[str | None, str, Signature | None]] = []
    for entry in batch:
        if isinstance(entry, Unreadable):
            results.append(("unreadable", "", None))
            continue
        text = normalise(entry.text, config)
        reason = reason_to_drop(text, config)
        near = reason is None and config.duplicates.near
        results.append((reason, text, signature(text, config.duplicates) if near else None))
    return results


def _train_tokenizer(spool: Spool, config: TokenizerConfig, documents: int) -> Tokenizer:
    with Progress("tokenizer", documents, "documents") as progress:

        def texts() -> Iterator[str]:
            for document in spool.read():
                if document.split == "train":
                    progress.update(1)
                    yield document.text

        return train(texts(), config)


def pretrained_tokenizer(fetched: Path | None, folder: Path) -> Tokenizer:
    """The tokenizer of the fetched weights, written to `folder` with what belongs to it."""
    if fetched is None or not fetched.is_dir():
        raise MetrolineError(f"no pretrained weights in {fetched}", hint="run `metroline stage fetch` again")
    return Tokenizer.load(read_pretrained(find_pretrained(fetched)).save(folder))


def _encode_all(
    work: Iterable[tuple[list[Spooled], list[Encoded]]],
    tokenizer: Tokenizer,
    folder: Path,
    statistics: Statistics,
    shard_tokens: int,
    total: int,
) -> dict[str, dict[str, Any]]:
    """Second pass: the spool's documents, encoded, to shards. Returns the splits' entries of index.json."""
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(
                ShardWriter(
                    folder, split, vocab_size=tokenizer.vocab_size, eos=tokenizer.eos, shard_tokens=shard_tokens
                )
            )
            for split in SPLITS
        }
        progress = stack.enter_context(Progress("encode", total, "documents"))
        for batch, rows in work:
            for document, (tokens, lost) in zip(batch, rows, strict=True):
                length = len(document.text.encode())
                writers[document.split].add(document.id, tokens, bytes_=length, meta=document.meta)
                statistics.encoded(document.split, document.text, tokens, tokenizer)
                statistics.lost[document.split] += lost
            progress.update(len(batch))
    return {split: writer.entry for split, writer in writers.items()}


def encode_batch(tokenizer_json: Path, check: bool, batch: list[Spooled]) -> list[Encoded]:
    """Each document as tokens, first ones included, without end of text. Runs in a worker.

    `check`: count the characters that the tokens do not give back (0 else; tokenizers made here are exact).
    """
    tokenizer = _tokenizer(tokenizer_json)
    rows = tokenizer.encode_batch([document.text for document in batch])
    return [
        (np.asarray([*tokenizer.first, *row], dtype=np.uint32), tokenizer.lost(document.text, row) if check else 0)
        for document, row in zip(batch, rows, strict=True)
    ]


@lru_cache(maxsize=1)
def _tokenizer(path: Path) -> Tokenizer:
    return Tokenizer.load(path)


def in_batches(items: Iterable[Item], size: Callable[[Item], int], full: int = BATCH) -> Iterator[list[Item]]:
    """Lists of items whose sizes add up to `full` or just above it."""
    batch: list[Item] = []
    filled = 0
    for item in items:
        batch.append(item)
        filled += size(item) + 64  # an item costs something even when it is empty
        if filled >= full:
            yield batch
            batch, filled = [], 0
    if batch:
        yield batch


def _nothing_left(statistics: Statistics, files: int) -> MetrolineError:
    if not statistics.read:
        return MetrolineError(f"no document in the {files} fetched files: they are empty")
    return MetrolineError(
        f"nothing is left of {statistics.read:,} documents after cleaning: {statistics.reasons()}",
        hint="loosen the section clean of the recipe",
    )


def _refuse_lost_text(statistics: Statistics) -> None:
    for split, lost in statistics.lost.items():
        total = statistics.characters[split]
        if lost > MOST_LOST * total:
            raise MetrolineError(
                f"the pretrained tokenizer loses {lost:,} of the {total:,} characters of {split}: its tokens do not "
                "give them back, so the model could not be measured on this text",
                hint="it changes text (lower case, other spaces) or has no tokens for it: take other weights or text",
            )


def _refuse_empty_splits(sizes: Counter[str], config: SplitConfig) -> None:
    shares = {"train": 1.0, "valid": config.valid, "test": config.test}
    empty = [split for split in SPLITS if shares[split] > 0 and not sizes[split]]
    if empty:
        raise MetrolineError(
            f"no document falls into {' and '.join(empty)}: there are only {sizes.total():,} documents",
            hint="add documents, cut files into smaller ones (documents.separator), raise the shares of split"
            + (", or set split.method: tail" if config.method == "hash" else ""),
        )
