"""One Spark session for the whole run, classic or Spark Connect (LAKEHOUSE_SPARK=connect), and small fixtures."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

CONNECT = os.environ.get("LAKEHOUSE_SPARK") == "connect"
_NUMBERS = itertools.count(1)


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """The session of the run."""
    from lakehouse.engine.session import spark_session

    os.chdir(tmp_path_factory.mktemp("spark"))
    session = spark_session(small=True)
    assert ("connect" in type(session).__module__) == CONNECT
    yield session
    session.stop()


@pytest.fixture
def schema(spark: SparkSession, tmp_path: Path) -> Iterator[str]:
    """A schema of the test's own, in its own folder."""
    name = f"test_{next(_NUMBERS)}"
    spark.sql(f"CREATE SCHEMA {name} LOCATION '{tmp_path / name}'")
    yield name
    spark.sql(f"DROP SCHEMA {name} CASCADE")


@pytest.fixture
def frame(spark: SparkSession) -> Callable[..., DataFrame]:
    """A DataFrame from text: a heading of ``name:type`` cells and rows, cells split by ``|``; NULL is NULL."""

    from tests.rows import local_frame

    def make(text: str) -> DataFrame:
        lines = [[cell.strip() for cell in line.split("|")] for line in text.strip().splitlines()]
        heads = [cell.partition(":") for cell in lines[0]]
        names = [name for name, _, _ in heads]
        types = [kind or "string" for _, _, kind in heads]
        rows = [tuple(None if cell == "NULL" else cell for cell in line) for line in lines[1:]]
        text_schema = ", ".join(f"`{name}` STRING" for name in names)
        casts = [f"CAST(`{name}` AS {kind}) AS `{name}`" for name, kind in zip(names, types, strict=True)]
        return local_frame(spark, rows, text_schema).selectExpr(*casts)

    return make
