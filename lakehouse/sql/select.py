"""The SELECT of a load: text with a marker ``{name}`` per relation, written once.

Rule: the same text runs on DataFrames, on table names, and is what SQL scripting prints.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


@dataclass(frozen=True)
class Select:
    """A SELECT over named relations; user text in it has its braces doubled."""

    template: str

    @property
    def relations(self) -> tuple[str, ...]:
        """The names of the relations that the text reads, in order of appearance."""
        names = (name for _, name, _, _ in Formatter().parse(self.template) if name)
        return tuple(dict.fromkeys(names))

    def text(self, **relations: str) -> str:
        """The SQL with each relation replaced by a table name or subquery; without one, by its own name."""
        return self.template.format(**{name: relations.get(name, name) for name in self.relations})

    def on(self, spark: SparkSession, relations: Mapping[str, DataFrame | str]) -> DataFrame:
        """The rows of this SELECT on DataFrames, or on names of tables and subqueries.

        The trailing ``select("*")`` keeps the analysed plan: Spark drops the temporary views of ``spark.sql(…, df=df)``
        when the call returns, and a writer would otherwise analyse the text again and miss them.
        """
        named = {name: relations[name] for name in self.relations}
        texts = {name: value if isinstance(value, str) else "{" + name + "}" for name, value in named.items()}
        frames = {name: value for name, value in named.items() if not isinstance(value, str)}
        sql = self.template.format(**texts)
        if not frames:
            return spark.sql(sql).select("*")
        return spark.sql(_keep_braces(sql, frames), **frames).select("*")


def _keep_braces(sql: str, frames: Mapping[str, object]) -> str:
    """Doubles the braces that are user text, so that only ``{frame}`` markers are replaced by Spark."""
    doubled = sql.replace("{", "{{").replace("}", "}}")
    for name in frames:
        doubled = doubled.replace("{{" + name + "}}", "{" + name + "}")
    return doubled


def lines(*parts: str) -> str:
    """Joins SQL fragments by lines, leaving out empty ones."""
    return "\n".join(part for part in parts if part)


def columns(expressions: Mapping[str, str], *, indent: int = 2) -> str:
    """A SELECT list, one expression per line; a plain column is not given its own name again.

    >>> print(columns({"a": "`a`", "b": "upper(`c`)"}))
      `a`,
      upper(`c`) AS `b`
    """
    from lakehouse.sql.identifiers import quote

    items = [
        expression
        if expression in (quote(name), name) or expression.endswith("." + quote(name))
        else f"{expression} AS {quote(name)}"
        for name, expression in expressions.items()
    ]
    return ",\n".join(" " * indent + item for item in items)


def block(text: str, *, indent: int = 2) -> str:
    """Text moved to the right."""
    return textwrap.indent(text, " " * indent)


def computed_once(expressions: Mapping[str, str], *, alias: str) -> str:
    """A LATERAL VIEW that gives the expressions as columns of ``alias``, evaluated once per row.

    Spark's planner carries the definition of a SELECT column through every later step and multiplies it there, in the
    worst case by two per column named in it: a hash over twenty columns would take minutes to plan. It does not look into
    generated rows, and serverless compute allows no setting against it.

    >>> print(computed_once({"hk": "md5(a)"}, alias="hashed"))
    LATERAL VIEW inline(array(struct(
      md5(a)
    ))) hashed AS `hk`

    A column of the relation under its own name needs none; without any there is no view.
    """
    from lakehouse.sql.identifiers import quote, quote_list

    computed = {name: value for name, value in expressions.items() if value != quote(name)}
    if not computed:
        return ""
    values = ",\n".join(f"  {expression}" for expression in computed.values())
    return f"LATERAL VIEW inline(array(struct(\n{values}\n))) {alias} AS {quote_list(computed)}"
