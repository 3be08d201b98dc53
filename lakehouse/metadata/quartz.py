"""Quartz cron expressions, in which Databricks jobs say when they run.

Rule: six fields, or seven with the year: second, minute, hour, day of month, month, day of week. Exactly one of the two day
fields is ``?``. Source: the CronTrigger tutorial of Quartz 2.3.
"""

from __future__ import annotations

import re

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIELDS: tuple[tuple[str, int, int], ...] = (
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 1, 7),
    ("year", 1970, 2099),
)
_WORDS = {
    "month": {word: number for number, word in enumerate(MONTHS, 1)},
    "day of week": {word: number for number, word in enumerate(DAYS, 1)},
}
_SPECIAL = {
    "day of month": re.compile(r"L(-[0-9]{1,2})?W?|([1-9]|[12][0-9]|3[01])W"),
    "day of week": re.compile(r"L|([1-7]|" + "|".join(DAYS) + r")(L|#[1-5])"),
}


def parse_cron(text: str) -> str:
    """The expression with single blanks and upper-case words.

    Raises:
        ValueError: it is none; the message names the field.

    >>> parse_cron("0 30 5 ? * mon-fri")
    '0 30 5 ? * MON-FRI'
    """
    fields = text.upper().split()
    if len(fields) not in (6, 7):
        raise ValueError(
            f"'{text}' has {len(fields)} fields; Quartz wants 6 or 7, seconds first, such as 0 30 5 * * ? for half past five."
        )
    for value, (name, low, high) in zip(fields, FIELDS, strict=False):
        _check_field(value, name, low, high)
    if (fields[3] == "?") == (fields[5] == "?"):
        raise ValueError(f"'{text}': exactly one of day of month and day of week is ?, the other one says when.")
    return " ".join(fields)


def _check_field(value: str, name: str, low: int, high: int) -> None:
    if value == "?" and name in _SPECIAL:
        return
    for item in value.split(","):
        if not (_is_special(item, name) or _is_range(item, name, low, high)):
            raise ValueError(f"'{item}' is no {name}: {low} to {high}, *, a range, a list or steps such as */15.")


def _is_special(item: str, name: str) -> bool:
    return name in _SPECIAL and _SPECIAL[name].fullmatch(item) is not None


def _is_range(item: str, name: str, low: int, high: int) -> bool:
    """Whether an item is ``*``, a value or a range, each with or without a step."""
    span, slash, step = item.partition("/")
    if slash and not (step.isdigit() and 1 <= int(step) <= high):
        return False
    if span == "*":
        return True
    first, dash, last = span.partition("-")
    ends = [_number(first, name), _number(last, name)] if dash else [_number(first, name)]
    return all(end is not None and low <= end <= high for end in ends)


def _number(text: str, name: str) -> int | None:
    if text.isdigit():
        return int(text)
    return _WORDS.get(name, {}).get(text)


def to_unix_cron(quartz: str) -> str | None:
    """The same times as a cron expression of five fields; None where it cannot say them.

    Unix cron has neither seconds nor a year, no last or nth day, no range over the end of the week, and counts the days of the
    week from Sunday = 0.

    >>> to_unix_cron("0 30 5 ? * 2-6"), to_unix_cron("0 0 5 L * ?"), to_unix_cron("0 0/15 * * * ?")
    ('30 5 * * 1-5', None, '0-59/15 * * * *')
    """
    fields = parse_cron(quartz).split()
    if fields[0] != "0" or fields[6:] not in ([], ["*"]):
        return None
    if any(set(field) & set("LW#") or _wraps(field) for field in _numbers(fields)):
        return None
    minute, hour, day, month, week = (
        _unix_field(value, name, high) for value, (name, _, high) in zip(_numbers(fields), FIELDS[1:6], strict=True)
    )
    return " ".join((minute, hour, day, month, week))


def _wraps(field: str) -> bool:
    """Whether a range goes over the end, such as Friday to Monday."""
    spans = (item.partition("/")[0].partition("-") for item in field.split(","))
    return any(dash and int(first) > int(last) for first, dash, last in spans)


def _numbers(fields: list[str]) -> list[str]:
    """Minute to day of week, with words as numbers."""
    found = []
    for value, (name, _, _) in zip(fields[1:6], FIELDS[1:6], strict=True):
        for word, number in _WORDS.get(name, {}).items():
            value = value.replace(word, str(number))
        found.append(value)
    return found


def _unix_field(value: str, name: str, high: int) -> str:
    if value == "?":
        return "*"
    items = []
    for item in value.split(","):
        span, slash, step = item.partition("/")
        if name == "day of week" and span != "*":
            span = "-".join(str(int(end) - 1) for end in span.split("-"))
        if slash and span.isdigit():
            span = f"{span}-{high - 1 if name == 'day of week' else high}"
        items.append(f"{span}{slash}{step}")
    return ",".join(items)
