"""The playground's style sheet, which no linter of ours reads: it parses, and says nothing in vain."""

import re

import pytest
import tinycss2

from serving.app.api import WEB

CSS = (WEB / "style.css").read_text(encoding="utf-8")
ELSEWHERE = "".join(
    path.read_text(encoding="utf-8") for path in sorted(WEB.iterdir()) if path.suffix in (".html", ".js")
)


def faults(css: str) -> list[str]:
    """Syntax errors, in rules, what they hold, and their declarations."""
    found = []
    for rule in tinycss2.parse_stylesheet(css, skip_comments=True, skip_whitespace=True):
        inside = tinycss2.parse_blocks_contents(rule.content, skip_comments=True) if getattr(rule, "content", 0) else []
        found += [f"line {each.source_line}: {each.message}" for each in (rule, *inside) if each.type == "error"]
    return found


def test_it_parses():
    assert faults(CSS) == []
    assert len(faults("a { color red; }")) == 1
    assert faults("a { color: red; } }") != []


def test_every_variable_is_set_and_used():
    assert set(re.findall(r"var\((--[\w-]+)", CSS)) == set(re.findall(r"(--[\w-]+)\s*:", CSS))


@pytest.mark.parametrize("sign", [".", "#"])
def test_every_name_that_is_styled_is_on_the_page(sign):
    selectors = " ".join(re.findall(r"([^{}]*)\{", re.sub(r"/\*.*?\*/", "", CSS, flags=re.S)))
    names = set(re.findall(rf"(?<=\{sign})[a-zA-Z][\w-]*", selectors))
    assert len(names) > 5
    made = {name: re.sub(r"-\d+$", r"-\\$\\{", name) for name in names}  # a script puts a number behind some
    assert [name for name in sorted(names) if not re.search(rf"\b{name}\b|\b{made[name]}", ELSEWHERE)] == []
