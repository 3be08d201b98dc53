"""Loading a table of the vault or a mart from what its inputs got since its last load.

Rule: fix the head of every input once, read ``offset < load_position <= head``, commit the target, then move all offsets
together. Heads equal to offsets: no job, no commit. A load that died is repeated with the same position and slice.
"""

from __future__ import annotations

import json
import logging
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lakehouse.control.catalog import Catalog, Claim, Ended, Intent
from lakehouse.engine import delta
from lakehouse.engine.attempts import claimed, refuse_interrupted_rollback, told, without_work
from lakehouse.engine.counts import adds_up
from lakehouse.engine.stage_load import subject_layout
from lakehouse.engine.workspace import Workspace, complete
from lakehouse.errors import LoadError
from lakehouse.metadata.environment import Relation
from lakehouse.metadata.table import OFFSET, Load
from lakehouse.names import LOAD_POSITION
from lakehouse.sql.ddl import TableDefinition, empty_relation
from lakehouse.sql.write import merge_into
from lakehouse.staging.persistent_stage import log_definition

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

logger = logging.getLogger(__name__)
WRITTEN = {"append": ("inserted",), "merge": ("inserted", "updated", "removed")}
ROWS = {f"{name}_rows": f"count_if(outcome = '{name}')" for name in WRITTEN["merge"]}
TRUSTED_FROM = 50_000
"""Rows of a satellite from which on the log's marks are used instead of its own rows."""


@dataclass(frozen=True)
class TableLoad:
    """The load of one table in one workspace."""

    workspace: Workspace
    catalog: Catalog
    load: Load
    batch_run: int
    attempts: int | None = None
    """After how many failures in a row it is refused; None: it was asked for by name."""

    def run(self) -> tuple[dict[str, int], str]:
        """Loads what is new; returns the counts, and why there was nothing if there was not."""
        claim = claimed(self._claim, seconds=self.load.settings.wait_seconds)
        if not claim.executes:
            return without_work(claim)
        try:
            refuse_interrupted_rollback(claim)
            heads = claim.unfinished.heads if claim.unfinished else self._heads()
            if not claim.unfinished and claim.known and heads == {n: claim.offsets.get(n, 0) for n in heads}:
                message = "nothing new"
                self.catalog.end(
                    claim, Ended({}, claim.state.head, message=message, delta_version=claim.state.delta_version)
                )
                return {}, message
            return self._write(claim, heads), ""
        except BaseException as error:
            told(error, self.catalog, claim)
            raise

    def _claim(self) -> Claim:
        mark, load = f"{_definition_mark(self.load):08x}", self.load
        return self.catalog.claim(
            self.batch_run, load.name, load.kind, self._table, definition=mark, attempts=self.attempts
        )

    @property
    def _table(self) -> str:
        return self.workspace.id(self.load.relation)

    def _heads(self) -> dict[str, int]:
        tables = {self.workspace.id(i.relation) for i in self.load.inputs}
        fixed = {} if self.load.inputs else {"definition": _definition_mark(self.load)}
        return {**self.catalog.heads(tables), **fixed}

    def _write(self, claim: Claim, heads: Mapping[str, int]) -> dict[str, int]:
        if claim.unfinished and claim.unfinished.changes:
            return self._end(claim, heads, self._apply(claim, claim.unfinished))
        new = not self.workspace.exists(self.load.relation)
        if new and self._fully_typed():
            self.workspace.make_table(self.load.relation, self.load.definition)
        claim = claim if new else self._adopted(claim)
        intent = Intent(claim.position, heads, claim.run_id)
        self.catalog.intend(claim, intent)
        relations = self._relations(claim, heads)
        relations["target"] = self._target(claim, new, relations)
        select = self.load.select if claim.state.head else self.load.first
        frame = select.on(self.workspace.spark, relations)
        definition = complete(self.load.definition, frame.schema)
        self.workspace.make_table(self.load.relation, definition)
        if self.load.write == "append" or claim.state.head == 0:
            return self._end(claim, heads, self._append(claim, frame, definition))
        return self._end(claim, heads, self._merge(claim, intent, frame, definition))

    def _fully_typed(self) -> bool:
        return all(column.type for column in self.load.definition.columns)

    def _adopted(self, claim: Claim) -> Claim:
        if claim.known or claim.unfinished:
            return claim
        head = delta.stored_head(self.workspace.spark, self.workspace.name(self.load.relation))
        return self.catalog.adopt(claim, head) if head else claim

    def _relations(self, claim: Claim, heads: Mapping[str, int]) -> dict[str, str]:
        relations = {}
        for entry in self.load.inputs:
            name, key = self.workspace.name(entry.relation), self.workspace.id(entry.relation)
            offset, head = claim.offsets.get(key, 0), heads[key]
            low = "" if entry.whole else f"{LOAD_POSITION} > {offset} AND "
            self._make_input(entry.relation)
            relations[entry.name] = f"(SELECT * FROM {name} WHERE {low}{LOAD_POSITION} <= {head})"
            relations[entry.name + OFFSET] = str(offset)
        return relations

    def _make_input(self, relation: Relation) -> None:
        """Makes an input that has no rows yet: its source delivered nothing so far."""
        if self.workspace.exists(relation):
            return
        project = self.workspace.project
        source = project.source_of(relation)
        if source:
            definition = log_definition(project.sources[source], project.settings_of("sources", source))
        else:
            definition = project.table(relation.name).definition
        if not all(column.type for column in definition.columns):
            raise LoadError(
                f"{self.load.name}: its input {relation} was never loaded. Load it first, or select +{self.load.name}."
            )
        self.workspace.make_table(relation, definition)

    def _target(self, claim: Claim, new: bool, relations: Mapping[str, str]) -> str:
        """The target as the SELECT sees it: nothing, what the log proves, or the whole table before this position."""
        name = self.workspace.name(self.load.relation)
        if new and not self._fully_typed():
            return empty_relation(self.load.definition)
        if self._trusts_log(claim):
            assert self.load.predecessors is not None
            return f"({self.load.predecessors.text(**relations)})"
        if self.load.write == "append" or claim.state.head == 0:
            return f"(SELECT * FROM {name} WHERE {LOAD_POSITION} <> {claim.position})"
        return name

    def _trusts_log(self, claim: Claim) -> bool:
        """Whether the log's marks say what the target's rows would: see ``Load.predecessors``."""
        load, subject = self.load, self.load.subject
        if load.predecessors is None or subject is None or not claim.known or claim.unfinished:
            return False
        if claim.state.rows < TRUSTED_FROM or claim.state.delta_version is None:
            return False
        log = self.workspace.id(load.inputs[0].relation)
        layout = subject_layout(self.workspace.project.sources[subject.source], subject)
        since = self.catalog.subject_since(log, subject.name, layout)
        if since is None or claim.offsets.get(log, 0) + 1 < since:
            return False
        return (
            delta.delta_version(self.workspace.spark, self.workspace.name(load.relation)) == claim.state.delta_version
        )

    def _append(self, claim: Claim, frame: DataFrame, definition: TableDefinition) -> dict[str, int]:
        """Appends the new rows; a load that died is repeated without the rows that it may have committed."""
        return delta.append(
            frame,
            self.workspace.name(self.load.relation),
            definition.names,
            stamp=self._stamp(claim),
            counts={**self.load.counts, **ROWS},
            keep=WRITTEN[self.load.write][:1],
        )

    def _stamp(self, claim: Claim) -> delta.Stamp:
        return delta.Stamp(self._table, claim.state.generation, claim.position, claim.run_id, self.load.name)

    def _merge(self, claim: Claim, intent: Intent, frame: DataFrame, definition: TableDefinition) -> dict[str, int]:
        """Computes the changed rows once and keeps them beside the landing files, so that a restart writes the same."""
        path = self.workspace.changes(self.load.name, claim.run_id)
        observed, observation = delta.observe(frame, {**self.load.counts, **ROWS})
        changed = observed.filter(_changed()).drop(*self.load.helpers)
        changed.write.mode("overwrite").parquet(path)
        counted = delta.observed_counts(observation)
        if not any(counted[key] for key in ROWS):
            return counted
        changes = {"path": path, "counts": counted, "columns": definition.names, "schema": changed.schema.json()}
        intent = replace(intent, changes=changes)
        self.catalog.intend(claim, intent)
        return self._apply(claim, intent)

    def _apply(self, claim: Claim, intent: Intent) -> dict[str, int]:
        """Writes the kept changes: an append where every row is new, otherwise a MERGE, which may be done twice."""
        from pyspark.sql.types import StructType

        kept, name = intent.changes or {}, self.workspace.name(self.load.relation)
        counted, columns = dict(kept["counts"]), tuple(kept["columns"])
        self.workspace.exists(self.load.relation)
        schema = StructType.fromJson(json.loads(kept["schema"]))
        changes = self.workspace.spark.read.schema(schema).parquet(kept["path"])
        if not counted["updated_rows"] and not counted["removed_rows"]:
            delta.append(changes, name, columns, stamp=self._stamp(claim), counts=ROWS, keep=("inserted",))
            return counted
        values = [column for column in columns if column != LOAD_POSITION]
        select = f"(SELECT *, CAST({claim.position} AS BIGINT) AS {LOAD_POSITION} FROM {{changes}})"
        statement = merge_into(name, [*values, LOAD_POSITION], self.load.keys, select)
        self.workspace.spark.sql(statement, changes=changes)
        return counted

    def _end(self, claim: Claim, heads: Mapping[str, int], counted: Mapping[str, int]) -> dict[str, int]:
        rows = {name: counted.get(f"{name}_rows", 0) for name in WRITTEN["merge"]}
        counts = {name: value for name, value in counted.items() if name not in ROWS}
        ended = Ended(
            counts,
            claim.position if sum(rows.values()) else claim.state.head,
            rows=rows["inserted"] - rows["removed"],
            delta_version=self._version(claim, rows),
            offsets=heads,
            reconciled=adds_up(counts),
        )
        self.catalog.end(claim, ended)
        for run_id in {claim.run_id, claim.unfinished.row_audit_id if claim.unfinished else claim.run_id}:
            shutil.rmtree(self.workspace.changes(self.load.name, run_id), ignore_errors=True)
        return counts

    def _version(self, claim: Claim, rows: Mapping[str, int]) -> int | None:
        """The Delta version after this load, where the next load or a rollback asks for it."""
        big = claim.state.rows + rows["inserted"] >= TRUSTED_FROM and self.load.predecessors is not None
        if self.load.write == "append" and not big:
            return None
        return delta.delta_version(self.workspace.spark, self.workspace.name(self.load.relation))


def _changed() -> str:
    return "outcome IN ('inserted', 'updated', 'removed')"


def _definition_mark(load: Load) -> int:
    """A number that changes with the text of a load without inputs, so that a longer range is loaded."""
    return zlib.crc32(load.select.template.encode())
