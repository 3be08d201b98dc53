"""YAML with the place of every value, so that an error can name file and line.

Rule: YAML 1.2 words (``on``, ``no`` and dates stay text); a key given twice is an error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from lakehouse.errors import MetadataError

Location = tuple[str | int, ...]


class _Loader(yaml.SafeLoader):
    """SafeLoader that knows only null, true/false, integers and decimals beside text."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("int", r"^[-+]?(?:0|[1-9][0-9]*)$", list("-+0123456789")),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]+)?$", list("-+.0123456789")),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), _first)


@dataclass
class LocatedYaml:
    """The value of a YAML file and the line of each part of it."""

    path: Path
    value: Any = None
    lines: dict[Location, int] = field(default_factory=dict)

    def place(self, location: Location = ()) -> str:
        """``file:line`` of a value, or of the nearest thing around it that has a line."""
        for end in range(len(location), -1, -1):
            if location[:end] in self.lines:
                return f"{self.path}:{self.lines[location[:end]]}"
        return f"{self.path}:1"


def read_yaml(path: Path, *, shown: Path | None = None) -> LocatedYaml:
    """Reads one YAML file. ``shown`` is the path that messages name.

    Raises:
        MetadataError: the file cannot be read, is not YAML, is empty or gives a key twice.
    """
    located = LocatedYaml(shown or path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise MetadataError(f"{located.path}:1: the file cannot be read as UTF-8 text: {error}") from error
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        if node is None:
            raise MetadataError(f"{located.path}:1: the file is empty. Write at least one section, or remove the file.")
        located.value = _value(loader, node, (), located)
    except RecursionError as error:
        raise MetadataError(f"{located.path}:1: a value holds itself, by an alias. Write it out.") from error
    except yaml.MarkedYAMLError as error:
        line = (error.problem_mark.line + 1) if error.problem_mark else 1
        raise MetadataError(f"{located.path}:{line}: not valid YAML: {error.problem or error.context}.") from error
    except yaml.YAMLError as error:
        raise MetadataError(f"{located.path}:1: not valid YAML: {str(error).splitlines()[0]}") from error
    return located


def _value(loader: _Loader, node: yaml.Node, location: Location, located: LocatedYaml) -> Any:
    located.lines.setdefault(location, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        return _mapping(loader, node, location, located)
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, (*location, i), located) for i, item in enumerate(node.value)]
    return loader.construct_object(node, deep=True)


def _mapping(loader: _Loader, node: yaml.MappingNode, location: Location, located: LocatedYaml) -> dict[str, Any]:
    mapping: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(key_node.value)
        line = key_node.start_mark.line + 1
        if key in mapping:
            first = located.lines[(*location, key)]
            raise MetadataError(f"{located.path}:{line}: '{key}' is given twice; the first one is in line {first}.")
        located.lines[(*location, key)] = line
        mapping[key] = _value(loader, value_node, (*location, key), located)
    return mapping
