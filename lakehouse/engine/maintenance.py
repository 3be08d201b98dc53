"""Going back and starting over: rollback of a run, reload and rebuild of a table, housekeeping.

Rule: what is taken out is written down before (an intent), so that an interrupted rollback is finished before anything else
is loaded; consumers go back before what they read; positions are never used again and the generation goes up, so that Delta
does not skip a repeated write.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from lakehouse.control.catalog import Catalog, Intent, Written
from lakehouse.engine import delta
from lakehouse.engine.stage_load import QUARANTINE_TABLE
from lakehouse.engine.workspace import Workspace
from lakehouse.errors import ControlError, MetadataError, suggestion
from lakehouse.metadata.environment import Relation
from lakehouse.names import LOAD_DATETIME, LOAD_POSITION, ROW_AUDIT_ID
from lakehouse.sql.identifiers import literal
from lakehouse.vault.collisions import collision_select

DAY = 86_400


@dataclass(frozen=True)
class Maintenance:
    """What is done to a workspace's tables beside loading them."""

    workspace: Workspace
    catalog: Catalog

    def collisions(self, table: str) -> tuple[int, int]:
        """How many business keys a hub or link has over all that was ever delivered, and how many share a hash key.

        Raises:
            MetadataError: there is no such hub or link.
        """
        project = self.workspace.project
        keyed = project.keyed(table)
        if keyed is None:
            known = [name for name in project.tables if project.keyed(name)]
            raise MetadataError(f"no hub or link '{table}'. {suggestion(table, known)}")
        logs = {source: project.log(source) for source, _ in keyed.key_arms(project)}
        missing = [source for source, log in logs.items() if not self.workspace.exists(log)]
        if missing:
            raise MetadataError(f"'{table}' was never loaded from {', '.join(missing)}. Run them first.")
        names = {source: self.workspace.name(log) for source, log in logs.items()}
        row = collision_select(keyed, project).on(self.workspace.spark, names).collect()[0]
        return int(row["business_keys"]), int(row["collisions"])

    # rollback ----------------------------------------------------------------------------------------------------

    def rollback(self, run_id: int) -> list[str]:
        """Takes out what a batch run wrote, last load first; tells per table what was done.

        Raises:
            ControlError: the run still executes, or a later run wrote one of its tables or read from it.
        """
        written = self.catalog.written_by(run_id)

        def work(batch_run: int) -> list[str]:
            return [self._take_back(batch_run, run_id, entry) for entry in written]

        return self._as_batch("rollback", work)

    def _as_batch(self, name: str, work: Callable[[int], list[str]]) -> list[str]:
        started = self.catalog.start_batch(name, restart=False)
        if not started.executes:
            raise ControlError(started.message)
        try:
            told = work(started.run_id)
        except BaseException as error:
            self.catalog.end_batch(started.run_id, "F", str(error).splitlines()[0][:500] if str(error) else "")
            raise
        self.catalog.end_batch(started.run_id, "S", "; ".join(told)[:500])
        return told

    def _take_back(self, batch_run: int, run_id: int, written: Written) -> str:
        name = f"{written.object} (rollback)"
        claim = self.catalog.claim(batch_run, name, "rollback", written.table, attempts=None)
        intent = Intent(claim.position, {}, written.row_audit_id, rolls_back=run_id)
        self.catalog.intend(claim, intent)
        told, before = self._take_out(written)
        self.catalog.put_back(claim, replace(written, before=before))
        return f"{written.table}: {told}"

    def _take_out(self, written: Written) -> tuple[str, Mapping[str, Any]]:
        """Takes the rows out; returns what was done and the state that the table then has."""
        relation, before = self._relation(written), written.before
        if not self.workspace.exists(relation):
            return "there is no table", before
        if written.kind == "source":
            self._take_out_quarantined(written)
        elif self.workspace.project.table(relation.name).write == "merge":
            return self._undo_merge(relation, written)
        return self._delete(relation, f"{LOAD_POSITION} > {int(before['head'])}"), before

    def _relation(self, written: Written) -> Relation:
        project = self.workspace.project
        if written.kind == "source":
            return project.log(written.object)
        return project.table(written.object).relation

    def _delete(self, relation: Relation, condition: str) -> str:
        self.workspace.spark.sql(f"DELETE FROM {self.workspace.name(relation)} WHERE {condition}")
        return "its rows were taken out"

    def _take_out_quarantined(self, written: Written) -> None:
        if self.workspace.exists(QUARANTINE_TABLE):
            source = literal(written.object)
            self._delete(QUARANTINE_TABLE, f"{ROW_AUDIT_ID} = {written.row_audit_id} AND source = {source}")
        shutil.rmtree(self.workspace.landing(written.object, written.row_audit_id), ignore_errors=True)

    def _undo_merge(self, relation: Relation, written: Written) -> tuple[str, Mapping[str, Any]]:
        """Rows were changed in place: Delta's own history where this load is its last commit, otherwise all anew."""
        name, before = self.workspace.name(relation), written.before
        version, head = before["delta_version"], int(before["head"])
        last = delta.delta_version(self.workspace.spark, name)
        if head and last == version:
            return "nothing was changed", before
        if head and version is not None and last == (written.version_after or last):
            self.workspace.spark.sql(f"RESTORE TABLE {name} TO VERSION AS OF {int(version)}")
            return f"back at its version {version}", before
        self._delete(relation, "TRUE")
        told = "emptied; the next run loads all of it anew" if head else "its rows were taken out"
        return told, {**before, "offsets": {}, "row_total": 0}

    # reload and rebuild ------------------------------------------------------------------------------------------

    def reload(self, table: str, since: datetime | None = None) -> list[str]:
        """Sets the offsets of a table back, to the beginning or to a load date-time; its rows stay."""
        return self._start_over(table, since, empty=False)

    def rebuild(self, table: str) -> list[str]:
        """Empties a table and sets its offsets back to the beginning."""
        return self._start_over(table, None, empty=True)

    def _start_over(self, name: str, since: datetime | None, *, empty: bool) -> list[str]:
        project = self.workspace.project
        if name not in project.tables:
            known = "a source is the history itself; roll its runs back instead" if name in project.sources else ""
            raise MetadataError(f"no table '{name}'. {known or suggestion(name, project.tables)}")
        load = project.table(name)
        offsets = {self.workspace.id(i.relation): self._offset(i.relation, since) for i in load.inputs}

        def work(batch_run: int) -> list[str]:
            claim = self.catalog.claim(
                batch_run, f"{name} (reload)", "reload", self.workspace.id(load.relation), attempts=None
            )
            self.catalog.start_over(claim, offsets, empty=empty)
            if empty and self.workspace.exists(load.relation):
                self._delete(load.relation, "TRUE")
            return [f"{load.relation}: reads again from {since or 'the beginning'}"]

        return self._as_batch("reload", work)

    def _offset(self, relation: Relation, since: datetime | None) -> int:
        if since is None or not self.workspace.exists(relation):
            return 0
        moment = literal(since.strftime("%Y-%m-%d %H:%M:%S"))
        name = self.workspace.name(relation)
        columns = {field.name for field in self.workspace.spark.table(name).schema}
        if LOAD_DATETIME not in columns:
            return 0
        row = self.workspace.spark.sql(
            f"SELECT min({LOAD_POSITION}) - 1 AS before FROM {name} WHERE {LOAD_DATETIME} >= TIMESTAMP {moment}"
        ).collect()[0]
        return (
            int(row["before"])
            if row["before"] is not None
            else self.catalog.heads([self.workspace.id(relation)])[self.workspace.id(relation)]
        )

    # a load that died ----------------------------------------------------------------------------------------------

    def forget(self, source: str) -> str:
        """Forgets what a source landed and did not finish, so that its files are read again."""
        relation = self.workspace.project.log(source)
        table = self.workspace.id(relation)
        intent = self.catalog.unfinished(table)
        if intent is None:
            return ""
        head = self.catalog.heads([table])[table]
        if self.workspace.exists(relation):
            self._delete(relation, f"{LOAD_POSITION} > {head}")
        self.catalog.forget_intent(table)
        shutil.rmtree(self.workspace.landing(source, intent.row_audit_id), ignore_errors=True)
        return f"forgot what run {intent.row_audit_id} landed; its files are read again"

    # housekeeping --------------------------------------------------------------------------------------------------

    def housekeeping(self, now: Callable[[], float] = time.time) -> list[str]:
        """Deletes what is older than the environment keeps it, and keeps tables in shape as their settings say."""
        keep = self.workspace.environment.retention
        deleted = self.catalog.housekeeping(keep.history())
        told = [f"control catalog: {rows} rows of {table}" for table, rows in deleted.items() if rows]
        old = now() - keep.landing * DAY
        told += [f"landing: {folder.parent.name}/{folder.name}" for folder in self._old_folders(old)]
        return told + self._kept_in_shape()

    def _old_folders(self, before: float) -> list[Path]:
        """The landed runs that are old and that no load will repeat; deleted."""
        root = self.workspace.landing_root
        needed = self._needed()
        patterns = ("_changes/*/*", "[!_]*/*")
        found = [path for pattern in patterns for path in root.glob(pattern) if path.is_dir() and path.name.isdigit()]
        old = [path for path in found if path.stat().st_mtime < before and int(path.name) not in needed]
        for path in old:
            shutil.rmtree(path, ignore_errors=True)
        return old

    def _needed(self) -> set[int]:
        """The runs that a restart would go on with."""
        project = self.workspace.project
        relations = [project.log(name) for name in project.sources]
        relations += [table.relation for table in project.tables.values()]
        intents = [self.catalog.unfinished(self.workspace.id(relation)) for relation in relations]
        return {intent.row_audit_id for intent in intents if intent is not None}

    def _kept_in_shape(self) -> list[str]:
        told = []
        for name, table in self.workspace.project.tables.items():
            settings = self.workspace.project.settings_of("tables", name)
            if self.workspace.exists(table.relation):
                told += self._shaped(table.relation, settings.optimize, settings.vacuum_days)
        return told

    def _shaped(self, relation: Relation, optimize: bool, vacuum_days: int | None) -> list[str]:
        name, told = self.workspace.name(relation), []
        if optimize:
            self.workspace.spark.sql(f"OPTIMIZE {name}")
            told.append(f"{relation}: optimized")
        if vacuum_days is not None:
            self.workspace.spark.sql(f"VACUUM {name} RETAIN {vacuum_days * 24} HOURS")
            told.append(f"{relation}: files older than {vacuum_days} days deleted")
        return told
