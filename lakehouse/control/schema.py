"""The tables of the control catalog in SQLite's dialect, by version.

Rule: a version is never changed, only added; an upgrade runs what is missing in order and never asks for new artefacts.
"""

from __future__ import annotations

VERSIONS = (
    """
CREATE TABLE run (
  run_id INTEGER PRIMARY KEY AUTOINCREMENT, parent_id INTEGER, external_id TEXT, project TEXT NOT NULL, object TEXT NOT NULL,
  kind TEXT NOT NULL, status TEXT NOT NULL, next_status TEXT NOT NULL DEFAULT 'P', started TEXT NOT NULL, ended TEXT,
  heartbeat TEXT, process TEXT NOT NULL, message TEXT NOT NULL DEFAULT '', attempt INTEGER NOT NULL DEFAULT 1,
  row_audit_id INTEGER, restarts INTEGER, landed_run_id INTEGER, table_name TEXT, position INTEGER,
  version_after INTEGER, before_state TEXT, stop_requested INTEGER NOT NULL DEFAULT 0, reconciled INTEGER NOT NULL DEFAULT 1,
  rolled_back_by INTEGER);
CREATE INDEX run_of_batch ON run (parent_id);
CREATE INDEX run_of_object ON run (project, object, kind);
CREATE UNIQUE INDEX run_external ON run (project, external_id) WHERE external_id IS NOT NULL;
CREATE TABLE object (
  project TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, enabled INTEGER NOT NULL DEFAULT 1,
  failures INTEGER NOT NULL DEFAULT 0, definition TEXT NOT NULL DEFAULT '', runs INTEGER NOT NULL DEFAULT 0,
  average_seconds REAL NOT NULL DEFAULT 0, PRIMARY KEY (project, name));
CREATE TABLE table_state (
  name TEXT PRIMARY KEY, generation INTEGER NOT NULL DEFAULT 0, head INTEGER NOT NULL DEFAULT 0,
  issued INTEGER NOT NULL DEFAULT 0, row_total INTEGER NOT NULL DEFAULT 0, live_keys INTEGER NOT NULL DEFAULT 0,
  last_load_datetime TEXT, delta_version INTEGER, claimed_by INTEGER, ended_once INTEGER NOT NULL DEFAULT 0, intent TEXT);
CREATE TABLE consumer_offset (
  target TEXT NOT NULL, source TEXT NOT NULL, position INTEGER NOT NULL, PRIMARY KEY (target, source));
CREATE TABLE row_count (
  run_id INTEGER NOT NULL, object TEXT NOT NULL, count_type TEXT NOT NULL, rows INTEGER NOT NULL, control_sum TEXT,
  PRIMARY KEY (run_id, count_type));
CREATE TABLE load_error (
  run_id INTEGER NOT NULL, object TEXT NOT NULL, error TEXT NOT NULL, message TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE parameter (
  project TEXT NOT NULL, object TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, previous_value TEXT,
  type TEXT NOT NULL, run_id INTEGER, PRIMARY KEY (project, object, name));
CREATE TABLE parameter_history (
  project TEXT NOT NULL, object TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL, type TEXT NOT NULL,
  run_id INTEGER, at TEXT NOT NULL);
CREATE TABLE file (
  project TEXT NOT NULL, source TEXT NOT NULL, path TEXT NOT NULL, size INTEGER NOT NULL, checksum TEXT NOT NULL,
  run_id INTEGER NOT NULL, state TEXT NOT NULL, at TEXT NOT NULL, PRIMARY KEY (project, source, path, size, checksum));
CREATE TABLE checkpoint (
  name TEXT PRIMARY KEY, version INTEGER NOT NULL, position INTEGER NOT NULL, layout TEXT NOT NULL,
  row_total INTEGER NOT NULL);
CREATE TABLE subject (
  log TEXT NOT NULL, name TEXT NOT NULL, layout TEXT NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (log, name));
CREATE TABLE quality_result (
  run_id INTEGER NOT NULL, object TEXT NOT NULL, rule TEXT NOT NULL, passed INTEGER NOT NULL, rows INTEGER,
  failed_rows INTEGER, message TEXT NOT NULL DEFAULT '', at TEXT NOT NULL);
CREATE TABLE schema_change (
  run_id INTEGER NOT NULL, object TEXT NOT NULL, change TEXT NOT NULL, at TEXT NOT NULL);
CREATE TABLE snapshot_date (
  project TEXT NOT NULL, name TEXT NOT NULL, snapshot TEXT NOT NULL, PRIMARY KEY (project, name, snapshot));
CREATE VIEW current_run AS SELECT * FROM run WHERE ended IS NULL;
CREATE VIEW latest_batch AS
  SELECT * FROM run WHERE run_id IN (SELECT max(run_id) FROM run WHERE kind = 'batch' GROUP BY project, object);
CREATE VIEW run_detail AS
  SELECT run.*, row_count.count_type, row_count.rows, row_count.control_sum
  FROM run LEFT JOIN row_count ON row_count.run_id = run.run_id;
""",
)
"""The statements that lead from version n to version n + 1."""

HISTORY = {
    "run": "ended < ? AND parent_id IS NOT NULL",
    "row_count": "run_id IN (SELECT run_id FROM run WHERE ended < ?)",
    "load_error": "at < ?",
    "parameter_history": "at < ?",
    "quality_result": "at < ?",
    "schema_change": "at < ?",
}
"""The tables that only tell what was, and which of their rows are older than a moment."""


def statements(version: int) -> list[str]:
    """The statements that upgrade a catalog of a version to the newest."""
    return [text for script in VERSIONS[version:] for text in script.split(";") if text.strip()]
