"""Helpers of the tests: small projects, deliveries as text, tables as multisets."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pyarrow as pa
from pyspark.sql.pandas.types import to_arrow_schema
from pyspark.sql.types import _parse_datatype_string

from lakehouse import BatchResult, Project, make_plan, read_project, run
from lakehouse.metadata.environment import Environment, Schemas

FIRST_DAY = datetime(2000, 1, 1, tzinfo=timezone.utc)
_NUMBERS = itertools.count(1)


def table_rows(spark, name: str, columns: str = "*", where: str = "TRUE") -> list[tuple]:
    """Rows of a table, sorted; binary as hex."""
    frame = spark.sql(f"SELECT {columns} FROM {name} WHERE {where}")
    rows = [tuple(v.hex() if isinstance(v, (bytes, bytearray)) else v for v in row) for row in frame.collect()]
    return sorted(rows, key=repr)


def local_frame(spark, rows: Sequence[Sequence[object]], schema: str):
    """A few rows as a DataFrame, by Arrow: pickled ones cost a third of a second each time a plan reads them."""
    types = _parse_datatype_string(schema)
    columns = zip(*rows, strict=True) if rows else [()] * len(types)
    arrow = to_arrow_schema(types)
    given = [pa.array(list(values), field.type) for values, field in zip(columns, arrow, strict=True)]
    return spark.createDataFrame(pa.Table.from_arrays(given, schema=arrow), types)


def multiset(spark, name: str, columns: str = "*") -> Counter:
    """A table as a multiset of its rows."""
    return Counter(table_rows(spark, name, columns))


@dataclass
class Lake:
    """A project loaded into schemas and a folder of its own; each delivery is a day after the one before."""

    spark: object
    project: Project
    folder: Path
    environment: Environment = field(init=False)
    day: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    runs: int = 0

    def __post_init__(self) -> None:
        number = next(_NUMBERS)
        schemas = Schemas(**{n: f"lake{number}_{n}" for n in ("stage", "persistent_stage", "vault", "mart")})
        paths = {name: str(self.folder / "deliveries") for name in self.project.connections}
        self.environment = Environment(name="test", warehouse=str(self.folder / "wh"), schemas=schemas, paths=paths)

    def deliver(self, **tables: str) -> None:
        """Writes one delivery: per table a CSV text."""
        folder = self.folder / "deliveries" / f"{next(self.day):03}"
        folder.mkdir(parents=True)
        for name, text in tables.items():
            lines = [line.strip() for line in text.strip().splitlines()]
            (folder / f"{name}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def run(self, *select: str, **options) -> BatchResult:
        """Runs the project, a day after the last run."""
        moment = FIRST_DAY + timedelta(days=self.runs)
        self.runs += 1
        return run(
            make_plan(self.project, select=select or ["*"]),
            environment=self.environment,
            spark=self.spark,
            now=lambda: moment,
            **options,
        )

    def load(self, **tables: str) -> BatchResult:
        """Delivers and runs; every load must succeed."""
        self.deliver(**tables)
        result = self.run()
        assert result.succeeded, [load.message for load in result.loads if load.message]
        return result

    def name(self, layer: str, table: str) -> str:
        """The quoted name of a table."""
        return self.environment.table(layer, table)

    def rows(self, layer: str, table: str, columns: str = "*", where: str = "TRUE") -> list[tuple]:
        """Rows of a table, sorted."""
        return table_rows(self.spark, self.name(layer, table), columns, where)

    def drop(self) -> None:
        """Forgets the schemas of this lake."""
        for schema in self.environment.schemas.model_dump().values():
            self.spark.sql(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


def make_lake(spark, tmp_path: Path, text: str) -> Lake:
    """A lake for a project given as the text of its lakehouse.yml."""
    folder = tmp_path / "project"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lakehouse.yml").write_text(text, encoding="utf-8")
    return Lake(spark, read_project(folder), tmp_path)
