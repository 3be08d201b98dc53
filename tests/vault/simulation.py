"""A source's log and one table's load without Delta: snapshots in, the rows that the load would keep out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from lakehouse.metadata.table import OFFSET, Load
from lakehouse.sql.ddl import empty_relation
from tests.rows import local_frame

FIRST = datetime(2024, 1, 1)
STAMPS = "load_datetime TIMESTAMP, applied_datetime TIMESTAMP, record_source STRING, row_audit_id BIGINT, change_type STRING, load_position BIGINT"


@dataclass
class Log:
    """A persistent stage table: rows of the source's columns, the first of them the key, then the stamps."""

    columns: str
    keys: int = 1
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    live: dict[tuple[Any, ...], tuple[Any, ...]] = field(default_factory=dict)
    position: int = 0

    def snapshot(self, *rows: tuple[Any, ...]) -> None:
        """A full delivery, a day after the one before: what changed is I, U or D."""
        self.position += 1
        now = {row[: self.keys]: row for row in rows}
        for key, row in now.items():
            if self.live.get(key) != row:
                self._tell(row, "U" if key in self.live else "I")
        for key, row in self.live.items():
            if key not in now:
                self._tell(row, "D")
        self.live = now

    def versions(self, *rows: tuple[Any, ...]) -> None:
        """New versions of rows in one delivery; several of one key stand a microsecond apart."""
        self.position += 1
        seen: Counter[tuple[Any, ...]] = Counter()
        for row in rows:
            key = row[: self.keys]
            self._tell(row, "U" if key in self.live else "I", seen[key])
            seen[key] += 1
            self.live[key] = row

    def _tell(self, row: tuple[Any, ...], change: str, micros: int = 0) -> None:
        moment = FIRST + timedelta(days=self.position - 1, microseconds=micros)
        self.rows.append((*row, moment, moment, "crm", self.position, change, self.position))

    def frame(self, spark: Any, low: int, high: int) -> Any:
        """The rows of these positions."""
        rows = [row for row in self.rows if low < row[-1] <= high]
        return local_frame(spark, rows, f"{self.columns}, {STAMPS}")


@dataclass
class Simulation:
    """One table, loaded from a log step by step."""

    spark: Any
    load: Load
    log: Log
    stored: list[tuple[Any, ...]] = field(default_factory=list)
    offset: int = 0

    def run(self, head: int | None = None) -> Counter[str]:
        """Loads what came up to a position; the outcomes."""
        head = self.log.position if head is None else head
        source = self.load.inputs[0]
        low = 0 if source.whole else self.offset
        relations = {
            source.name: self.log.frame(self.spark, low, head),
            source.name + OFFSET: str(self.offset),
            "target": self._target(),
        }
        found = self.load.select.on(self.spark, relations).collect()
        names = [name for name in self.load.definition.names if name != "load_position"]
        kept = [(*(row[name] for name in names), head) for row in found if row["outcome"] in ("inserted", "updated")]
        if self.load.write == "merge":
            where = [self.load.definition.names.index(key) for key in self.load.keys]
            new = {tuple(row[i] for i in where) for row in kept}
            self.stored = [row for row in self.stored if tuple(row[i] for i in where) not in new]
        self.stored += kept
        self.offset = head
        return Counter(row["outcome"] for row in found)

    def again(self, since: int = 0) -> Counter[str]:
        """Loads everything after a position once more."""
        self.offset = since
        return self.run()

    def rows(self, *names: str) -> list[tuple[Any, ...]]:
        """Some columns of the stored rows, sorted; days as their number, microseconds as a fraction."""
        where = [self.load.definition.names.index(name) for name in names]
        return sorted((tuple(_told(row[i]) for i in where) for row in self.stored), key=repr)

    def contents(self) -> Counter[tuple[Any, ...]]:
        """The stored rows as a multiset, with every column but the position."""
        return Counter(tuple(_told(value) for value in row[:-1]) for row in self.stored)

    def _target(self) -> Any:
        if not self.stored:
            return empty_relation(self.load.definition)
        schema = ", ".join(f"`{column.name}` {column.type}" for column in self.load.definition.columns)
        return local_frame(self.spark, self.stored, schema)


def _told(value: Any) -> Any:
    if isinstance(value, datetime):
        if value.year == 9999:
            return "open"
        days = (value - FIRST) // timedelta(days=1) + 1
        micros = (value - FIRST) % timedelta(days=1) // timedelta(microseconds=1)
        return f"{days}.{micros}" if micros else days
    return value.hex() if isinstance(value, (bytes, bytearray)) else value
