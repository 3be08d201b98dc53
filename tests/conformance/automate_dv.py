"""Runs AutomateDV's acceptance tests, given as data, against this library: ``python -m tests.conformance.automate_dv FILE…``.

Every scenario becomes a project with the ``automate_dv`` preset; its stages are prepared and its tables loaded by the public
functions for external stages, on local Delta tables. One line per scenario, then a count per kind; exit status 1 if one fails.
"""

from __future__ import annotations

import collections
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

import lakehouse
from lakehouse.errors import LakehouseError
from lakehouse.metadata.table import Load
from lakehouse.names import ACTIVE_FLAG, DELETED_FLAG, ENDS_AT, LOAD_DATETIME, LOAD_POSITION
from tests.conformance.scenario import Cell, Hashed, Stage, cell, column, data_type, listed, source_metadata, stages
from tests.conformance.structures import DATES, Neighbours, Structure, bridge, point_in_time, staged, structure, tracked
from tests.rows import local_frame

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

VAULT_KINDS = {"HUB": "hub", "LINK": "link", "SAT": "sat", "MA_SAT": "ma_sat", "EFF_SAT": "eff_sat", "T_LINK": "t_link",
               "XTS": "xts", "PIT": "pit", "BRIDGE": "bridge"}  # fmt: skip
ORDER = ("hub", "link", "t_link", "sat", "ma_sat", "eff_sat", "xts", "pit", "bridge")
GHOST_KEYS = frozenset({"0" * 16, "0" * 32})
"""A point-in-time table without ghost records points at sixteen zeros in the original, at the zero key here."""


class DifferenceError(AssertionError):
    """A table is not as expected."""


class Runner:
    """One scenario on one schema."""

    def __init__(self, spark: SparkSession, scenario: Mapping[str, Any], schema: str, folder: Path) -> None:
        self.spark, self.scenario, self.schema, self.folder = spark, scenario, schema, folder
        self.metadata = scenario["metadata"]
        self.said: dict[str, Any] = {
            k: dict(v) for k, v in (self.metadata.get("vault_structure_columns") or {}).items()
        }
        self.stages = {name: stage.copy() for name, stage in stages(self.metadata).items()}
        self.raw: dict[str, DataFrame] = {}
        self.latest_raw: str | None = None
        self.staged: dict[str, DataFrame] = {}
        self.static: dict[str, DataFrame] = {}
        self.kinds: dict[str, str] = {}
        self.existing: set[str] = set()
        self.first: set[str] = set()
        self.vault: list[tuple[str, str]] = []
        self.loaded: dict[str, Structure] = {}
        self.projects = 0

    def run(self) -> None:
        """All actions in order."""
        for action in self.scenario["actions"]:
            getattr(self, f"do_{action['action']}")(action)

    # what is given

    def types(self, table: str) -> dict[str, str]:
        config = (self.metadata.get("seed_config") or {}).get(table) or {}
        return {name: data_type(kind) for name, kind in (config.get("column_types") or {}).items()}

    def type_of(self, table: str, name: str) -> str:
        """A column's type: as this table declares it, or any other of the scenario."""
        own = self.types(table)
        if name in own:
            return own[name]
        every = (self.types(other) for other in self.metadata.get("seed_config") or {})
        return next((types[name] for types in every if name in types), "string")

    def frame(self, rows: Sequence[Sequence[Any]], columns: Mapping[str, str]) -> DataFrame:
        """Rows of text as typed columns."""
        text = ", ".join(f"`{name}` STRING" for name in columns)
        cells: list[list[Cell]] = [[cell(value) for value in row] for row in rows]
        typed = [f"CAST(`{name}` AS {kind}) AS `{name}`" for name, kind in columns.items()]
        return local_frame(self.spark, cells, text).selectExpr(*typed)

    def do_source_data(self, action: Mapping[str, Any]) -> None:
        table = action["table"]
        names = {name: self.type_of(table, name) for name in action["columns"]}
        self.raw[table] = self.frame(action.get("rows") or [], {column(n): kind for n, kind in names.items()})
        self.latest_raw = table

    def do_empty_raw_stage(self, action: Mapping[str, Any]) -> None:
        columns = {column(name): kind for name, kind in self.types(action["table"]).items()}
        self.raw[action["table"]], self.latest_raw = self.frame([], columns), action["table"]

    def do_empty_stage(self, action: Mapping[str, Any]) -> None:
        if self.latest_raw is not None:
            self.do_stage(action)

    def do_static_table(self, action: Mapping[str, Any]) -> None:
        names = {column(name): "timestamp" for name in action["columns"]}
        self.static[action["table"]] = self.frame(action.get("rows") or [], names)

    # stages

    def do_stage(self, action: Mapping[str, Any]) -> None:
        name = action["table"]
        assert self.latest_raw is not None
        rows = self.raw[self.latest_raw]
        types = {field.name.removeprefix("x_"): field.dataType.simpleString() for field in rows.schema}
        stage = self.stages.setdefault(name, Stage())
        known = {k: v for k, v in stage.hashed.items() if v.exclude or _there(v.columns, types, stage)}
        present = Stage(**{**vars(stage), "hashed": known})
        source = source_metadata(present, types)
        project = self.project({"sources": {name: source}})
        prepared = lakehouse.prepare(project, name, rows, spark=self.spark)
        if not stage.source_columns:
            made = [column(n) for n in (*stage.derived, *stage.hashed, *stage.ranked)]
            prepared = prepared.select(*[f"`{n}`" for n in prepared.columns if n in made])
        self.staged[name] = prepared.localCheckpoint()

    def do_set_hashed(self, action: Mapping[str, Any]) -> None:
        stage = self.stages.setdefault(action["table"], Stage())
        stage.hashed = {
            n: Hashed.of(v) for row in action["rows"] for n, v in zip(action["columns"], row, strict=True) if v
        }

    def do_set_derived(self, action: Mapping[str, Any]) -> None:
        stage = self.stages.setdefault(action["table"], Stage())
        stage.derived = {n: v for row in action["rows"] for n, v in zip(action["columns"], row, strict=True) if v}

    def do_set_null(self, action: Mapping[str, Any]) -> None:
        stage = self.stages.setdefault(action["table"], Stage())
        for row in action["rows"]:
            given = dict(zip(action["columns"], row, strict=True))
            stage.required += listed(given.get("REQUIRED"))
            stage.optional += listed(given.get("OPTIONAL"))
        stage.required_as = str(action.get("null_key_required", "-1"))
        stage.optional_as = str(action.get("null_key_optional", "-2"))

    def do_set_ranked(self, action: Mapping[str, Any]) -> None:
        stage = self.stages.setdefault(action["table"], Stage())
        for row in action["rows"]:
            given = {name.lower(): value for name, value in zip(action["columns"], row, strict=True)}
            stage.ranked[given.pop("name")] = given

    def do_set_rank_column(self, action: Mapping[str, Any]) -> None:
        stage = self.stages.setdefault(action["table"], Stage())
        stage.ranked[action["rank_column"]] = dict(action)

    def do_no_source_cols(self, action: Mapping[str, Any]) -> None:
        for stage in self.stages.values():
            stage.source_columns = False

    # tables

    def do_drop(self, action: Mapping[str, Any]) -> None:
        self.spark.sql(f"DROP TABLE IF EXISTS {self.place(action['table'])}")
        self.existing.discard(action["table"])

    def do_create_empty(self, action: Mapping[str, Any]) -> None:
        table, kind = action["table"], action.get("structure", "")
        if kind in ("stage", "raw_stage", "") or table not in self.said:
            columns = {column(name): own for name, own in self.types(table).items()}
            self.raw[table], self.latest_raw = self.frame([], columns), table
            return
        self.kinds[table] = kind
        types = {name: self.type_of(table, name) for name in (*self.types(table), *self.staged_names(table))}
        empty = self.frame([], {column(name): own for name, own in types.items()})
        self.load(table, kind, [empty])

    def staged_names(self, table: str) -> list[str]:
        """The columns that a table's metadata names."""
        said = self.said[table]
        if "src_satellite" in said:
            own = [name for names in tracked(said) for name in names.values()]
            extra = listed(said.get("src_extra_columns"))
            return [*listed(said["src_pk"]), *own, *extra, said["src_ldts"], said["src_source"]]
        named = (value for key, value in said.items() if key.startswith("src_") and not isinstance(value, Mapping))
        return [name for value in named for name in listed(value)]

    def do_populate(self, action: Mapping[str, Any]) -> None:
        table, kind = action["table"], action["structure"]
        names = {name: self.type_of(table, name) for name in action["columns"]}
        rows = self.frame(action.get("rows") or [], {column(n): own for n, own in names.items()})
        self.kinds[table] = kind
        if rows.isEmpty():
            self.do_create_empty(action)
            return
        if kind not in ("sat", "ma_sat", "eff_sat"):
            self.do_drop({"table": table})
            self.load(table, kind, [rows])
            return
        found, load = self.resolve(table, kind, rows)
        back = {here: column(there) for there, here in found.columns.items()}
        selected = []
        for target in load.definition.columns:
            value = (
                f"`{back[target.name]}`"
                if back.get(target.name) in rows.columns
                else _default(target.name, target.type)
            )
            if target.name == ACTIVE_FLAG:
                value = f"`{back[ENDS_AT]}` >= DATE'9999-12-31'"
            selected.append(f"CAST({value} AS {target.type or 'STRING'}) AS `{target.name}`")
        self.spark.sql(f"DROP TABLE IF EXISTS {self.place(table)}")
        lakehouse.load(load, source=self.stamped(rows.limit(0), table), spark=self.spark, target=self.place(table))
        rows.selectExpr(*selected).writeTo(self.place(table)).append()
        self.existing.add(table)
        self.loaded[table] = found

    def do_payload_all(self, action: Mapping[str, Any]) -> None:
        self.said[action["table"]]["src_payload"] = {"exclude_columns": []}

    def do_payload_exclude(self, action: Mapping[str, Any]) -> None:
        self.said[action["table"]]["src_payload"] = {"exclude_columns": [row[0] for row in action["rows"]]}

    # loads

    def do_load(self, action: Mapping[str, Any]) -> None:
        self.load(action["table"], action["structure"], self.taken(action["table"]))

    def taken(self, table: str) -> list[DataFrame]:
        """The stages that a table takes: those it names, or all that are staged; one only where unions are disabled."""
        named = [name for name in listed(self.said[table].get("source_model")) if name in self.staged]
        frames = [self.staged[name] for name in named] or list(self.staged.values())
        return frames[-1:] if "disable_union" in self.scenario["tags"] else frames

    def do_empty_vault(self, action: Mapping[str, Any]) -> None:
        for row in action["rows"]:
            for heading, table in zip(action["columns"], row, strict=True):
                if table:
                    self.vault.append((VAULT_KINDS[heading], table))
        for _, table in self.vault:
            self.do_drop({"table": table})

    def do_load_vault(self, action: Mapping[str, Any]) -> None:
        for kind, table in sorted(self.vault, key=lambda entry: ORDER.index(entry[0])):
            if kind in ("pit", "bridge"):
                self.load_over_vault(table, kind)
            else:
                self.load(table, kind, self.taken(table))

    def do_load_period(self, action: Mapping[str, Any]) -> None:
        place = column(action.get("ldts") or self.said[action["table"]]["src_ldts"])
        self.in_batches(action, place, period=action["period"], start=action.get("start"), stop=action.get("stop"))

    def do_load_rank(self, action: Mapping[str, Any]) -> None:
        ranks = [name for stage in self.stages.values() for name in stage.ranked]
        self.in_batches(action, column(ranks[-1]))

    def in_batches(self, action: Mapping[str, Any], place: str, **bounds: Any) -> None:
        """The first call on a missing table loads the first bucket, the next one the others."""
        table, kind = action["table"], action["structure"]
        rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), self.taken(table))
        buckets = list(lakehouse.batches(rows, place, **bounds))
        first = table not in self.existing
        if not buckets:
            self.load(table, kind, [rows.limit(0)])
        for bucket in buckets[:1] if first else buckets:
            self.load(table, kind, [bucket])

    def do_load_period_error(self, action: Mapping[str, Any]) -> None:
        try:
            for _ in range(2):
                self.do_load_period(action)
        except LakehouseError as error:
            if action["message"].lower() not in str(error).lower():
                raise DifferenceError(f"another error than '{action['message']}': {error}") from error
            return
        raise DifferenceError(f"no error, expected '{action['message']}'")

    def load(self, table: str, kind: str, frames: list[DataFrame]) -> None:
        """Loads a table from the union of frames."""
        if kind == "xts":
            frames = [_as_tracked(frame, names) for frame in frames for names in tracked(self.said[table])]
        rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), frames)
        if "full_refresh" in self.metadata["settings"] or "fixture.enable_full_refresh" in self.scenario["tags"]:
            self.do_drop({"table": table})
        found, load = self.resolve(table, kind, rows)
        lakehouse.load(load, source=self.stamped(rows, table), spark=self.spark, target=self.place(table))
        self.existing.add(table)
        self.loaded[table] = found

    def resolve(self, table: str, kind: str, rows: DataFrame) -> tuple[Structure, Load]:
        """The table as metadata here and its load; the source has the columns of the rows."""
        self.kinds[table] = kind
        names = [name.removeprefix("x_") for name in rows.columns]
        found = self.structure(table, kind, names)
        project = self.project({"sources": {staged(table): _source(rows)}, "tables": found.tables})
        return found, project.table(table)

    def structure(self, table: str, kind: str, names: list[str], beside: Neighbours | None = None) -> Structure:
        automatic = bool(self.metadata["settings"].get("is_auto_end_dating"))
        base = table not in self.existing
        return structure(kind, table, self.said[table], stage=names, base=base, automatic=automatic, beside=beside)

    def load_over_vault(self, table: str, kind: str) -> None:
        """A table over the tables of the vault: they are all in one project."""
        said = self.said[table]
        dates = self.static[said["as_of_dates_table"]]
        date = dates.columns[0].removeprefix("x_")
        sources: dict[str, Any] = {DATES: _source(dates)}
        tables: dict[str, Any] = {}
        others = [(k, t) for k, t in self.vault if k not in ("pit", "bridge")]
        keys = {tuple(listed(self.said[t]["src_pk"])): t for k, t in others if k in ("hub", "link", "t_link")}
        for other_kind, other in others:
            rows = reduce(lambda a, b: a.unionByName(b, allowMissingColumns=True), self.taken(other))
            sources[staged(other)] = _source(rows)
            names = [name.removeprefix("x_") for name in rows.columns]
            tables |= self.structure(other, other_kind, names, Neighbours(keys)).tables
        found = (point_in_time if kind == "pit" else bridge)(table, said, date)
        project = self.project({"sources": sources, "tables": {**tables, **found.tables}})
        given: dict[str, DataFrame | str] = {other: self.place(other) for _, other in others}
        stamped = dates.selectExpr("*", f"TIMESTAMP'1900-01-01' AS {LOAD_DATETIME}", "'dates' AS record_source")
        given[DATES] = stamped
        load = project.table(table)
        needed = {entry.name: given[entry.name] for entry in load.inputs}
        lakehouse.load(load, source=needed, spark=self.spark, target=self.place(table))
        self.kinds[table] = kind
        self.loaded[table] = found

    def stamped(self, rows: DataFrame, table: str) -> DataFrame:
        """The rows with this library's names for the stamps; the columns of the original stay beside them."""
        said = self.said[table]
        stamps = {LOAD_DATETIME: said["src_ldts"], "record_source": said.get("src_source"), "applied_datetime": said.get("src_eff")}  # fmt: skip
        types = {"record_source": "STRING"}
        given = [
            f"CAST(`{column(name)}` AS {types.get(own, 'TIMESTAMP')}) AS {own}"
            for own, name in stamps.items()
            if name and column(name) in rows.columns
        ]
        return rows.selectExpr("*", *given)

    def project(self, metadata: Mapping[str, Any]) -> lakehouse.Project:
        """A project with this metadata, read from its YAML as any other."""
        self.projects += 1
        folder = self.folder / str(self.projects)
        folder.mkdir()
        text = {"connections": {"external": {"kind": "delta"}}, **metadata, "settings": self.settings()}
        (folder / "lakehouse.yml").write_text(yaml.safe_dump(text, sort_keys=False), encoding="utf-8")
        return lakehouse.read_project(folder)

    def settings(self) -> dict[str, Any]:
        said = self.metadata["settings"]
        found: dict[str, Any] = {"hashing": "automate_dv", "hash_algorithm": str(said.get("hash", "MD5")).lower()}
        if str(said.get("hash_content_casing", "UPPER")).upper() == "DISABLED":
            found["hash_casing"] = "keep"
        if said.get("enable_ghost_records"):
            found |= {
                "ghost_records": True,
                "ghost_record_source": said.get("system_record_value", "AUTOMATE_DV_SYSTEM"),
            }
        return found

    def place(self, table: str) -> str:
        return f"{self.schema}.`{table.lower()}`"

    # what is expected

    def do_expect(self, action: Mapping[str, Any]) -> None:
        table, names = action["table"], action["columns"]
        if table in self.loaded:
            here = self.loaded[table].columns
            rows = self.spark.table(self.place(table)).selectExpr(
                *[f"`{here.get(n, column(n))}` AS `{n}`" for n in names]
            )
        else:
            rows = self.staged[table].selectExpr(*[f"`{column(n)}` AS `{n}`" for n in names])
        types = {name: self.compared_as(table, name) for name in names}
        text = [f"CAST(CAST(`{name}` AS {kind}) AS STRING) AS `{name}`" for name, kind in types.items()]
        found = collections.Counter(self.normal(table, tuple(row)) for row in rows.selectExpr(*text).collect())
        wanted_rows = self.frame(action.get("rows") or [], types).selectExpr(*text).collect()
        wanted = collections.Counter(self.normal(table, tuple(row)) for row in wanted_rows)
        if found != wanted:
            missing, extra = list((wanted - found).elements()), list((found - wanted).elements())
            raise DifferenceError(
                f"{table}: missing {missing[:2]} ({len(missing)}), not expected {extra[:2]} ({len(extra)})"
            )

    def compared_as(self, table: str, name: str) -> str:
        kind = self.type_of(table, name)
        return "timestamp" if self.kinds.get(table) in ("pit", "bridge") and kind == "date" else kind

    def normal(self, table: str, row: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.kinds.get(table) != "pit":
            return row
        return tuple("0" * 32 if value in GHOST_KEYS else value for value in row)


def _there(names: Sequence[str], types: Mapping[str, str], stage: Stage) -> bool:
    """Whether a raw table has the columns of a hash; a scenario's metadata may name more stages than it fills."""
    known = {name.lower() for name in (*types, *stage.derived)}
    return all(name.lower() in known or name.startswith("!") for name in names)


def _as_tracked(frame: DataFrame, names: Mapping[str, str]) -> DataFrame:
    """The stage as one tracked satellite sees it: its name and hash diff under the names that all share."""
    others = [name for name in frame.columns if name not in {column(target) for target in names}]
    made = [f"`{column(own)}` AS `{column(target)}`" for target, own in names.items()]
    return frame.selectExpr(*[f"`{name}`" for name in others], *made)


def _source(rows: DataFrame) -> dict[str, Any]:
    columns = {field.name: field.dataType.simpleString() for field in rows.schema}
    return {"connection": "external", "object": "staged", "key": next(iter(columns)), "columns": columns}


def _default(name: str, kind: str) -> str:
    return {DELETED_FLAG: "FALSE", LOAD_POSITION: "0"}.get(name, f"CAST(NULL AS {kind or 'STRING'})")


def run(spark: SparkSession, scenario: Mapping[str, Any], schema: str) -> str | None:
    """Runs one scenario; what differs, or None where it passes."""
    spark.sql(f"CREATE SCHEMA {schema}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            Runner(spark, scenario, schema, Path(folder)).run()
    except DifferenceError as difference:
        return str(difference)
    except Exception as error:  # any error is a failed scenario, told with its first line
        return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:300]}"
    finally:
        spark.sql(f"DROP SCHEMA {schema} CASCADE")
    return None


def main(files: Sequence[str]) -> int:
    """All scenarios of the files."""
    spark = lakehouse.spark_session(small=True)
    passed: collections.Counter[str] = collections.Counter()
    failed: collections.Counter[str] = collections.Counter()
    scenarios = [s for file in files for s in json.loads(Path(file).read_text(encoding="utf-8"))]
    for number, scenario in enumerate(scenarios):
        told = run(spark, scenario, f"conformance_{number}")
        (failed if told else passed)[scenario["kind"]] += 1
        print(
            f"{scenario['kind']} {scenario['file']}:{scenario['line']} {'failed: ' + told if told else 'passed'}",
            flush=True,
        )
    for kind in dict.fromkeys(s["kind"] for s in scenarios):
        print(f"{kind}: {passed[kind]} passed, {failed[kind]} failed")
    print(f"all: {passed.total()} passed, {failed.total()} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
