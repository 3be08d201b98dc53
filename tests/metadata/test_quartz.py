"""Quartz cron: what Databricks takes, and the same times for Airflow."""

from __future__ import annotations

import pytest

from lakehouse.metadata.quartz import parse_cron, to_unix_cron


@pytest.mark.parametrize(
    "text",
    ["0 30 5 * * ?", "0 0/15 8-18 ? * MON-FRI", "0 0 5 L * ?", "0 0 5 L-3 * ?", "0 0 0 LW * ?", "0 0 0 15W * ?",
     "0 0 12 ? * 6#3", "0 0 12 ? * FRIL", "*/10 0,30 0 1-7,15 JAN,JUL ? 2030-2035", "0 0 5 ? * FRI-MON"],
)  # fmt: skip
def test_expression_of_quartz_is_taken(text):
    assert parse_cron(text) == text


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("30 5 * * *", "has 5 fields"),
        ("0 30 5 * * ? 2030 1", "has 8 fields"),
        ("60 0 0 * * ?", "'60' is no second"),
        ("0 75 0 * * ?", "'75' is no minute"),
        ("0 0 24 * * ?", "'24' is no hour"),
        ("0 0 0 32 * ?", "'32' is no day of month"),
        ("0 0 0 ? 13 1", "'13' is no month"),
        ("0 0 0 ? * 8", "'8' is no day of week"),
        ("0 0 0 ? * 0", "'0' is no day of week"),
        ("0 0 0 ? * FUN", "'FUN' is no day of week"),
        ("0 0 0 ? * 6#6", "'6#6' is no day of week"),
        ("0 0 ? * * ?", "'?' is no hour"),
        ("0 0/0 0 * * ?", "'0/0' is no minute"),
        ("0 0 0 * * ? 1969", "'1969' is no year"),
        ("0 0 0 1 * 1", "exactly one of day of month and day of week"),
        ("0 0 0 ? * ?", "exactly one of day of month and day of week"),
        ("0 0 0 1,,2 * ?", "'' is no day of month"),
    ],
)
def test_what_is_no_expression_is_refused(text, says):
    with pytest.raises(ValueError, match="^.*" + says.replace("?", r"\?")):
        parse_cron(text)


@pytest.mark.parametrize(
    ("quartz", "unix"),
    [
        ("0 30 5 * * ?", "30 5 * * *"),
        ("0 30 5 ? * MON-FRI", "30 5 * * 1-5"),
        ("0 30 5 ? * 1,7", "30 5 * * 0,6"),
        ("0 0/15 * * * ?", "0-59/15 * * * *"),
        ("0 */15 8-18/2 1 JAN,JUL ?", "*/15 8-18/2 1 1,7 *"),
        ("0 0 5 * * ? *", "0 5 * * *"),
        ("30 0 5 * * ?", None),
        ("0 0 5 L * ?", None),
        ("0 0 5 ? * 6#3", None),
        ("0 0 5 ? * FRI-MON", None),
        ("0 0 5 * * ? 2030", None),
    ],
)
def test_same_times_in_five_fields_or_nothing(quartz, unix):
    assert to_unix_cron(quartz) == unix
