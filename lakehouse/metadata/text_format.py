"""Text format: how dates and numbers are written in delivered text.

Rule: without one a date is ISO 8601 and a number has a decimal point. A value that is written otherwise cannot be read, and
its row goes to quarantine: with a decimal comma, ``2.50`` is no number, since it may be one written wrongly by a hundred.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator

from lakehouse.metadata.entity import Entity

_DAY, _TIME = ("y", "M", "d"), ("H", "m")


def _names(value: str, letters: tuple[str, ...], example: str) -> str:
    pattern = re.sub(r"'[^']*'", "", value)
    missing = [letter for letter in letters if letter not in pattern]
    if missing:
        raise ValueError(f"'{value}' has no {', '.join(missing)}. Write a pattern such as {example}.")
    return value


def _date(value: str) -> str:
    return _names(value, _DAY, "dd.MM.yyyy")


def _timestamp(value: str) -> str:
    return _names(value, (*_DAY, *_TIME), "dd.MM.yyyy HH:mm:ss")


class TextFormat(Entity):
    """How dates and numbers are written; what is left out is as the connection says, or ISO 8601 and a decimal point."""

    date: Annotated[str, AfterValidator(_date)] | None = None
    """Pattern of dates, such as dd.MM.yyyy: y year, M month, d day."""
    timestamp: Annotated[str, AfterValidator(_timestamp)] | None = None
    """Pattern of timestamps, such as dd.MM.yyyy HH:mm:ss; UTC where it names no zone."""
    decimal: Literal[".", ","] | None = None
    """The sign before the decimals of a number."""

    def over(self, farther: TextFormat) -> TextFormat:
        """This format, completed by one given farther away."""
        return TextFormat(**{**farther.model_dump(exclude_none=True), **self.model_dump(exclude_none=True)})
