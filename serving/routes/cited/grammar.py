"""What an answer from sources may look like: statements, each of which ends in the number of a passage that was found.

    The harbour is old: "opened in 1887" [2] Ferries leave every hour [1]

A number that is not among the passages' cannot be written, nor a quotation that is not, word by word, in the passage
whose number follows it. Nor can brackets, braces and tags, of which calls of tools are made.
"""

import json
import re
from collections.abc import Mapping

from serving.engines.decode.grammar import Grammar

NOTHING = "The sources say nothing about this."
MOST = 3
"""Statements of an answer."""
LONGEST = 240
"""Characters of a statement beside its quotation."""
PLAIN = r'[^\[\]"<>{}\n\r.!?]'
WITHIN = rf"{PLAIN}|[.!?]\d|(?:\p{{Lu}}|Mr|Mrs|Ms|Dr|St|Jr|Sr|vs|No)\. "
"""What may stand in a sentence: a full stop in a number, or behind an initial or a title, but not the sentence's end:
each sentence has its citation."""
BORDERS = re.compile(r'[\r\n"<>{}\[\]]')
"""What no quotation holds."""
SHORTEST = 12
"""Characters of a passage's part that may be quoted from."""


def grammar(texts: Mapping[int, str]) -> Grammar:
    """The grammar for passages by their numbers. Raises nothing: any text will do."""
    lines = [
        f'start: nothing | statement (" " statement){{0,{MOST - 1}}}',
        f"nothing: {json.dumps(NOTHING)}",
        f"PROSE: /[\\p{{L}}\\p{{N}}](?:{WITHIN}){{2,{LONGEST}}}(?:[.!?] ?)?/",
    ]
    quoted = []
    for number, text in texts.items():
        parts = [part for part in BORDERS.split(text) if len(part) >= SHORTEST]
        for place, part in enumerate(parts):
            rule = f"q{number}_{place}"
            lines.append(f"{rule}: %regex {json.dumps({'substring_words': part})}")
            quoted.append(f'"\\"" {rule} "\\" [{number}]"')
    lines.append("cite: " + " | ".join(f'"[{number}]"' for number in texts))
    if quoted:
        lines.append("quoted: " + " | ".join(quoted))
    lines.append("statement: PROSE cite" + (" | PROSE? quoted" if quoted else ""))
    return Grammar("citations", "\n".join(lines))
