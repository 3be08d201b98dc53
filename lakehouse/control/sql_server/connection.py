"""A session with a SQL Server that comes back when its connection is lost.

Rule: an attempt is repeated, after a growing pause, only if its cause passes by itself and the server cannot have done the
work, or the call is repeatable. An error names server, database and procedure, never a secret or the value of a parameter.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from threading import RLock
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

from lakehouse.control.credentials import SqlServerLogin
from lakehouse.control.sql_server.failure import Failure, SqlServerError
from lakehouse.control.sql_server.script import batches
from lakehouse.errors import SetupError

if TYPE_CHECKING:
    from lakehouse.control.sql_server.wire import Row, Wire

T = TypeVar("T")
logger = logging.getLogger(__name__)

ATTEMPTS = 6
"""With the pauses between them, about half a minute: a failover or a paused database that wakes up."""
LONGEST_PAUSE = 16.0
"""Seconds."""
IDLE_SECONDS = 60.0
"""After so long without a call the server is asked whether it is still there, before a call that may be made only once."""


class Session:
    """A login to a SQL Server, connected when it is first needed. Threads may share it and take turns."""

    def __init__(
        self, login: SqlServerLogin, *, attempts: int = ATTEMPTS, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.login = login
        self._attempts = attempts
        self._pause = pause
        self._lock = RLock()
        self._wire: Wire | None = None
        self._last_used = 0.0

    def call(self, procedure: str, parameters: Mapping[str, object], *, repeatable: bool = False) -> list[Row]:
        """Calls a stored procedure, which is one transaction, by named parameters; the rows of its first result set.

        ``repeatable``: the procedure may be called again when nobody knows whether it was carried out.

        Raises:
            SqlServerError: the server cannot be reached or refuses.
        """
        named = {name if name.startswith("@") else f"@{name}": value for name, value in parameters.items()}
        where = f"procedure {procedure}"
        return self._run(lambda wire: wire.call(procedure, named), where, repeatable=repeatable, whole=True)

    def query(self, statement: str) -> list[Row]:
        """The rows of a statement that only reads and has no parameters."""
        return self._run(lambda wire: wire.run(statement), "query", repeatable=True)

    def execute(self, batch: str, *, repeatable: bool = False) -> None:
        """Runs a script batch by batch (``GO``); ``repeatable``: each batch may be run again after a lost connection."""
        parts = batches(batch)
        for number, part in enumerate(parts, start=1):
            self._run(partial(_run_batch, batch=part), f"batch {number} of {len(parts)}", repeatable=repeatable)

    def tls(self) -> str:
        """The protocol that encrypts the connection, such as ``TLSv1.2``; connects if need be."""
        return self._run(lambda wire: wire.tls, "login", repeatable=True)

    def close(self) -> None:
        """Closes the connection; the next call opens another one."""
        with self._lock:
            if self._wire is not None:
                self._wire.close()
            self._wire = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, work: Callable[[Wire], T], where: str, *, repeatable: bool, whole: bool = False) -> T:
        """Does the work, again if that is allowed; ``whole``: it is one transaction."""
        with self._lock:
            for attempt in count(1):
                try:
                    return self._attempt(work)
                except Failure as failed:
                    failure = failed
                may_repeat = repeatable or failure.undone or (whole and failure.rolled_back)
                if attempt >= self._attempts or not (failure.passes and may_repeat):
                    break
                self._wait(attempt, where)
        # Raised out here, so that the error has no context: that could hold what was sent.
        raise self._error(failure, where, attempt)

    def _attempt(self, work: Callable[[Wire], T]) -> T:
        try:
            result = work(self._ready())
        except BaseException:
            self.close()
            raise
        self._last_used = time.monotonic()
        return result

    def _wait(self, attempt: int, where: str) -> None:
        seconds = min(LONGEST_PAUSE, 2.0 ** (attempt - 1)) * random.uniform(0.5, 1.0)
        logger.info(
            "SQL Server %s, %s: attempt %d failed, again in %.1f s", self.login.address, where, attempt, seconds
        )
        self._pause(seconds)

    def _ready(self) -> Wire:
        """The open connection, or a new one in place of one that is lost."""
        wire = self._wire
        if wire is not None:
            idle = time.monotonic() - self._last_used > IDLE_SECONDS
            if not wire.hung_up() and (not idle or wire.answers()):
                return wire
            self.close()
        self._wire = _open(self.login)
        return self._wire

    def _error(self, failure: Failure, where: str, attempts: int) -> SqlServerError:
        answered = bool(failure.numbers) and (failure.rolled_back or not failure.passes)
        doubt = "" if failure.undone or answered else " Nobody knows whether the server carried it out."
        tried = f" Tried {attempts} times." if attempts > 1 else ""
        place = f"SQL Server {self.login.address}, database {self.login.database}, {where}"
        return SqlServerError(f"{place}: {failure.text.rstrip('.')}.{doubt}{tried}", failure.numbers)


def _run_batch(wire: Wire, batch: str) -> None:
    wire.run(batch)


def _open(login: SqlServerLogin) -> Wire:
    missing = ""
    try:
        from lakehouse.control.sql_server.wire import open_wire
    except ImportError as error:
        missing = error.name or "python-tds"
    if missing:
        raise SetupError(f"{missing} is missing; a SQL Server is reached with it: pip install 'lakehouse[databricks]'.")
    return open_wire(login)
