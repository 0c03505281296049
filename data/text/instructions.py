"""Prepare chats: raw rows → messages → a model's own tokens with a mask of what is learnt, deduplicated and split.

    metroline stage prepare smollm2-sft

A row that cannot be learnt from is left out whole, never cut: with its reason in dropped.jsonl and counted in
stats.json, or (`errors: stop`) with an error. Two passes: the first reads rows and shares them out, the second, in
worker processes, makes tokens. Memory holds a digest a row, never its text.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from base.errors import MetrolineError
from base.files import atomic_folder, write_json
from base.parallel import cores, ordered_map, worker_pool
from base.progress import Progress
from data.fetch.fetched import fetched
from data.split import SPLITS, SplitConfig
from data.text import plots
from data.text.chat_rows import ChatRow, ChatRowsConfig, Dropped, read_all, share_out, spooled
from data.text.chat_tokens import Encoded, Refused, encode_batch, load_chats
from data.text.prepare import ALONE, in_batches, pretrained_tokenizer
from data.text.rows import SUFFIXES
from data.text.shards import ShardWriter, write_index
from data.text.stats import Statistics
from data.text.templates import put_template
from data.text.tokenizer import Tokenizer
from data.text.traces import said

Score = Callable[[Sequence[Encoded]], Sequence[float]]
"""Chats → nats a learnt token of each under the first weights."""


def prepare(
    raw: Path,
    out: Path,
    config: ChatRowsConfig,
    split: SplitConfig,
    pretrained: Path | None,
    *,
    score: Score | None = None,
    workers: int | None = None,
) -> dict[str, Any]:
    """Fill the folder `out` (see data/text/shards.py) from the fetched folder `raw`; return the content of stats.json.

    `pretrained`: fetched folder of the weights whose tokenizer and chat template are taken; `score`: what they find
    strange, for `filter.max_perplexity`, which is no bound without it. Raises MetrolineError:
    nothing fetched or left, an empty split, weights without a template, a template that cannot be trained on, and with
    `errors: stop` the first bad row. `out` then stays as it was.
    """
    files = fetched(raw, SUFFIXES)
    if workers is None:
        workers = max(1, min(cores(), sum(path.stat().st_size for path in files.values()) // ALONE))
    try:
        with atomic_folder(out) as folder, worker_pool(workers) as pool:
            tokenizer = pretrained_tokenizer(pretrained, folder)
            if config.template != "pretrained":
                put_template(config.template, tokenizer, folder)
            load_chats(folder, config.clean)
            statistics = Statistics()
            dropped = Dropped(folder / "dropped.jsonl", statistics, config.errors)
            spool = folder / "spool.jsonl"
            with dropped:
                splits = share_out(read_all(files, config, spool, dropped, statistics, split), split, dropped)
                entries = _encode_all(spooled(spool, splits), config, folder, tokenizer, dropped, score, pool, workers)
            spool.unlink()
            _refuse_empty(entries, statistics, split)
            write_index(folder, entries, vocab_size=tokenizer.vocab_size, eos=tokenizer.eos)
            stats = statistics.as_dict(entries, tokenizer, "pretrained", len(files))
            write_json(folder / "stats.json", stats)
            plots.draw(stats, folder / "stats.png")
    except OSError as error:
        raise MetrolineError(f"cannot write {out}: {error}") from None
    return stats


def _encode_all(
    rows: Iterator[ChatRow],
    config: ChatRowsConfig,
    folder: Path,
    tokenizer: Tokenizer,
    dropped: Dropped,
    score: Score | None,
    pool: ProcessPoolExecutor | None,
    workers: int,
) -> dict[str, dict[str, Any]]:
    """Second pass: rows as masked shards, a row's chats side by side. Returns the splits' entries of index.json."""
    statistics = dropped.statistics
    batches = in_batches(rows, lambda row: row.size)
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(
                ShardWriter(folder, split, vocab_size=tokenizer.vocab_size, eos=tokenizer.eos, masked=True)
            )
            for split in SPLITS
        }
        progress = stack.enter_context(Progress("encode", statistics.read - statistics.dropped.total(), "rows"))
        for batch, results in ordered_map(pool, partial(encode_batch, folder, config), batches, workers):
            for row, result in zip(batch, results, strict=True):
                if isinstance(result, Refused):
                    dropped(row.id, result.reason, result.detail)
                    continue
                if row.split == "train" and score is not None and (strange := _strange(result, config, score)):
                    dropped(row.id, "perplexity", strange, bad=False)
                    continue
                for messages, encoded in zip(row.chats, result, strict=True):
                    text = "".join(map(said, messages))
                    writers[row.split].add_masked(row.id, *encoded, bytes_=len(text.encode()), meta={})
                    statistics.encoded(row.split, text, encoded.tokens[:-1], tokenizer)
            progress.update(len(batch))
    return {split: writer.entry for split, writer in writers.items()}


def _strange(chats: Sequence[Encoded], config: ChatRowsConfig, score: Score) -> str:
    """What to say of chats with an answer beyond `filter.max_perplexity`; nothing of others. Rows of train alone are
    asked about: a test without strange answers would flatter."""
    most = config.filter.max_perplexity
    worst = math.exp(min(max(score(chats)), 100.0)) if most is not None else 0.0
    return f"perplexity {worst:,.1f}, more than {most:g}" if most is not None and not worst <= most else ""


def _refuse_empty(entries: dict[str, dict[str, Any]], statistics: Statistics, split: SplitConfig) -> None:
    if not any(entry["documents"] for entry in entries.values()):
        reasons = statistics.reasons() or "the files are empty"
        raise MetrolineError(
            f"nothing is left of {statistics.read:,} rows: {reasons}",
            hint="dropped rows say more with data.errors: stop; data.chat says where a row has its messages",
        )
    shares = {"train": 1.0, "valid": split.valid, "test": split.test}
    if empty := [name for name in SPLITS if shares[name] > 0 and not entries[name]["documents"]]:
        raise MetrolineError(
            f"no chat is left in {' and '.join(empty)}; dropped: {statistics.reasons() or 'none'}",
            hint="add rows, or raise the shares of split",
        )
