"""As-of lookups: which version of a member a fact finds, for members of few and of many versions."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from lakehouse import read_project
from lakehouse.errors import MetadataError
from lakehouse.metadata.project import Project
from lakehouse.sql.select import Select
from tests.rows import local_frame

PROJECT = """
name: flights
connections: {files: {kind: files, path: ./deliveries}}
sources:
  weather: {connection: files, object: weather, key: origin, columns: {origin: string, temp: double}}
  flight: {connection: files, object: flight, key: number, columns: {number: int, carrier: string, origin: string}}
tables:
  hub_carrier: {kind: hub, business_key: carrier, sources: {flight: carrier}}
  hub_origin: {kind: hub, business_key: origin, sources: {weather: origin, flight: origin}}
  link_flight:
    kind: link
    source: flight
    references: [{hub: hub_carrier, columns: carrier}, {hub: hub_origin, columns: origin}]
    child_key: number
  sat_weather: {kind: satellite, parent: hub_origin, source: weather, columns: temp}
  dim_weather: {kind: dimension, from: hub_origin, columns: {temp: {type: 2}}}
  fact_flight:
    kind: fact
    from: link_flight
    grain: [carrier, number]
    dimensions: {weather: dim_weather}
    columns: COLUMNS
"""
FIRST = datetime(2024, 1, 1)
OPEN_END = datetime(9999, 12, 31)


@pytest.fixture
def read(tmp_path):
    """The project, its fact with these columns."""

    def make(columns: str = "{}") -> Project:
        (tmp_path / "lakehouse.yml").write_text(PROJECT.replace("COLUMNS", columns), encoding="utf-8")
        return read_project(tmp_path)

    return make


def day(number: int) -> datetime:
    return FIRST + timedelta(days=number)


def versions(member: str, numbers: range, *, gone: datetime | None = None) -> list[tuple]:
    """One version per day; the last one holds still or ends where the member was deleted."""
    ends = [*(day(number) for number in numbers[1:]), gone or OPEN_END]
    return [
        (f"{member}{version}", member, day(number), end, end == OPEN_END, version)
        for version, (number, end) in enumerate(zip(numbers, ends, strict=True), 1)
    ]


def found(spark, project: Project, members: list[tuple], events: list[tuple]) -> list[str | None]:
    """The version that each event finds."""
    schema = "weather_key STRING, member_hk STRING, effective_from TIMESTAMP, effective_to TIMESTAMP, current_flag BOOLEAN, version_number INT"
    join = project.tables["dim_weather"].lookup_join("weather", "facts.member", "facts.event")
    select = Select(f"SELECT facts.position, weather.weather_key FROM {{facts}} AS facts\n{join}")
    facts = local_frame(
        spark,
        [(position, *event) for position, event in enumerate(events)],
        "position INT, member STRING, event TIMESTAMP",
    )
    relations = {"dim_weather": local_frame(spark, members, schema), "facts": facts}
    rows = sorted(tuple(row) for row in select.on(spark, relations).collect())
    assert [position for position, _ in rows] == list(range(len(events)))
    return [key for _, key in rows]


@pytest.mark.load
@pytest.mark.parametrize("number", [1, 2, 64, 65, 128, 129, 200])
def test_every_event_finds_the_version_that_holds_then(spark, read, number):
    members = versions("jfk", range(number)) + versions("ewr", range(3))
    half = timedelta(hours=12)
    events = [("jfk", day(n) + late) for n in range(number) for late in (timedelta(), half)]
    expected = [f"jfk{n + 1}" for n in range(number) for _ in range(2)]
    assert found(spark, read(), members, events) == expected


@pytest.mark.load
@pytest.mark.parametrize("number", [1, 64, 65, 130])
def test_an_event_before_all_finds_the_first_version_and_one_without_a_time_the_current_one(spark, read, number):
    events = [("jfk", day(-1)), ("jfk", day(9999)), ("jfk", None), ("lga", day(0)), (None, day(0))]
    expected = ["jfk1", f"jfk{number}", f"jfk{number}", None, None]
    assert found(spark, read(), versions("jfk", range(number)), events) == expected


@pytest.mark.load
@pytest.mark.parametrize("number", [1, 64, 65])
def test_nothing_holds_after_a_member_was_deleted(spark, read, number):
    members = versions("jfk", range(number), gone=day(number))
    events = [("jfk", day(number - 1)), ("jfk", day(number)), ("jfk", None)]
    assert found(spark, read(), members, events) == [f"jfk{number}", None, None]


def test_a_reference_may_be_named_like_a_column_unless_both_are_used(read):
    read("{operated_by: carrier}")
    read("{operated_by: carrier.carrier}")
    with pytest.raises(
        MetadataError,
        match=r"names column 'carrier', and 'carrier' is the name of a join or reference too\. Write carrier\.carrier\.",
    ):
        read("{operated_by: carrier, operator: carrier.carrier}")
