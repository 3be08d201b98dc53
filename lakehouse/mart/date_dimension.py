"""Date dimension: one row per day of a range, keyed yyyymmdd; -1 is the unknown day.

Rule: the rows follow from the range alone; a longer range adds days, none is ever changed.
Source: Kimball & Ross, The Data Warehouse Toolkit, 3rd ed. (2013), calendar date dimensions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date
from typing import ClassVar, Literal

from pydantic import Field

from lakehouse.metadata.environment import Layer, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import ConformedDimension, Load, Problem
from lakehouse.names import LOAD_POSITION, UNKNOWN_KEY, surrogate_key
from lakehouse.sql.ddl import TableDefinition, TargetColumn
from lakehouse.sql.hashing import Part
from lakehouse.sql.identifiers import literal, quote
from lakehouse.sql.select import Select, columns

CALENDAR: dict[str, tuple[str, str, str]] = {
    "date": ("date", "day", "The day"),
    "year": ("int", "year(day)", "Calendar year"),
    "quarter": ("int", "quarter(day)", "Quarter of the year, 1 to 4"),
    "month": ("int", "month(day)", "Month of the year, 1 to 12"),
    "month_name": ("string", "date_format(day, 'MMMM')", "Name of the month, in English"),
    "year_month": ("string", "date_format(day, 'yyyy-MM')", "Year and month"),
    "day_of_month": ("int", "day(day)", "Day of the month, 1 to 31"),
    "day_of_year": ("int", "dayofyear(day)", "Day of the year, 1 to 366"),
    "day_of_week": ("int", "weekday(day) + 1", "ISO day of the week, 1 Monday to 7 Sunday"),
    "day_name": ("string", "date_format(day, 'EEEE')", "Name of the day, in English"),
    "iso_week": ("int", "weekofyear(day)", "ISO week, 1 to 53"),
    "iso_year": ("int", "extract(YEAROFWEEK FROM day)", "Year of the ISO week"),
    "weekend_flag": ("boolean", "weekday(day) >= 5", "Whether it is a Saturday or Sunday"),
    "month_end_flag": ("boolean", "day = last_day(day)", "Whether it is the last day of its month"),
}


class DateDimension(ConformedDimension):
    """One row per day of a range."""

    kind: Literal["date_dimension"] = "date_dimension"
    layer: ClassVar[Layer] = "mart"
    from_: date = Field(alias="from")
    """First day."""
    to: date
    """Last day."""

    @property
    def surrogate_key(self) -> str:
        """The name of its surrogate key column."""
        return surrogate_key(self.name)

    def lookup(self, project: Project, given: tuple[Part, ...]) -> str:
        """The day of a date or timestamp."""
        return f"CAST({given[0][0]} AS DATE)"

    def lookup_join(self, alias: str, found_by: str, event: str) -> str:
        """The day itself."""
        return f"LEFT JOIN {{{self.name}}} AS {quote(alias)}\n  ON {found_by} = {quote(alias)}.{quote('date')}"

    def reads(self, project: Project) -> tuple[Relation, ...]:
        """Nothing: it follows from its range."""
        return ()

    def columns_of(self, project: Project) -> Mapping[str, str]:
        """The calendar columns."""
        return {name: data_type for name, (data_type, _, _) in CALENDAR.items()}

    def problems(self, project: Project) -> Iterator[Problem]:
        """The range is one."""
        if self.to < self.from_:
            yield Problem(("to",), f"ends on {self.to}, before it begins on {self.from_}.")

    def load(self, project: Project) -> Load:
        """Add the days that are not there."""
        settings = project.settings_of("tables", self.name)
        key = TargetColumn(self.surrogate_key, "int", "yyyymmdd; -1 is the unknown day", required=True)
        calendar = (TargetColumn(name, data_type, comment) for name, (data_type, _, comment) in CALENDAR.items())
        position = TargetColumn(LOAD_POSITION, "bigint", "Position of the commit that added the row", required=True)
        return Load(
            name=self.name,
            kind=self.kind,
            layer=self.layer,
            definition=TableDefinition((key, *calendar, position), self.description),
            inputs=(),
            select=Select(self._select(settings.unknown_text)),
            write="append",
            keys=(self.surrogate_key,),
            counts={
                "read": "count(1)",
                **{name: f"count_if(outcome = '{name}')" for name in ("inserted", "unchanged")},
            },
            settings=settings,
        )

    def _select(self, unknown: str) -> str:
        key = quote(self.surrogate_key)
        values = {name: expression for name, (_, expression, _) in CALENDAR.items()}
        nothing = {
            n: literal(unknown) if t == "string" else f"CAST(NULL AS {t.upper()})" for n, (t, _, _) in CALENDAR.items()
        }
        range_ = f"sequence(DATE '{self.from_}', DATE '{self.to}')"
        return f"""WITH days AS (
  -- every day of the range, and the unknown one
  SELECT
    CAST(date_format(day, 'yyyyMMdd') AS INT) AS {key},
{columns(values, indent=4)}
  FROM (SELECT explode({range_}) AS day)
  UNION ALL
  SELECT
    {UNKNOWN_KEY} AS {key},
{columns(nothing, indent=4)}
)
SELECT days.*, CASE WHEN target.{key} IS NULL THEN 'inserted' ELSE 'unchanged' END AS outcome
FROM days
LEFT JOIN (SELECT {key} FROM {{target}}) AS target ON days.{key} = target.{key}"""
