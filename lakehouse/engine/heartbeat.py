"""The heartbeat of a batch: says that it is alive, and hears whether it shall stop.

Rule: a beat that cannot be recorded is only logged; the run goes on, and the catalog decides by the beats that it has.
"""

from __future__ import annotations

import logging
import threading
from types import TracebackType

from lakehouse.control.catalog import Catalog
from lakehouse.errors import LakehouseError

logger = logging.getLogger(__name__)


class Heartbeat:
    """Beats in a thread of its own while its block runs."""

    def __init__(self, catalog: Catalog, run_id: int, *, seconds: float) -> None:
        self._catalog = catalog
        self._run_id = run_id
        self._seconds = seconds
        self._ended = threading.Event()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, name=f"heartbeat of run {run_id}", daemon=True)

    @property
    def stop_requested(self) -> bool:
        """Whether somebody asked the batch to stop after its current loads."""
        return self._stop.is_set()

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._ended.wait(self._seconds):
            try:
                if self._catalog.beat(self._run_id):
                    self._stop.set()
            except LakehouseError as error:
                logger.warning("run %d: its heartbeat could not be recorded: %s", self._run_id, error)
