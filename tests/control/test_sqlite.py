"""SQLite under threads and processes, and catalogs of other versions."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from lakehouse.control.process import ProcessLock, gone, this_process
from lakehouse.control.schema import VERSIONS
from lakehouse.control.sqlite import SqliteCatalog
from lakehouse.errors import ControlError

LOGGER = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from lakehouse.control.sqlite import SqliteCatalog

path, process, events = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
catalog = SqliteCatalog(path, "shop")
run = catalog.start_batch(f"batch {process}").run_id
with ThreadPoolExecutor(32) as pool:
    list(pool.map(lambda number: catalog.log_row_count(run, f"event {number}", number), range(events)))
catalog.end_batch(run, "S")
"""
TASK = """
import sys
from pathlib import Path
from lakehouse.control.sqlite import SqliteCatalog

print(SqliteCatalog(Path(sys.argv[1]), "shop").start_batch("daily", external_id=sys.argv[2] or None).run_id)
"""
STARTER = """
import sys, time
from pathlib import Path
from lakehouse.control.sqlite import SqliteCatalog

time.sleep(max(0.0, float(sys.argv[2]) - time.time()))
started = SqliteCatalog(Path(sys.argv[1]), "shop").start_batch("daily")
print(started.status, flush=True)
time.sleep(1.5)  # both are alive while the other decides
"""


def _processes(script: str, *argument_lists: list[str]) -> list[str]:
    started = [
        subprocess.Popen(
            [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for arguments in argument_lists
    ]
    done = [(process, *process.communicate(timeout=300)) for process in started]
    assert [process.returncode for process, _, _ in done] == [0] * len(done), [error for _, _, error in done]
    return [out for _, out, _ in done]


def test_four_processes_of_32_threads_lose_no_event(tmp_path):
    path = tmp_path / "control.db"
    _processes(LOGGER, *[[str(path), str(number), "2500"] for number in range(4)])
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*), sum(rows) FROM row_count").fetchone() == (10_000, 4 * sum(range(2500)))
        assert db.execute("SELECT status, count(*) FROM run GROUP BY 1").fetchall() == [("S", 4)]


def test_of_two_processes_that_start_a_batch_at_once_one_runs(tmp_path):
    import time

    for number in range(4):
        path, moment = tmp_path / f"control{number}.db", str(time.time() + 0.7)
        told = _processes(STARTER, [str(path), moment], [str(path), moment])
        assert sorted(text.strip() for text in told) == ["A", "E"]


def test_a_catalog_of_a_newer_library_is_refused_and_left_alone(tmp_path):
    path = tmp_path / "control.db"
    SqliteCatalog(path)
    with sqlite3.connect(path) as db:
        db.execute(f"PRAGMA user_version = {len(VERSIONS) + 1}")
    with pytest.raises(ControlError, match="Install the newer library"):
        SqliteCatalog(path)


def test_opening_twice_makes_nothing_twice(tmp_path):
    first = SqliteCatalog(tmp_path / "control.db")
    run = first.start_batch("daily").run_id
    assert SqliteCatalog(tmp_path / "control.db").init() == len(VERSIONS)
    assert first.latest_batch()[0].run_id == run


def test_a_full_disk_is_told_with_what_to_do(tmp_path, monkeypatch):
    catalog = SqliteCatalog(tmp_path / "control.db")

    def full(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(catalog, "_once", full)
    with pytest.raises(ControlError, match="Make room on the disk and run again; nothing was lost"):
        catalog.start_batch("daily")


def test_a_lock_that_never_ends_is_told_with_what_to_do(tmp_path):
    catalog = SqliteCatalog(tmp_path / "control.db", busy_seconds=0.1)
    holder = sqlite3.connect(tmp_path / "control.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(ControlError, match="Another process holds it"):
        catalog.start_batch("daily")
    holder.close()
    assert catalog.start_batch("daily").executes


def test_run_of_an_orchestrator_outlives_the_process_that_began_it(tmp_path):
    path = tmp_path / "control.db"
    first, second = _processes(TASK, [str(path), "job 7"]) + _processes(TASK, [str(path), "job 7"])
    catalog = SqliteCatalog(path, "shop")

    newcomer = catalog.start_batch("daily")

    assert first == second, "tasks of one run take part in it"
    assert newcomer.status == "A"
    assert "process an orchestrator" in newcomer.message


def test_run_without_an_orchestrator_ends_with_its_process(tmp_path):
    path = tmp_path / "control.db"
    _processes(TASK, [str(path), ""])

    assert SqliteCatalog(path, "shop").start_batch("daily").executes


def test_a_process_of_this_host_is_known_to_be_gone():
    child = subprocess.Popen([sys.executable, "-c", "from lakehouse.control.process import this_process; print(this_process()); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip
    name = child.stdout.readline().strip()
    assert not gone(name)
    child.communicate("\n")
    assert gone(name)
    assert not gone(this_process())
    host, number, started = this_process().split(":")
    assert gone(f"{host}:{number}:1{started}")  # the number was given to another process since
    assert not gone(f"elsewhere:{number}:1")


def test_a_process_lock_may_be_taken_twice_and_keeps_others_out(tmp_path):
    lock, path = ProcessLock(), Path(tmp_path / "lock")
    script = "import fcntl, sys; fcntl.flock(open(sys.argv[1], 'w'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    with lock.held(path), lock.held(path):
        assert (
            subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, check=False).returncode == 1
        )
    assert subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, check=False).returncode == 0
