"""What an expression of the metadata says: whether it parses, and which columns it names.

Rule: sqlglot reads expressions, it never writes them; a load uses the text as the user wrote it.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

NAMELESS = frozenset(
    {
        "current_date",
        "current_time",
        "current_timestamp",
        "getdate",
        "localtimestamp",
        "monotonically_increasing_id",
        "now",
        "rand",
        "randn",
        "random",
        "randstr",
        "shuffle",
        "spark_partition_id",
        "uniform",
        "uuid",
    }
)


_NAME = "value of the expression"


@cache
def column_references(expression: str) -> tuple[tuple[str, str], ...]:
    """The (qualifier, column) pairs that an expression names; the qualifier is '' where there is none.

    Raises:
        ValueError: the expression is not Spark SQL, or holds more than one expression.

    >>> column_references("upper(a.name) || city")
    (('a', 'name'), ('', 'city'))
    """
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        tree = sqlglot.parse_one(f"SELECT {expression}", dialect="spark")
        named = sqlglot.parse_one(f"SELECT {expression} AS `{_NAME}`", dialect="spark")
    except SqlglotError as error:
        raise ValueError(_reason(error)) from error
    if not _is_one_value(tree, named):
        raise ValueError("it is not a single expression")
    lambdas = {name.name for node in tree.find_all(exp.Lambda) for name in node.expressions}
    found = [(node.table, node.name) for node in tree.find_all(exp.Column, bfs=False) if node.name not in lambdas]
    return tuple(dict.fromkeys(found))


@cache
def non_deterministic(expression: str) -> str | None:
    """The first function in an expression whose result depends on the clock or on chance; None if there is none."""
    import sqlglot
    from sqlglot import exp

    for node in sqlglot.parse_one(f"SELECT {expression}", dialect="spark").find_all(exp.Func):
        name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).lower()
        if name in NAMELESS:
            return name
    return None


def _is_one_value(tree: object, named: object) -> bool:
    """Whether a SELECT has one value and nothing else, and takes the name that a load gives it."""
    from sqlglot import exp

    if not isinstance(tree, exp.Select) or not isinstance(named, exp.Select):
        return False
    parts = [name for name, part in tree.args.items() if part]
    values, names = tree.expressions, named.expressions
    if parts != ["expressions"] or len(values) != 1 or len(names) != 1 or values[0].is_star:
        return False
    return isinstance(names[0], exp.Alias) and names[0].alias == _NAME and names[0].this == values[0]


def _reason(error: Exception) -> str:
    from sqlglot.errors import TokenError

    if isinstance(error, TokenError):
        return "a quote or comment in it has no end"
    details = getattr(error, "errors", None) or []
    text = str(details[0].get("description", "")) if details else ""
    if text.startswith("Required keyword"):
        return "it is not complete"
    return (text or str(error).splitlines()[0]).rstrip(".").lower() or "it does not parse"


def infer_type(expression: str, columns: Mapping[str, str]) -> str:
    """The data type of an expression over typed columns (``name`` or ``qualifier.name``); '' where it is not sure.

    >>> infer_type("a", {"a": "int"}), infer_type("concat_ws(' ', a, b)", {"a": "string", "b": "string"})
    ('int', 'string')
    """
    references = column_references(expression)
    if len(references) == 1 and expression.strip("` ").lower().replace("`", "") in _spellings(*references[0]):
        qualifier, name = references[0]
        return _lowered(columns).get(f"{qualifier}.{name}".lstrip(".").lower(), "")
    return "string" if _is_text(expression) else ""


def _spellings(qualifier: str, name: str) -> tuple[str, str]:
    return name.lower(), f"{qualifier}.{name}".lower()


def _lowered(columns: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): data_type for name, data_type in columns.items()}


@cache
def _is_text(expression: str) -> bool:
    import sqlglot
    from sqlglot import exp
    from sqlglot.optimizer.annotate_types import annotate_types

    tree = annotate_types(sqlglot.parse_one(f"SELECT {expression}", dialect="spark"), dialect="spark")
    annotated = tree.expressions[0].type
    return bool(annotated and annotated.this in exp.DataType.TEXT_TYPES)
