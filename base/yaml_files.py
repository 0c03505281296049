"""Read the YAML files that people write: recipes, params.yaml, prefect.yaml; and change single values in their text.

Values are read as DVC reads them, by YAML 1.2 and unlike PyYAML by default: `on`, `off`, `yes` and `no` are text, `1e3`
is a number, `017` is seventeen and `12:30` is text. A key that stands twice is an error.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from base.errors import MetrolineError

TAG = "tag:yaml.org,2002:"
SCALARS = {
    "bool": (r"true|True|TRUE|false|False|FALSE", "tTfF"),
    "int": (r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)", "-+0123456789"),
    "float": (
        r"[-+]?([0-9][0-9_]*(\.[0-9_]*([eE][-+]?[0-9]+)?|[eE][-+]?[0-9]+)"
        r"|\.[0-9_]+([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))|\.(nan|NaN|NAN)",
        "-+.0123456789",
    ),
}
"""What is no text without quotes, and the characters it can begin with."""
CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's scalars and without its silent overwriting."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping whose keys differ."""
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if key.tag != TAG + "merge" and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: Any) -> int:
        """A whole number; a leading zero alone does not make it octal."""
        text = str(self.construct_scalar(node)).replace("_", "")
        return int(text, 0 if re.match("[-+]?0[box]", text) else 10)


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.removeprefix(TAG) not in SCALARS]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
for kind, (written, begins) in SCALARS.items():
    Loader.add_implicit_resolver(TAG + kind, re.compile(f"(?:{written})$"), list(begins))
Loader.add_constructor(TAG + "int", Loader.construct_yaml_int)


def read_yaml(path: Path) -> Any:
    """The contents of a YAML file.

    Raises MetrolineError, one line: not there, not UTF-8, not YAML, a key twice, left in a merge conflict.
    """
    text = read_text(path)
    try:
        return yaml.load(text, Loader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: 2024-13-45; RecursionError: too deep
        raise MetrolineError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def read_mapping(path: Path, hint: str) -> dict[str, Any]:
    """As `read_yaml`, for a file that must hold a mapping; else MetrolineError with `hint`."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise MetrolineError(f"{path}: {'is empty' if values is None else 'not a mapping'}", hint=hint)
    return values


def read_text(path: Path) -> str:
    """The file's text. Raises MetrolineError: not there, not UTF-8, left in a merge conflict."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MetrolineError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise MetrolineError(f"{path}: not valid YAML: {error}") from None
    refuse_conflict(path, text)
    return text


def refuse_conflict(path: Path, text: str) -> None:
    """Raise MetrolineError when Git's marks of a merge conflict stand in the text of a file."""
    if mark := CONFLICT.search(text):
        line = text.count("\n", 0, mark.start()) + 1
        hint = f"keep the lines that are right, remove Git's marks, then: git add {path}"
        raise MetrolineError(f"{path}: line {line}: a merge conflict is left in it", hint=hint)


def quoted(text: str) -> str:
    """Any text as one YAML scalar, in quotes where it would be read as something else, inside [ ] and { } too."""

    def dump(style: str | None) -> str:
        dumped = str(yaml.safe_dump(text, allow_unicode=True, width=float("inf"), default_style=style))
        return dumped.removesuffix("\n").removesuffix("\n...")

    try:
        plain = dump(None)
        return plain if yaml.load(f"[{plain}]", Loader) == [text] else dump('"')
    except yaml.YAMLError:
        return dump('"')


def with_values(text: str, section: str, values: Mapping[str, str]) -> str:
    """`text` with other values of some keys of a section, written in any of YAML's ways; all else stays as it is.

    Raises LookupError where a value does not stand there itself, as with `<<: *other`.
    """
    found: dict[str, yaml.Node] = {}
    root = yaml.compose(text, Loader)
    for key, part in root.value if root else []:
        if key.value == section:
            found = {key.value: value for key, value in part.value}
    for node, value in sorted(((found[key], value) for key, value in values.items()), key=_begin, reverse=True):
        begin, end = node.start_mark.index, node.end_mark.index
        rest = text[begin:end].removeprefix(text[begin:end].rstrip("\n"))  # a block's value ends with its line
        text = text[:begin] + quoted(value) + rest + text[end:]
    return text


def _begin(item: tuple[yaml.Node, str]) -> int:
    return int(item[0].start_mark.index)
