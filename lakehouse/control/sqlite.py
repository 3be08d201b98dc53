"""The control catalog in one SQLite file: the embedded default.

Rule: every call is one transaction that begins with the write lock, so threads and processes take turns and wait for each
other; readers see the last commit (WAL).
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from lakehouse.control.schema import VERSIONS, statements
from lakehouse.control.sql_catalog import SqlCatalog, Transaction
from lakehouse.errors import ControlError

T = TypeVar("T")


class SqliteCatalog(SqlCatalog):
    """A control catalog in one SQLite file."""

    def __init__(self, path: Path, project: str = "", *, busy_seconds: float = 300, **options: Any) -> None:
        super().__init__(project, **options)
        self.path = path
        self._busy = busy_seconds
        self._turn = threading.Lock()
        path.parent.mkdir(parents=True, exist_ok=True)
        self.init()

    def init(self) -> int:
        """Makes or upgrades the catalog's tables; returns their version."""
        self._patiently(self._upgrade)
        return len(VERSIONS)

    def _upgrade(self) -> None:
        db = self._open()
        try:
            if db.execute("PRAGMA user_version").fetchone()[0] == len(VERSIONS):
                return
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("BEGIN IMMEDIATE")
            version = db.execute("PRAGMA user_version").fetchone()[0]
            self._check_version(version, bool(db.execute("SELECT 1 FROM sqlite_master WHERE name = 'run'").fetchone()))
            for statement in statements(version):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {len(VERSIONS)}")
            db.execute("COMMIT")
        finally:
            db.close()

    def _check_version(self, version: int, has_tables: bool) -> None:
        if version > len(VERSIONS):
            raise ControlError(
                f"control catalog {self.path}: it has version {version} and this library knows {len(VERSIONS)}. "
                "Install the newer library."
            )
        if version == 0 and has_tables:
            raise ControlError(
                f"control catalog {self.path}: it was made by a version before the first release and cannot be "
                "upgraded. Move it away; tables go on from the rows that they have."
            )

    def _open(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=1, isolation_level=None)
        db.row_factory = sqlite3.Row
        db.execute("PRAGMA synchronous = FULL")
        return db

    def _transact(self, work: Callable[[Transaction], T], *, reads: bool = False) -> T:
        """Does the work in one transaction, alone."""
        if reads:
            return self._patiently(lambda: self._once(work, "BEGIN"))
        with self._turn:
            return self._patiently(lambda: self._once(work, "BEGIN IMMEDIATE"))

    def _once(self, work: Callable[[Transaction], T], begin: str) -> T:
        db = self._open()
        try:
            db.execute(begin)
            result = work(db)
            db.execute("COMMIT")
            return result
        finally:
            db.close()

    def _patiently(self, attempt: Callable[[], T]) -> T:
        """Tries again while another process has its turn; nothing of a failed attempt is kept."""
        until = time.monotonic() + self._busy
        while True:
            try:
                return attempt()
            except sqlite3.Error as error:
                busy = isinstance(error, sqlite3.OperationalError) and ("locked" in str(error) or "busy" in str(error))
                if not busy or time.monotonic() > until:
                    raise ControlError(f"control catalog {self.path}: {error}{_advice(error)}") from error
            time.sleep(0.02)


def _advice(error: sqlite3.Error) -> str:
    if "full" in str(error):
        return ". Make room on the disk and run again; nothing was lost."
    if "locked" in str(error):
        return ". Another process holds it for very long; see lakehouse status, or stop that process."
    return "."
