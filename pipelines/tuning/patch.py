"""The recipe with other values, as text: what its author wrote stays, comments and order too."""

import difflib
import json
from collections.abc import Mapping
from typing import Any

import yaml

from base.yaml_files import Loader


def with_changes(text: str, changes: Mapping[tuple[str, ...], Any]) -> str:
    """The text of a recipe with these values at these paths; keys that are not there are added to their section."""
    for path, value in changes.items():
        text = _changed(text, path, value)
    return text


def unified(before: str, after: str, path: str) -> str:
    """A patch that `git apply` takes."""
    lines = difflib.unified_diff(
        before.splitlines(keepends=True), after.splitlines(keepends=True), f"a/{path}", f"b/{path}"
    )
    return "".join(lines)


def _changed(text: str, path: tuple[str, ...], value: Any) -> str:
    node: yaml.Node | None = yaml.compose(text, Loader)
    assert node is not None
    for depth, part in enumerate(path):
        found = {key.value: inner for key, inner in node.value} if isinstance(node, yaml.MappingNode) else {}
        if part not in found:
            return _inserted(text, node, path[depth:], value)
        node = found[part]
    return _replaced(text, node, json.dumps(value))


def _inserted(text: str, node: yaml.Node, rest: tuple[str, ...], value: Any) -> str:
    """`rest` names what a node does not have yet: a mapping gets one key more, anything else makes room for one."""
    written = json.dumps(value)
    for part in reversed(rest[1:]):
        written = f"{{{part}: {written}}}"
    entry = f"{rest[0]}: {written}"
    if not isinstance(node, yaml.MappingNode):
        return _replaced(text, node, f"{{{entry}}}")
    if not node.flow_style:
        key, last = node.value[-1]
        end = text.find("\n", _end(text, last))
        at = len(text) if end < 0 else end
        return text[:at] + "\n" + " " * key.start_mark.column + entry + text[at:]
    at = node.end_mark.index - 1
    return text[:at].rstrip() + (", " if node.value else "") + entry + text[at:]


def _replaced(text: str, node: yaml.Node, written: str) -> str:
    begin = node.start_mark.index
    space = " " if text[:begin].endswith(":") else ""  # the value was empty
    return text[:begin] + space + written + text[_end(text, node) :]


def _end(text: str, node: yaml.Node) -> int:
    """Where a node's own text ends: a block's mark lies at the line after it, past comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    begin, end = node.start_mark.index, node.end_mark.index
    return begin + len(text[begin:end].rstrip())
