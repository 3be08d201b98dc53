"""Identifiers and literals in Spark SQL text.

Rule: every name is quoted, every text literal escaped; braces of user text are doubled, since ``{name}`` marks a
relation in a load's SELECT.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def quote(name: str) -> str:
    """A quoted identifier.

    >>> quote("order"), quote("a`b")
    ('`order`', '`a``b`')
    """
    return "`" + name.replace("`", "``").replace("{", "{{").replace("}", "}}") + "`"


def quote_table(*parts: str) -> str:
    """A quoted table name of one to three levels.

    >>> quote_table("vault", "hub_customer")
    '`vault`.`hub_customer`'
    """
    return ".".join(quote(part) for part in parts if part)


def quote_list(names: Iterable[str], *, alias: str = "") -> str:
    """Quoted names joined by commas, each with an alias before it.

    >>> quote_list(["a", "b"], alias="source")
    'source.`a`, source.`b`'
    """
    lead = f"{alias}." if alias else ""
    return ", ".join(lead + quote(name) for name in names)


def literal(text: str) -> str:
    r"""A text literal.

    >>> literal("it's")
    "'it\\'s'"
    """
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + escaped.replace("{", "{{").replace("}", "}}") + "'"


def verbatim(expression: str) -> str:
    """A user's expression as part of a load's text: its braces doubled, nothing else touched."""
    return expression.replace("{", "{{").replace("}", "}}")


def one_of(names: Sequence[str], *, alias: str = "") -> str:
    """Names as the left side of IN: one column, or several in brackets.

    >>> one_of(["a"]), one_of(["a", "b"])
    ('`a`', '(`a`, `b`)')
    """
    listed = quote_list(names, alias=alias)
    return listed if len(names) == 1 else f"({listed})"


def same(left: str, right: str, names: Iterable[str]) -> str:
    """SQL condition: two relations agree in these columns.

    >>> same("source", "target", ["a", "b"])
    'source.`a` = target.`a` AND source.`b` = target.`b`'
    """
    return " AND ".join(f"{left}.{quote(name)} = {right}.{quote(name)}" for name in names)


def any_null(names: Iterable[str], *, alias: str = "") -> str:
    """SQL condition: one of these columns is NULL.

    >>> any_null(["a", "b"])
    '`a` IS NULL OR `b` IS NULL'
    """
    lead = f"{alias}." if alias else ""
    return " OR ".join(f"{lead}{quote(name)} IS NULL" for name in names)
