"""The canonical text of values, how texts are joined, fingerprints and surrogate keys.

Rule: a value has one canonical text per type, independent of the session; texts are joined as ``<length>:<text>`` and
NULL is ``-``, so the joined text is injective: ('A~B', 'C') and ('A', 'B~C') differ, NULL differs from '' and any text. A fingerprint is 64 bits (xxhash64 with a NULL bit per column) and only ever finds out *whether* a row of one key changed:
the odds of missing a change are 2^-64 per changed row.
Source: Linstedt & Olschimke, Building a Scalable Data Warehouse with Data Vault 2.0 (2015), hashing; Spark's functions.
"""

from __future__ import annotations

from collections.abc import Sequence

Part = tuple[str, str]
"""An SQL expression and its data type."""


def canonical_text(expression: str, data_type: str) -> str:
    """SQL for the canonical text of a value; NULL stays NULL.

    >>> canonical_text("x", "int")
    'CAST(x AS STRING)'
    """
    if data_type == "string":
        return expression
    if data_type in ("double", "float"):
        return f"CAST(CASE WHEN {expression} = 0 THEN CAST(0 AS {data_type.upper()}) ELSE {expression} END AS STRING)"
    if data_type == "timestamp":
        options = "map('timeZone', 'UTC', 'timestampFormat', 'yyyy-MM-dd HH:mm:ss.SSSSSS')"
        return f"CASE WHEN {expression} IS NOT NULL THEN to_csv(struct({expression}), {options}) END"
    if data_type == "binary":
        return f"hex({expression})"
    if data_type == "variant":
        return f"to_json({expression})"
    return f"CAST({expression} AS STRING)"


def key_text(expression: str, data_type: str) -> str:
    """SQL for the text of a business key part: its canonical text, trimmed and upper-cased if it is text."""
    text = canonical_text(expression, data_type)
    return f"upper(trim({text}))" if data_type == "string" else text


def fingerprint(parts: Sequence[Part]) -> str:
    """SQL for the 64-bit fingerprint of values, NULL-safe.

    >>> fingerprint([("a", "int"), ("b", "string")])
    'xxhash64(a IS NULL, a, b IS NULL, b)'
    """
    if not parts:
        return "CAST(0 AS BIGINT)"
    return "xxhash64(" + ", ".join(f"{x} IS NULL, {_hashable(x, data_type)}" for x, data_type in parts) + ")"


def surrogate_key(parts: Sequence[Part]) -> str:
    """SQL for a BIGINT surrogate key from values, the same for ever and on every machine."""
    return f"xxhash64({joined([canonical_text(*part) for part in parts])})"


def is_missing(expression: str, data_type: str) -> str:
    """SQL condition: a key part that is NULL, or blank text."""
    null = f"{expression} IS NULL"
    return f"({null} OR trim({expression}) = '')" if data_type == "string" else null


def joined(texts: Sequence[str]) -> str:
    """SQL for texts as one: ``<length>:<text>`` each and ``-`` for NULL, so no two lists give the same text.

    >>> joined(["a", "b"])
    "concat(coalesce(concat(char_length(a), ':', a), '-'), coalesce(concat(char_length(b), ':', b), '-'))"
    """
    parts = [f"coalesce(concat(char_length({text}), ':', {text}), '-')" for text in texts]
    return parts[0] if len(parts) == 1 else f"concat({', '.join(parts)})"


def _hashable(expression: str, data_type: str) -> str:
    return canonical_text(expression, data_type) if data_type in ("variant", "double", "float") else expression
