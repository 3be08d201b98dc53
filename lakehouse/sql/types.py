"""Data types: the words a project may use, and how delivered text becomes a value of one.

Rule: a value is typed before anything is compared or hashed; text that cannot be read as its type becomes NULL here and
is told apart from a delivered NULL by the stage, which sends the row to quarantine.
"""

from __future__ import annotations

import re

from lakehouse.sql.identifiers import literal

ALIASES = {
    "integer": "int",
    "long": "bigint",
    "short": "smallint",
    "byte": "tinyint",
    "text": "string",
    "bool": "boolean",
    "real": "float",
    "numeric": "decimal",
    "dec": "decimal",
    "datetime": "timestamp",
}
PLAIN = (
    "tinyint", "smallint", "int", "bigint", "float", "double", "boolean", "string", "date", "timestamp", "binary",
    "variant",
)  # fmt: skip
INTEGERS = frozenset({"tinyint", "smallint", "int", "bigint"})
_DECIMAL = re.compile(r"^decimal(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?$")
_TEXT = re.compile(r"^(?:var)?char\(\s*\d+\s*\)$")


def parse_type(text: str) -> str:
    """The canonical name of a data type.

    Raises:
        ValueError: the text names no type.

    >>> parse_type("Integer"), parse_type("decimal(19, 4)"), parse_type("decimal"), parse_type("varchar(20)")
    ('int', 'decimal(19,4)', 'decimal(10,0)', 'string')
    """
    word = text.strip().lower()
    base, _, rest = word.partition("(")
    word = ALIASES.get(base.strip(), base.strip()) + (f"({rest}" if rest else "")
    if word in PLAIN:
        return word
    if _TEXT.match(word):
        return "string"
    match = _DECIMAL.match(word)
    if not match:
        raise ValueError(f"'{text}' is not a data type. Known: {', '.join(PLAIN)}, decimal(p,s), varchar(n), char(n).")
    precision, scale = int(match[1] or 10), int(match[2] or 0)
    if not 1 <= precision <= 38 or scale > precision:
        raise ValueError(f"'{text}': a decimal has 1 to 38 digits, and its scale is not above them.")
    return f"decimal({precision},{scale})"


def same_family(left: str, right: str) -> bool:
    """Whether equal values of both types have the same canonical text, and so the same hash key.

    >>> same_family("int", "bigint"), same_family("int", "string")
    (True, False)
    """
    return left == right or (left in INTEGERS and right in INTEGERS)


def from_text(expression: str, data_type: str, *, pattern: str | None = None, decimal: str = ".") -> str:
    """SQL that reads delivered text as a type; NULL where it cannot be read.

    ``pattern`` is that of a date or timestamp, ISO 8601 without one; ``decimal`` the sign before a number's decimals.

    >>> from_text("x", "date", pattern="dd.MM.yyyy")
    "CAST(try_to_timestamp(x, 'dd.MM.yyyy') AS DATE)"
    >>> from_text("x", "decimal(9,2)", decimal=",")
    "try_cast(translate(x, ',.', '.,') AS DECIMAL(9,2))"
    """
    if pattern is not None:
        read = f"try_to_timestamp({expression}, {literal(pattern)})"
        return read if data_type == "timestamp" else f"CAST({read} AS DATE)"
    if decimal == "," and (data_type in ("float", "double") or data_type.startswith("decimal")):
        return f"try_cast(translate({expression}, ',.', '.,') AS {data_type.upper()})"  # a point is no number then
    if data_type == "string":
        return expression
    if data_type == "binary":
        return f"try_to_binary(regexp_replace({expression}, '^0[xX]', ''), 'hex')"
    if data_type == "variant":
        return f"try_parse_json({expression})"
    return f"try_cast({expression} AS {data_type.upper()})"


def convert(expression: str, data_type: str) -> str:
    """SQL that converts a typed value to the declared type; NULL where it does not fit."""
    return expression if data_type == "variant" else f"try_cast({expression} AS {data_type.upper()})"
