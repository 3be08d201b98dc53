"""Loading a table of the vault or a mart from what its inputs got since its last load.

Rule: fix the head of every input once, read ``offset < load_position <= head``, commit the target, then move all offsets
together. Heads equal to offsets: no job, no commit. A load that died is repeated with the same position and slice.
"""

from __future__ import annotations

import logging
import shutil
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lakehouse.control.catalog import Catalog, Claim, Ended, Intent
from lakehouse.engine import delta
from lakehouse.engine.stage_load import subject_layout
from lakehouse.engine.workspace import Workspace, complete, empty_relation
from lakehouse.errors import LoadError
from lakehouse.metadata.environment import Relation
from lakehouse.metadata.table import OFFSET, Load
from lakehouse.names import LOAD_POSITION
from lakehouse.sql.ddl import TableDefinition
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

    def run(self) -> tuple[dict[str, int], str]:
        """Loads what is new; returns the counts, and why there was nothing if there was not."""
        claim = self.catalog.claim(self.batch_run, self.load.name, self.load.kind, str(self.load.relation))
        try:
            heads = claim.unfinished.heads if claim.unfinished else self._heads()
            if not claim.unfinished and claim.known and heads == {n: claim.offsets.get(n, 0) for n in heads}:
                message = "nothing new"
                self.catalog.end(
                    claim, Ended({}, claim.state.head, message=message, delta_version=claim.state.delta_version)
                )
                return {}, message
            return self._write(claim, heads), ""
        except BaseException as error:
            self.catalog.fail(claim, error)
            raise

    def _heads(self) -> dict[str, int]:
        tables = {str(i.relation) for i in self.load.inputs}
        fixed = {} if self.load.inputs else {"definition": _definition_mark(self.load)}
        return {**self.catalog.heads(tables), **fixed}

    def _write(self, claim: Claim, heads: Mapping[str, int]) -> dict[str, int]:
        new = not self.workspace.exists(self.load.relation)
        if new and self._fully_typed():
            self.workspace.make_table(self.load.relation, self.load.definition)
        claim = claim if new else self._adopted(claim)
        self.catalog.intend(claim, Intent(claim.position, heads, claim.run_id))
        relations = self._relations(claim, heads)
        relations["target"] = self._target(claim, new, relations)
        frame = self.load.select.on(self.workspace.spark, relations)
        definition = complete(self.load.definition, frame.schema)
        self.workspace.make_table(self.load.relation, definition)
        counted, version = self._commit(claim, frame, definition, new)
        rows = {name: counted.pop(f"{name}_rows", 0) for name in WRITTEN["merge"]}
        self._end(claim, heads, counted, rows, version)
        return counted

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
            name, key = self.workspace.name(entry.relation), str(entry.relation)
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
        if self.load.write == "append":
            return f"(SELECT * FROM {name} WHERE {LOAD_POSITION} <> {claim.position})"
        return name

    def _trusts_log(self, claim: Claim) -> bool:
        """Whether the log's marks say what the target's rows would: see ``Load.predecessors``."""
        load, subject = self.load, self.load.subject
        if load.predecessors is None or subject is None or not claim.known or claim.unfinished:
            return False
        if claim.state.rows < TRUSTED_FROM or claim.state.delta_version is None:
            return False
        log = str(load.inputs[0].relation)
        layout = subject_layout(self.workspace.project.sources[subject.source], subject)
        since = self.catalog.subject_since(log, subject.name, layout)
        if since is None or claim.offsets.get(log, 0) + 1 < since:
            return False
        return (
            delta.delta_version(self.workspace.spark, self.workspace.name(load.relation)) == claim.state.delta_version
        )

    def _commit(
        self, claim: Claim, frame: DataFrame, definition: TableDefinition, new: bool
    ) -> tuple[dict[str, int], int | None]:
        counts = {**self.load.counts, **ROWS}
        name = self.workspace.name(self.load.relation)
        if self.load.write == "append" or new:
            counted = delta.append(
                frame,
                name,
                definition.names,
                stamp=self._stamp(claim),
                counts=counts,
                keep=WRITTEN[self.load.write][:1],
            )
        else:
            counted = self._merge(claim, frame, definition, counts)
        big = claim.state.rows + counted["inserted_rows"] >= TRUSTED_FROM and self.load.predecessors is not None
        return counted, delta.delta_version(self.workspace.spark, name) if big else None

    def _stamp(self, claim: Claim) -> delta.Stamp:
        table = str(self.load.relation)
        return delta.Stamp(table, claim.state.generation, claim.position, claim.run_id, self.load.name)

    def _merge(
        self, claim: Claim, frame: DataFrame, definition: TableDefinition, counts: Mapping[str, str]
    ) -> dict[str, int]:
        """Computes the changed rows once, keeps them beside the landing files, then appends or merges them."""
        spark, name = self.workspace.spark, self.workspace.name(self.load.relation)
        path = self.workspace.changes(self.load.name, claim.run_id)
        observed, observation = delta.observe(frame, counts)
        observed.filter(_changed()).drop(*self.load.helpers).write.mode("overwrite").parquet(path)
        counted = delta.observed_counts(observation)
        if not any(counted[key] for key in ROWS):
            return counted
        schema = frame.drop(*self.load.helpers).schema
        changes = spark.read.schema(schema).parquet(path)
        if counted["updated_rows"] or counted["removed_rows"]:
            columns = [column for column in definition.names if column != LOAD_POSITION]
            select = f"(SELECT *, CAST({claim.position} AS BIGINT) AS {LOAD_POSITION} FROM {{changes}})"
            statement = merge_into(name, [*columns, LOAD_POSITION], self.load.keys, select)
            spark.sql(statement, changes=changes)
        else:
            delta.append(changes, name, definition.names, stamp=self._stamp(claim), counts=ROWS, keep=("inserted",))
        return counted

    def _end(
        self,
        claim: Claim,
        heads: Mapping[str, int],
        counts: Mapping[str, int],
        rows: Mapping[str, int],
        version: int | None,
    ) -> None:
        shutil.rmtree(self.workspace.changes(self.load.name, claim.run_id), ignore_errors=True)
        written = sum(rows.values())
        self.catalog.end(
            claim,
            Ended(
                counts,
                claim.position if written else claim.state.head,
                rows=rows["inserted"] - rows["removed"],
                delta_version=version,
                offsets=heads,
            ),
        )


def _changed() -> str:
    return "outcome IN ('inserted', 'updated', 'removed')"


def _definition_mark(load: Load) -> int:
    """A number that changes with the text of a load without inputs, so that a longer range is loaded."""
    return zlib.crc32(load.select.template.encode())
