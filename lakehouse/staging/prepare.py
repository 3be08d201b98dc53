"""Columns that a source prepares for the vault: derived, missing keys replaced, hashed, ranked, in this order.

Rule: each step sees the columns of the steps before it. A key that is NULL becomes a text that stands for it, so that its rows
have a business key; derive a column from it first where the original is wanted. Hashes are those of the source's preset.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lakehouse.metadata.source import Rank, Source
from lakehouse.sql.hashing import Part
from lakehouse.sql.identifiers import literal, quote, quote_list, verbatim
from lakehouse.sql.presets import Hashing
from lakehouse.sql.select import Select, columns


def prepare_select(source: Source, hashes: Hashing) -> Select:
    """The rows of ``{rows}`` with all columns of the source, for rows that are typed already (an external stage)."""
    derived = {
        name: f"CAST({verbatim(column.expression or '')} AS {column.type.upper()})"
        for name, column in source.derived.items()
    }
    first = {**{name: quote(name) for name in source.delivered}, **derived}
    ctes = [_step("derived", "delivered columns, and those derived from them", first, "{rows}")]
    ctes += steps(source, hashes, list(first), "derived")
    last = ctes[-1].split(" AS (")[0]
    return Select("WITH " + ",\n".join(ctes) + f"\nSELECT {quote_list(source.columns)} FROM {last}")


def steps(
    source: Source, hashes: Hashing, names: list[str], before: str, *, further: tuple[str, ...] = ()
) -> list[str]:
    """The CTEs of the steps that the source has, the first reading ``before`` with the columns ``names``."""
    found, known = [], list(names)
    for step, comment, values in _named(source, hashes):
        given = {name: quote(name) for name in known} | values
        found.append(_step(step, comment, given, before, further))
        known, before = list(given), step
    return found


def _named(source: Source, hashes: Hashing) -> Iterator[tuple[str, str, dict[str, str]]]:
    if source.null_keys.columns:
        yield "replaced", "missing keys as a text that stands for them", _replaced(source)
    if source.hashed:
        yield "hashed", "keys and rows as hashes", _hashed(source, hashes)
    ranked = {name: _rank(column.rank) for name, column in source.columns.items() if column.rank}
    if ranked:
        yield "ranked", "the position of a row among those delivered with it", ranked


def _step(name: str, comment: str, given: Mapping[str, str], before: str, further: tuple[str, ...] = ()) -> str:
    rest = "".join(f",\n    {column}" for column in further)
    return f"{name} AS (\n  -- {comment}\n  SELECT\n{columns(given, indent=4)}{rest}\n  FROM {before}\n)"


def _replaced(source: Source) -> dict[str, str]:
    found = {}
    for names, text in ((source.null_keys.required, source.null_keys.required_as), (source.null_keys.optional, source.null_keys.optional_as)):  # fmt: skip
        for column in names:
            name = source.spelled(column) or column
            data_type = source.columns[name].type
            stand_in = literal(text) if data_type == "string" else f"CAST({literal(text)} AS {data_type.upper()})"
            found[name] = f"coalesce({quote(name)}, {stand_in})"
    return found


def _hashed(source: Source, hashes: Hashing) -> dict[str, str]:
    found = {}
    for name, column in source.hashed.items():
        parts = {given: _part(source, given) for given in column.hash or column.hash_diff}
        if column.hash_diff:
            found[name] = hashes.diff(parts)
        else:
            key = list(parts.values())
            found[name] = f"CASE WHEN NOT ({hashes.is_missing(key)}) THEN {hashes.key(key)} END"
    return found


def _part(source: Source, column: str) -> Part:
    name = source.spelled(column) or column
    return quote(name), source.columns[name].type


def _rank(rank: Rank) -> str:
    order = ", ".join(f"{quote(name)} {direction}" for name, direction in rank.ordered)
    return f"{'dense_rank' if rank.dense else 'rank'}() OVER (PARTITION BY {quote_list(rank.partition_by)} ORDER BY {order})"
