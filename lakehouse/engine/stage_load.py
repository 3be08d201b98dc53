"""Staging a source: land a delivery, compare it once, append what changed to the persistent stage.

Rule: claim, land, write down the intent, append, quarantine, end. A run that died after landing is repeated from what it
landed, with its own stamps; files count as loaded only when the rows are committed.
"""

from __future__ import annotations

import json
import logging
import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from lakehouse.control.catalog import Catalog, Checkpoint, Claim, Ended, File, Intent
from lakehouse.engine import delta
from lakehouse.engine.attempts import claimed, refuse_interrupted_rollback, told, without_work
from lakehouse.engine.counts import APART, adds_up
from lakehouse.engine.intake import Delivery, delivered_relation, is_text, read_before, read_delivery, waiting
from lakehouse.engine.workspace import Workspace
from lakehouse.errors import GuardError, LoadError
from lakehouse.metadata.environment import Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.source import Source
from lakehouse.metadata.table import Subject
from lakehouse.names import LOAD_POSITION, QUARANTINE, checkpoint
from lakehouse.staging.checkpoint import checkpoint_definition, current_select, layout
from lakehouse.staging.persistent_stage import (
    COUNTS,
    compare_select,
    log_definition,
    quarantine_definition,
    rejected_select,
)
from lakehouse.staging.stage import landing_select, stage_select

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

logger = logging.getLogger(__name__)
QUARANTINE_TABLE = Relation("persistent_stage", QUARANTINE)


@dataclass(frozen=True)
class SourceLoad:
    """The staging of one source in one workspace."""

    workspace: Workspace
    catalog: Catalog
    source: Source
    batch_run: int
    now: datetime
    attempts: int | None = None

    @property
    def _project(self) -> Project:
        return self.workspace.project

    @property
    def log(self) -> Relation:
        """The persistent stage table."""
        return self.workspace.project.log(self.source.name)

    @property
    def settings(self) -> Settings:
        """The settings that hold for the source."""
        return self.workspace.project.settings_of("sources", self.source.name)

    def run(self) -> tuple[dict[str, int], str]:
        """Takes every waiting delivery; returns the counts of all, and why there was nothing if there was not."""
        totals: dict[str, int] = {}
        claim = claimed(self._claim, seconds=self.settings.wait_seconds)
        if not claim.executes:
            return without_work(claim)
        delivery: Delivery | None = None
        while True:
            try:
                refuse_interrupted_rollback(claim)
                claim, recovered = self._recovered(claim)
                pending = [] if claim.unfinished else self._waiting(recovered)
                if not claim.unfinished and not pending:
                    message = "" if totals else self._nothing_new(recovered)
                    self._end_without(claim, recovered, message)
                    return totals, message
                delivery = pending[0] if pending else None
                counts = self._load(claim, delivery, recovered)
            except BaseException as error:
                told(error, self.catalog, claim, forget=isinstance(error, GuardError))
                raise
            totals = {name: totals.get(name, 0) + counts.get(name, 0) for name in {**totals, **counts}}
            if len(pending) == 1:
                return totals, ""
            claim = self._claim()

    def _claim(self) -> Claim:
        mark = f"{zlib.crc32(layout(self._project, self.source).encode()):08x}"
        return self.catalog.claim(
            self.batch_run, self.source.name, "source", self._table, definition=mark, attempts=self.attempts
        )

    @property
    def _table(self) -> str:
        return self.workspace.id(self.log)

    def _recovered(self, claim: Claim) -> tuple[Claim, list[File]]:
        """Where the catalog was lost: the claim that goes on after the log's newest row, and the files that it came from."""
        if claim.known or claim.unfinished or not self.workspace.exists(self.log):
            return claim, []
        claim = self._adopted(claim)
        if not claim.state.head:
            return claim, []
        commits = delta.files_read(self.workspace.spark, self.workspace.name(self.log))
        return claim, read_before(self.workspace, self.source, commits)

    def _end_without(self, claim: Claim, recovered: Sequence[File], message: str) -> None:
        live = self._current(claim)[1] if not claim.known and claim.state.head else None
        last = claim.state.last_load_datetime if recovered else None
        self.catalog.end(
            claim,
            Ended({}, claim.state.head, live_keys=live, last_load_datetime=last, files=recovered, message=message),
        )

    def _waiting(self, recovered: Sequence[File]) -> list[Delivery]:
        names = ["delta_version", self.source.changes.column or ""]
        marks = {name: self.catalog.watermark(self.source.name, name) for name in names if name}
        known = self.catalog.known_files(self.source.name) | frozenset(recovered)
        return waiting(self.workspace, self.source, known, marks)

    def _nothing_new(self, recovered: Sequence[File]) -> str:
        files = len(self.catalog.known_files(self.source.name) | frozenset(recovered))
        return f"all {files} files known" if files else "nothing delivered"

    def _load(self, claim: Claim, delivery: Delivery | None, recovered: Sequence[File]) -> dict[str, int]:
        workspace, source = self.workspace, self.source
        workspace.make_table(self.log, log_definition(source, self.settings))
        claim = self._adopted(claim)
        intent = claim.unfinished
        if intent is None or intent.landed is None:
            assert delivery is not None
            intent = self._land(claim, delivery)
        landed = intent.landed or {}
        current, live_keys, head = self._current(claim)
        if landed["rows"] == 0 and source.changes.by == "snapshot" and not self.settings.allow_empty:
            return self._end_empty(claim, intent, recovered)
        staged = self._staged(intent)
        compared = self._compare(claim, intent, staged, current, live_keys, head)
        counts = self._append(claim, intent, compared)
        if counts["quarantined"]:
            self._quarantine(claim, intent, staged)
        self._end(claim, intent, counts, live_keys, recovered)
        self._keep_checkpoint(claim, counts)
        return counts

    def _land(self, claim: Claim, delivery: Delivery) -> Intent:
        """Copies the delivery as the declared types and writes down the intent."""
        frame = read_delivery(self.workspace, self.source, delivery)
        landed: dict[str, Any] = {
            "label": delivery.label,
            "layout": layout(self._project, self.source),
            "files": [[file.path, file.size, file.checksum] for file in delivery.files],
            "watermark": delivery.watermark,
        }
        path = self.workspace.landing(self.source.name, claim.run_id)
        observed, observation = delta.observe(self._typed(frame), {"rows": "count(1)"})
        observed.write.mode("overwrite").parquet(path)
        landed |= {"path": path, "rows": delta.observed_counts(observation)["rows"], "schema": observed.schema.json()}
        intent = Intent(claim.position, {}, claim.run_id, self._load_datetime(claim), landed)
        self.catalog.save_subjects(self._table, subject_layouts(self.workspace, self.source), claim.position)
        self.catalog.intend(claim, intent)
        return intent

    def _typed(self, frame: DataFrame) -> DataFrame:
        """The delivered rows as the declared types, each with the rule that it breaks."""
        types = None if is_text(self.workspace, self.source) else _types(frame)
        select = landing_select(
            self.source,
            self._project.subjects(self.source.name),
            types=types,
            hashes=self._project.settings_of("sources", self.source.name).hashes,
        )
        relation = delivered_relation(frame.columns, "{rows}")
        template = select.template.replace("{delivered}", relation)
        return replace(select, template=template).on(self.workspace.spark, {"rows": frame})

    def _load_datetime(self, claim: Claim) -> datetime:
        """Now, but at least a second after the last of this source: also when the clock went back."""
        last = claim.state.last_load_datetime
        return max(self.now, last + timedelta(seconds=1)) if last else self.now

    def _landed(self, intent: Intent) -> DataFrame:
        from pyspark.sql.types import StructType

        landed = intent.landed or {}
        if landed["layout"] != layout(self._project, self.source):
            raise LoadError(
                f"source '{self.source.name}': run {intent.row_audit_id} landed {landed['label']} for other columns or "
                f"satellites than the project has now. Let it end with the former metadata, or forget it: "
                f"lakehouse reset {self.source.name}; its files are then read again."
            )
        schema = StructType.fromJson(json.loads(landed["schema"]))
        return self.workspace.spark.read.schema(schema).parquet(landed["path"])

    def _staged(self, intent: Intent) -> DataFrame:
        """The stamped rows; analysed before anything is written, so that a wrong expression fails first."""
        select = stage_select(self._project, self.source)
        return select.on(self.workspace.spark, {"landed": self._landed(intent), **_stamps(intent)})

    def _current(self, claim: Claim) -> tuple[str, int, int]:
        """The subquery of current rows, how many keys live, and up to which position the log counts."""
        name, head = self.workspace.name(self.log), claim.state.head
        live_keys = claim.state.live_keys
        saved = self._saved_checkpoint()
        usable = saved is not None and saved.layout == layout(self._project, self.source) and saved.position <= head
        if usable and saved is not None:
            select = current_select(self._project, self.source, checkpoint=True)
            text = select.text(
                log=f"(SELECT * FROM {name} WHERE {LOAD_POSITION} > {saved.position} AND {LOAD_POSITION} <= {head})",
                checkpoint=f"(SELECT * FROM {self._checkpoint_name()} VERSION AS OF {saved.version})",
            )
        else:
            select = current_select(self._project, self.source, checkpoint=False)
            text = select.text(log=f"(SELECT * FROM {name} WHERE {LOAD_POSITION} <= {head})")
        if not claim.known and head:
            frame = self.workspace.spark.sql(text)
            live_keys = delta.count(frame, {"live": "count_if(change_type <> 'D')"})["live"]
        return f"({text})", live_keys, head

    def _adopted(self, claim: Claim) -> Claim:
        """The claim, going on after the newest row of a log that the catalog does not know (a lost catalog)."""
        if claim.known or claim.unfinished or claim.state.head:
            return claim
        name = self.workspace.name(self.log)
        head = delta.stored_head(self.workspace.spark, name)
        if not head:
            return claim
        adopted = self.catalog.adopt(claim, head)
        last = delta.newest_load(self.workspace.spark, name)
        return replace(adopted, state=replace(adopted.state, last_load_datetime=last))

    def _compare(
        self, claim: Claim, intent: Intent, staged: DataFrame, current: str, live_keys: int, head: int
    ) -> DataFrame:
        name = self.workspace.name(self.log)
        allowed = math.floor(live_keys * self.settings.delete_guard / 100)
        return compare_select(self._project, self.source).on(
            self.workspace.spark,
            {
                "staged": staged,
                "current": current,
                "log": f"(SELECT * FROM {name} WHERE {LOAD_POSITION} <= {head})",
                "max_deletes": str(allowed),
                **_stamps(intent),
            },
        )

    def _append(self, claim: Claim, intent: Intent, compared: DataFrame) -> dict[str, int]:
        try:
            return delta.append(
                compared,
                self.workspace.name(self.log),
                log_definition(self.source, self.settings).names,
                stamp=self._stamp(claim, intent),
                counts=COUNTS,
                keep=("inserted", "updated", "deleted"),
            )
        except Exception as error:
            if "GUARD: " in str(error):
                raise GuardError(self._guard_message(claim)) from error
            raise

    def _guard_message(self, claim: Claim) -> str:
        return (
            f"source '{self.source.name}': the snapshot would delete more than {self.settings.delete_guard:g} % of its "
            f"{claim.state.live_keys} live keys, so nothing was written. If the delivery is right, raise delete_guard "
            "for this source and run again; otherwise remove the file."
        )

    def _stamp(self, claim: Claim, intent: Intent, purpose: str = "") -> delta.Stamp:
        through = max((str(entry[0]) for entry in (intent.landed or {}).get("files", ())), default="")
        return delta.Stamp(
            self._table, claim.state.generation, intent.position, claim.run_id, self.source.name, purpose, through
        )

    def _quarantine(self, claim: Claim, intent: Intent, staged: DataFrame) -> None:
        rejected = rejected_select(self.source).on(self.workspace.spark, {"staged": staged})
        with self.workspace.exclusive():  # every source writes this table, from any process
            delta.append(
                rejected,
                self.workspace.name(QUARANTINE_TABLE),
                quarantine_definition().names,
                stamp=self._stamp(claim, intent, "quarantine"),
                counts={"quarantined": "count(1)"},
                keep=(),
            )

    def _end_empty(self, claim: Claim, intent: Intent, recovered: Sequence[File]) -> dict[str, int]:
        counts = dict.fromkeys(COUNTS, 0)
        files = [*recovered, *(File(*entry) for entry in (intent.landed or {})["files"])]
        message = "an empty snapshot deletes nothing unless allow_empty is set"
        logger.warning("source %s: %s", self.source.name, message)
        self.catalog.end(claim, Ended(counts, claim.state.head, files=files, message=message))
        return counts

    def _end(
        self, claim: Claim, intent: Intent, counts: Mapping[str, int], live_keys: int, recovered: Sequence[File]
    ) -> None:
        landed = intent.landed or {}
        written = counts["inserted"] + counts["updated"] + counts["deleted"]
        mark = landed.get("watermark")
        self.catalog.end(
            claim,
            Ended(
                {"copied": landed["rows"], **counts},
                intent.position if written else claim.state.head,
                rows=written,
                live_keys=live_keys + counts["inserted"] - counts["deleted"],
                last_load_datetime=intent.load_datetime,
                files=[*recovered, *(File(*entry) for entry in landed["files"])],
                watermark=(mark[0], mark[1], mark[2]) if mark else None,
                reconciled=adds_up(counts, apart=(*APART, "deleted")) and counts["read"] == landed["rows"],
            ),
        )

    @property
    def _checkpoint(self) -> Relation:
        return Relation("persistent_stage", checkpoint(self.log.name))

    def _checkpoint_name(self) -> str:
        return self.workspace.name(self._checkpoint)

    def _saved_checkpoint(self) -> Checkpoint | None:
        """The checkpoint that the catalog knows, if its table is there."""
        saved = self.catalog.checkpoint(self._table)
        return saved if saved is not None and self.workspace.exists(self._checkpoint) else None

    def _keep_checkpoint(self, claim: Claim, counts: Mapping[str, int]) -> None:
        """Rewrites the checkpoint when enough rows came since the last one; a failure costs only time later."""
        saved = self._saved_checkpoint()
        wanted = layout(self._project, self.source)
        usable = saved is not None and saved.layout == wanted
        written = counts["inserted"] + counts["updated"] + counts["deleted"]
        state_rows = claim.state.rows + written
        since = state_rows - (saved.rows if usable and saved else 0)
        if since < self.settings.checkpoint_rows or not written:
            return
        self._write_checkpoint(claim, saved if usable else None, wanted, state_rows)

    def _write_checkpoint(self, claim: Claim, saved: Checkpoint | None, wanted: str, rows: int) -> None:
        name, target = self.workspace.name(self.log), self._checkpoint_name()
        definition = checkpoint_definition(self._project, self.source)
        select = current_select(self._project, self.source, checkpoint=saved is not None)
        low = saved.position if saved else 0
        relations = {
            "log": f"(SELECT * FROM {name} WHERE {LOAD_POSITION} > {low} AND {LOAD_POSITION} <= {claim.position})"
        }
        if saved:
            relations["checkpoint"] = f"(SELECT * FROM {target} VERSION AS OF {saved.version})"
        frame = select.on(self.workspace.spark, relations).select(*[f"`{n}`" for n in definition.names])
        frame.writeTo(target).using("delta").tableProperty("delta.checkpointInterval", "100").createOrReplace()
        version = delta.delta_version(self.workspace.spark, target)
        self.catalog.save_checkpoint(self._table, Checkpoint(version, claim.position, wanted, rows))


def subject_layouts(workspace: Workspace, source: Source) -> dict[str, str]:
    """Each subject of a source with what its marks are computed over."""
    return {subject.name: subject_layout(source, subject) for subject in workspace.project.subjects(source.name)}


def subject_layout(source: Source, subject: Subject) -> str:
    """The columns of a subject and their types, as one text."""
    return ",".join(f"{column}:{source.type_of(column)}" for column in subject.columns)


def _types(frame: DataFrame) -> dict[str, str]:
    return {field.name.lower(): field.dataType.simpleString() for field in frame.schema}


def _stamps(intent: Intent) -> dict[str, str]:
    assert intent.load_datetime is not None
    moment = intent.load_datetime.astimezone(timezone.utc)
    micros = round((moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) / timedelta(microseconds=1))
    return {"load_datetime": f"timestamp_micros({micros})", "row_audit_id": str(intent.row_audit_id)}
