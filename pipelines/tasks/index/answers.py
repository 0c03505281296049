"""How good the whole is: a chat answers questions of the test split from the index, through the real endpoint.

A sample is asked, drawn by a seed: questions whose answer the index has, and questions whose documents were taken out
of it before. Shares and means come with 95 % intervals of that sample (Wilson's; of F1 a bootstrap).
"""

import json
import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import numpy as np

from base.children import python
from base.errors import MetrolineError
from base.files import read_object, write_text
from base.processes import free_port
from base.served import Served
from pipelines.tasks.index import squad_metrics as squad
from pipelines.tasks.index.questions import Question
from pipelines.tasks.index.searched import Searched
from pipelines.tasks.index.trial import bundle

if TYPE_CHECKING:
    from pipelines.tasks.index.config import EvaluateConfig

AT_ONCE = 4
"""Questions that are asked at the same time: an answer depends on no other one."""
MARK = re.compile(r"\s*\[\d+\]\s*")
WHOLE, WITHOUT = "whole", "without"
SAMPLES = "answers.jsonl"


@dataclass(frozen=True)
class Answer:
    """What the endpoint said to one question."""

    text: str
    citations: Sequence[dict[str, Any]]
    sources: Sequence[dict[str, Any]]

    @property
    def statements(self) -> list[str]:
        """Its statements without the numbers, one for each citation."""
        return [part.replace('"', "").strip() for part in MARK.split(self.text)[: len(self.citations)]]

    @property
    def refused(self) -> bool:
        """It says that the sources say nothing: no statement, and yet a text."""
        return not self.citations and bool(self.text.strip())

    @property
    def cited(self) -> list[str]:
        """The passage behind each citation."""
        return [next(each["text"] for each in self.sources if each["number"] == cited["number"])
                for cited in self.citations]  # fmt: skip


def judged(
    index: Searched, prepared: Path, asked: Sequence[Question], chat: Path, config: "EvaluateConfig", folder: Path
) -> dict[str, float | int]:
    """Ask and judge. `chat`: a bundle; `folder`: gets what was said. Raises MetrolineError: no question with answers,
    an endpoint that does not come up or refuses one."""
    known = [question for question in asked if question.answers]
    if not known:
        raise MetrolineError("evaluate.chat: no question of the test split has answers", hint="give them `answers`")
    draw = np.random.default_rng(config.seed)
    answered = [known[place] for place in draw.permutation(len(known))[: config.answers].tolist()]
    removed = _documents(known, config.answers, draw)
    lost = [question for question in known if question.document in removed][: config.answers]
    with tempfile.TemporaryDirectory() as temporary:
        parts = [(WHOLE, ()), (WITHOUT, removed)]
        bundles = [bundle(index, prepared, Path(temporary) / name, name, out) for name, out in parts]
        given = _ask(chat, bundles, [(WHOLE, each) for each in answered] + [(WITHOUT, each) for each in lost], config)
    write_text(folder / SAMPLES, "".join(_lines([*answered, *lost], given)))
    return _values(index, answered, given[: len(answered)]) | _refusals(given[len(answered) :])


def _documents(asked: Sequence[Question], least: int, draw: np.random.Generator) -> list[str]:
    """Documents that together have so many of the questions, half of all documents at most."""
    names = sorted({question.document for question in asked})
    chosen: list[str] = []
    for place in draw.permutation(len(names))[: max(1, len(names) // 2)].tolist():
        if sum(question.document in chosen for question in asked) >= least:
            break
        chosen.append(names[place])
    return chosen


def _ask(
    chat: Path, bundles: Sequence[Path], asked: Sequence[tuple[str, Question]], config: "EvaluateConfig"
) -> list[Answer]:
    port, model = free_port(), read_object(chat / "manifest.json")["name"]
    command = python("serving.app.run", str(chat), *map(str, bundles), "--port", str(port))
    url, log = f"http://127.0.0.1:{port}", bundles[0].parent / "endpoint.log"
    with Served(command, url, log) as served, httpx.Client(base_url=url, timeout=300, trust_env=False) as client:
        served.start(wait=300)

        def ask(index_and_question: tuple[str, Question]) -> Answer:
            name, question = index_and_question
            messages = [{"role": "user", "content": question.text}]
            body = {"model": model, "sources": name, "messages": messages, "temperature": 0,
                    "max_tokens": config.tokens}  # fmt: skip
            answer = client.post("/v1/chat/completions", json=body)
            if answer.status_code != httpx.codes.OK:
                raise MetrolineError(f"the question {question.text[:60]!r} is refused: {answer.text[:200]}")
            whole = answer.json()
            message = whole["choices"][0]["message"]
            return Answer(message["content"], message["citations"], whole["sources"])

        with ThreadPoolExecutor(AT_ONCE) as pool:
            return list(pool.map(ask, asked))


def _values(index: Searched, asked: Sequence[Question], given: Sequence[Answer]) -> dict[str, float | int]:
    pairs = list(zip(asked, given, strict=True))
    f1 = np.array([squad.f1(MARK.sub(" ", answer.text), question.answers) for question, answer in pairs])
    draws = np.random.default_rng(0).choice(f1, (1000, len(f1))).mean(1)
    precise = [squad.contains(text, question.answers) for question, answer in pairs for text in answer.cited]
    return {
        "answers": len(pairs),
        **_share("answer_sources_contain", [any(squad.contains(each["text"], question.answers)
                                               for each in answer.sources) for question, answer in pairs]),
        **_share("answer_contains", [squad.contains(MARK.sub(" ", answer.text), question.answers)
                                     for question, answer in pairs]),
        "answer_exact_match": float(np.mean([squad.exact(MARK.sub(" ", answer.text), question.answers)
                                             for question, answer in pairs])),
        "answer_f1": float(f1.mean()),
        "answer_f1_low": float(np.quantile(draws, 0.025)), "answer_f1_high": float(np.quantile(draws, 0.975)),
        **_share("wrongly_refused_share", [answer.refused for answer in given]),
        "citations": len(precise),
        **_share("citation_precision", precise),
        "citations_resolved": float(np.mean([_resolves(index, each) for answer in given for each in answer.citations]
                                            or [True])),
        **_share("grounded_share", list(_grounded(index, given))),
    }  # fmt: skip


def _refusals(given: Sequence[Answer]) -> dict[str, float | int]:
    refused = _share("unanswerable_refused_share", [answer.refused for answer in given])
    return {"unanswerable": len(given), **refused, "false_answer_share": 1 - refused["unanswerable_refused_share"]}


def _resolves(index: Searched, cited: dict[str, Any]) -> bool:
    try:
        return index.passages.text(cited["document"], cited["start"], cited["end"]) == cited["text"]
    except (KeyError, UnicodeDecodeError):
        return False


def _grounded(index: Searched, given: Sequence[Answer]) -> Iterator[bool]:
    """Of each statement whether the passage that it cites has to do with it: by the reranker, or else by cosine, at
    least as much as the index asks of a question."""
    for answer in given:
        for statement, text in zip(answer.statements, answer.cited, strict=True):
            if statement:
                yield _alike(index, statement, text) >= index.config["threshold"]


def _alike(index: Searched, statement: str, text: str) -> float:
    if index.reranker:
        return index.reranker.scores(statement, [text])[0]
    return float(index.embedder.query(statement) @ index.embedder.document(text))


def _share(name: str, right: Sequence[bool]) -> dict[str, float]:
    """The share with Wilson's interval (1927); without any case it is 0, from 0 to 1."""
    count, z = len(right), 1.959964
    share = sum(right) / count if count else 0.0
    if not count:
        return {name: 0.0, f"{name}_low": 0.0, f"{name}_high": 1.0}
    middle, wide = share + z * z / (2 * count), z * np.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    scale = 1 + z * z / count
    return {name: share, f"{name}_low": float(max(0, middle - wide) / scale),
            f"{name}_high": float(min(scale, middle + wide) / scale)}  # fmt: skip


def _lines(asked: Sequence[Question], given: Sequence[Answer]) -> Iterator[str]:
    for question, answer in zip(asked, given, strict=True):
        row = {"question": question.text, "answers": question.answers, "document": question.document,
               "said": answer.text, "cited": [each["document"] for each in answer.citations],
               "scores": [round(each["score"], 4) for each in answer.sources]}  # fmt: skip
        yield json.dumps(row, ensure_ascii=False) + "\n"
