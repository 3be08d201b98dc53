"""Which process runs a load, and whether it still lives.

Rule: only a stale heartbeat declares a run dead; one of this host may be seen to be gone at once. The number of a process
is used again by the system, so its start time stands beside it.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

OWNER = "LAKEHOUSE_OWNER"
"""Environment variable by which a Java process started here names the process that it works for."""


def this_process() -> str:
    """Host, number and start of this process."""
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def gone(process: str) -> bool:
    """Whether a process of this host has ended for certain; of another host nothing is known."""
    host, _, rest = process.partition(":")
    number_text, _, started = rest.partition(":")
    if host != socket.gethostname() or not number_text.isdigit():
        return False
    number = int(number_text)
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return started not in ("", _started(number))


def _started(number: int) -> str:
    """When a process started, in clock ticks since the system did; empty where the system does not tell."""
    try:
        return Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def wait_for_orphans(*, seconds: float = 60) -> tuple[int, ...]:
    """Waits until the Java processes that killed runs left behind have ended; returns those that still work.

    Two Java processes have no atomic commit on a local file system, so a new one waits for the old one to finish.
    """
    until = time.monotonic() + seconds
    while (orphans := _orphans()) and time.monotonic() < until:
        time.sleep(0.1)
    return orphans


def _orphans() -> tuple[int, ...]:
    """The Java processes of this host whose owner is gone."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if (folder / "comm").read_text().strip() != "java":
                continue
            entries = (folder / "environ").read_bytes().split(b"\0")
        except OSError:
            continue  # it ended, or is somebody else's
        owners = [entry.decode().partition("=")[2] for entry in entries if entry.startswith(f"{OWNER}=".encode())]
        if any(gone(owner) for owner in owners):
            found.append(int(folder.name))
    return tuple(found)


class ProcessLock:
    """A lock between the threads of a process and, by a file, between the processes of a host; may be taken twice."""

    def __init__(self) -> None:
        self._turn = threading.RLock()
        self._stream: IO[str] | None = None

    @contextmanager
    def held(self, path: Path | None) -> Iterator[None]:
        """Alone until the block ends; between processes only with a path, and where the system has such locks."""
        with self._turn:
            if path is None or self._stream is not None:
                yield
                return
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("w") as stream:
                _lock(stream)
                self._stream = stream
                try:
                    yield
                finally:
                    self._stream = None


def _lock(stream: IO[str]) -> None:
    try:
        import fcntl
    except ImportError:  # Windows: only the threads of one process are kept apart
        return
    fcntl.flock(stream, fcntl.LOCK_EX)
