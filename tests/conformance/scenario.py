"""The grammar of AutomateDV's acceptance tests as data, and how its words become columns, types and metadata here.

Every column X of the original is ``x_X`` here, so that none meets a system column; what the original calls load date, record
source, effective-from and hash diff are this library's own columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import sqlglot
from sqlglot import exp

Cell = str | None
NULLS = frozenset({"", "null", "<null>"})


def column(name: str) -> str:
    """A column of the original under its name here."""
    return f"x_{name}"


def listed(value: Any) -> list[str]:
    """One name, a list of names, or nothing, as a list."""
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else [str(item) for item in value]


def cell(value: Any) -> Cell:
    """A cell of a table, NULL in all its spellings as None."""
    if value is None:
        return None
    text = str(value)
    return None if text.strip().lower() in NULLS else text


def data_type(original: str | None) -> str:
    """A type of the original by the word for it here; hashes are text."""
    text = re.sub(r"\s", "", original or "string").lower()
    if text.startswith(("varchar", "char", "string", "binary")):
        return "string"
    if text.startswith(("number", "numeric")):
        return "decimal" + text.lstrip("numberic")
    return {"float": "double", "datetime": "timestamp", "integer": "int"}.get(text, text)


def expression(value: Any) -> str:
    """A derived column of the original as Spark SQL over the columns here."""
    if isinstance(value, Mapping):
        return f"`{column(value['source_column'])}`"
    if isinstance(value, list):
        return f"concat_ws('||', {', '.join(expression(item) for item in value)})"
    text = str(value)
    if text.startswith("!"):
        return "'" + text[1:].replace("'", "\\'") + "'"
    if re.fullmatch(r"\w+", text):
        return f"`{column(text)}`"
    parsed = sqlglot.parse_one(text, read="spark")
    for found in list(parsed.find_all(exp.Column)):
        found.replace(exp.column(column(found.name), quoted=True))
    return parsed.sql("spark")


@dataclass
class Hashed:
    """A hashed column of a stage: which columns, and whether as a row rather than as a key."""

    columns: list[str]
    is_diff: bool = False
    exclude: bool = False

    @classmethod
    def of(cls, value: Any) -> Hashed:
        """As the metadata says it: a name, a list, or a mapping."""
        if isinstance(value, Mapping):
            return cls(listed(value.get("columns")), bool(value.get("is_hashdiff")), bool(value.get("exclude_columns")))
        return cls(listed(value))


@dataclass
class Stage:
    """What a stage computes from its raw table."""

    derived: dict[str, Any] = field(default_factory=dict)
    hashed: dict[str, Hashed] = field(default_factory=dict)
    ranked: dict[str, dict[str, Any]] = field(default_factory=dict)
    required: list[str] = field(default_factory=list)
    optional: list[str] = field(default_factory=list)
    required_as: str = "-1"
    optional_as: str = "-2"
    source_columns: bool = True

    def copy(self) -> Stage:
        """A stage of its own, so that an action changes it for its scenario only."""
        return Stage(**{**vars(self), "derived": dict(self.derived), "hashed": dict(self.hashed), "ranked": dict(self.ranked)})  # fmt: skip


def stages(metadata: Mapping[str, Any]) -> dict[str, Stage]:
    """The stages of a scenario's metadata."""
    found: dict[str, Stage] = {}
    for name, columns in (metadata.get("derived_columns") or {}).items():
        found.setdefault(name, Stage()).derived = dict(columns)
    for name, columns in (metadata.get("hashed_columns") or {}).items():
        found.setdefault(name, Stage()).hashed = {key: Hashed.of(value) for key, value in columns.items()}
    for name, columns in (metadata.get("ranked_columns") or {}).items():
        found.setdefault(name, Stage()).ranked = dict(columns)
    for name, columns in (metadata.get("null_columns") or {}).items():
        if isinstance(columns, Mapping):
            stage = found.setdefault(name, Stage())
            stage.required, stage.optional = listed(columns.get("required")), listed(columns.get("optional"))
    return found


def source_metadata(stage: Stage, raw: Mapping[str, str]) -> dict[str, Any]:
    """The metadata of a source whose prepared columns are the stage's; ``raw`` are the raw table's columns and types."""
    constants = {item for hashed in stage.hashed.values() for item in hashed.columns if item.startswith("!")}
    derived = {**stage.derived, **{f"{name}_ORIGINAL": name for name in [*stage.required, *stage.optional]}, **{item: item for item in constants}}  # fmt: skip
    columns: dict[str, Any] = {column(name): {"type": kind} for name, kind in raw.items() if name not in derived}
    for name, value in derived.items():
        columns[column(name)] = {"type": _derived_type(value, raw, stage), "expression": expression(value)}
    for name, hashed in stage.hashed.items():
        word = "hash_diff" if hashed.is_diff else "hash"
        columns[column(name)] = {"type": "string", word: [column(item) for item in _hashed(hashed, raw, stage)]}
    for name, rank in stage.ranked.items():
        order = [_ordered(item) for item in _orders(rank["order_by"])]
        columns[column(name)] = {
            "type": "int",
            "rank": {
                "partition_by": [column(item) for item in listed(rank["partition_by"])],
                "order_by": order,
                "dense": bool(rank.get("dense_rank")),
            },
        }
    nulls = {
        "required": [column(item) for item in stage.required],
        "optional": [column(item) for item in stage.optional],
        "required_as": stage.required_as,
        "optional_as": stage.optional_as,
    }
    return {
        "connection": "external",
        "object": "stage",
        "key": next(iter(columns)),
        "columns": columns,
        "null_keys": nulls,
    }


def _orders(value: Any) -> list[Any]:
    return [value] if isinstance(value, (str, Mapping)) else list(value)


def _ordered(item: Any) -> str:
    if isinstance(item, Mapping):
        name, direction = next(iter(item.items()))
        return f"{column(name)} {direction}"
    name, _, direction = str(item).partition(" ")
    return f"{column(name)} {direction or 'ASC'}"


def _derived_type(value: Any, raw: Mapping[str, str], stage: Stage) -> str:
    name = value.get("source_column") if isinstance(value, Mapping) else value
    while isinstance(name, str) and name in stage.derived and name not in raw:
        name = stage.derived[name]
    return raw.get(name, "string") if isinstance(name, str) else "string"


def _hashed(hashed: Hashed, raw: Mapping[str, str], stage: Stage) -> Iterable[str]:
    if not hashed.exclude:
        return hashed.columns
    left = {name.lower() for name in hashed.columns}
    everything = [*raw, *(name for name in stage.derived if name not in raw)]
    return [name for name in everything if name.lower() not in left]
