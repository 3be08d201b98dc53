"""What a project with an external stage needs before its vault is loaded directly: prepared columns, and buckets of rows.

Rule: the stage's own columns are prepared as the source's metadata says, by the same SQL as landing does. A first load that is
too large for one go is cut into periods or ranks, each loaded on its own and in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, get_args

from lakehouse.engine.session import spark_session
from lakehouse.errors import LoadError, MetadataError, suggestion
from lakehouse.metadata.project import Project
from lakehouse.staging.prepare import prepare_select

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

Period = Literal["year", "quarter", "month", "week", "day", "hour", "minute", "second", "millisecond"]
SECONDS: dict[str, float] = {
    "year": 31_536_000, "quarter": 7_776_000, "month": 2_592_000, "week": 604_800, "day": 86_400, "hour": 3_600,
    "minute": 60, "second": 1, "millisecond": 0.001,
}  # fmt: skip
MOST_PERIODS = 100_000


def prepare(project: Project, source: str, rows: DataFrame, *, spark: SparkSession | None = None) -> DataFrame:
    """The typed rows of an external stage with all columns of the source: derived, replaced where NULL, hashed, ranked.

    Raises:
        MetadataError: the project has no such source.
    """
    if source not in project.sources:
        raise MetadataError(f"{project.folder}: no source '{source}'. {suggestion(source, project.sources)}")
    hashes = project.settings_of("sources", source).hashes
    return prepare_select(project.sources[source], hashes).on(spark or spark_session(), {"rows": rows})


def batches(
    rows: DataFrame, column: str, *, period: Period | None = None, start: str | None = None, stop: str | None = None
) -> Iterator[DataFrame]:
    """The rows in buckets, in order: one per value of ``column`` (a rank), or per calendar period of it (a date-time).

    ``start`` and ``stop`` bound the periods, both included; without them the rows do.

    Raises:
        LoadError: an unknown period, or one so small that there would be over 100,000 of them.
    """
    from pyspark.sql import functions as F

    place = F.col(f"`{column}`")
    if period is not None:
        if period not in get_args(Period):
            raise LoadError(f"This datepart is not a period: {period}. Choose one of: {', '.join(get_args(Period))}.")
        bounds = {
            name: F.lit(given).cast("timestamp") if given else value
            for name, given, value in (("first", start, F.min(place)), ("last", stop, F.max(place)))
        }
        place = F.date_trunc(period, place.cast("timestamp"))
        first, last = rows.agg(*(F.date_trunc(period, value).alias(name) for name, value in bounds.items())).head() or (None, None)  # fmt: skip
        if first is None or last is None:
            return
        _few_enough(first, last, period)
        rows = rows.filter((place >= F.lit(first)) & (place <= F.lit(last)))
    values = [row[0] for row in rows.select(place.alias("bucket")).filter("bucket IS NOT NULL").distinct().collect()]
    for value in sorted(values):
        yield rows.filter(place == F.lit(value))


def _few_enough(first: Any, last: Any, period: str) -> None:
    number = int((last - first).total_seconds() / SECONDS[period]) + 1
    if number > MOST_PERIODS:
        raise LoadError(
            f"Max iterations exceeded: from {first} to {last} there are {number:,} periods of a {period}, and at most "
            f"{MOST_PERIODS:,} are loaded one by one. Choose a longer period."
        )
