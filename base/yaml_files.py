"""Read the YAML files that people write: recipes, params.yaml, prefect.yaml.

As YAML 1.2 and DVC have it, and unlike PyYAML by default: a key that stands twice is an error, and `on`, `off`, `yes`
and `no` are text. Writing is done where the text is made.
"""

import re
from pathlib import Path
from typing import Any

import yaml

from base.errors import MetrolineError

BOOL = "tag:yaml.org,2002:bool"


class Loader(yaml.SafeLoader):
    """PyYAML's safe loader with YAML 1.2's truth values and without its silent overwriting."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        """A mapping whose keys differ."""
        seen: set[str] = set()
        for key, _ in node.value:
            name = str(key.value)
            if key.tag != "tag:yaml.org,2002:merge" and name in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} stands twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != BOOL]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(BOOL, re.compile("true|True|TRUE|false|False|FALSE"), list("tTfF"))


def read_yaml(path: Path) -> Any:
    """The contents of a YAML file. Raises MetrolineError, one line: not there, not UTF-8, not YAML, a key twice."""
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader)
    except OSError as error:
        raise MetrolineError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MetrolineError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None
