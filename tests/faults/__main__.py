"""Fault injection: ``python -m tests.faults [--all | --points N] [--seed S] [--workers W] [--only-python N]``.

Rule: kill the process group before every write of a batch in turn, start it again, and every table and count must be what
an undisturbed run leaves. A tenth of the points kill the restart, too. ``--only-python`` kills Python while Java still
writes. The dying process is always a new one; the restart is one in a fifth of the cases, else a process that is up.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

from tests.faults.handle import ROOT, Worker
from tests.faults.project import DELIVERIES, deliver, write_project

QUICK_JIT = "-XX:TieredStopAtLevel=1"
"""A process that lives for half a minute is over before the better compiler pays."""
COLD = 5
"""One restart in so many is a new process."""


@dataclass(frozen=True)
class Fault:
    """A death: in the run of which delivery, before which write, and of the restart, too."""

    delivery: int
    at: int
    name: str
    again_at: int | None = None
    only_python: float | None = None
    cold: bool = True
    """Whether the restart is a new process."""

    def __str__(self) -> str:
        again = f", and again before write {self.again_at}" if self.again_at is not None else ""
        alone = f", Python alone after {self.only_python:.2f} s" if self.only_python is not None else ""
        return f"delivery {self.delivery + 1}, write {self.at} ({self.name}){again}{alone}"


@dataclass
class Lake:
    """A folder with the project, put back to its state before a delivery for every fault."""

    work: Path
    saved: list[Path] = field(default_factory=list)
    expected: list[dict[str, Any]] = field(default_factory=list)
    healer: Worker | None = None

    @property
    def folder(self) -> Path:
        """The project's folder; always the same, since files are known by their path."""
        return self.work / "project"

    def prepare(self) -> None:
        """Runs every delivery undisturbed; keeps the state before each and what it left."""
        write_project(self.folder)
        for number in range(len(DELIVERIES)):
            deliver(self.folder, number)
            self.saved.append(self.work / f"before_{number}")
            shutil.copytree(self.folder, self.saved[-1])
            self.expected.append(self.run(number, ["--dump", str(self.work / "dump.json")]))

    def put_back(self, number: int) -> None:
        """The state before a delivery."""
        shutil.rmtree(self.folder)
        shutil.copytree(self.saved[number], self.folder)

    def start(self, number: int, options: list[str]) -> subprocess.CompletedProcess[str]:
        """A child in a process group of its own."""
        command = [sys.executable, "-m", "tests.faults.child", str(self.folder), str(number), *options]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "JAVA_TOOL_OPTIONS": QUICK_JIT}
        return subprocess.run(command, cwd=self.work, env=environment, capture_output=True, text=True, start_new_session=True, check=False)  # fmt: skip

    def run(self, number: int, options: list[str]) -> dict[str, Any]:
        """A child that must live; what it dumped."""
        done = self.start(number, options)
        if done.returncode != 0:
            raise RuntimeError(f"the run failed with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
        found: dict[str, Any] = json.loads((self.work / "dump.json").read_text())
        return found

    def heal(self, fault: Fault) -> dict[str, Any]:
        """The restart in a process that is up; afterwards it forgets the tables, while their folder is put away."""
        if self.healer is None:
            self.healer = Worker(self.work / "healer")
            self.healer.answer()
        self.healer.tell(do="heal", folder=str(self.folder), delivery=fault.delivery)
        found = self.healer.answer()
        self.folder.rename(self.work / "done")
        self.healer.tell(do="forget", folder=str(self.folder))
        self.healer.answer()
        (self.work / "done").rename(self.folder)
        if "tables" not in found:
            raise RuntimeError(f"the restart failed: {found}")
        return found

    def end(self) -> None:
        """Ends its processes."""
        if self.healer:
            self.healer.end()

    def check(self, fault: Fault) -> str:
        """Dies, starts again, compares; the difference, or nothing."""
        self.put_back(fault.delivery)
        options = ["--at", str(fault.at)]
        if fault.only_python is not None:
            options += ["--only-python", str(fault.only_python)]
        died = self.start(fault.delivery, options)
        if died.returncode != -signal.SIGKILL:
            return f"was not killed but ended with {died.returncode}: {(died.stdout + died.stderr)[-1000:]}"
        if fault.again_at is not None:
            self.start(fault.delivery, ["--at", str(fault.again_at)])
        try:
            found = (
                self.run(fault.delivery, ["--dump", str(self.work / "dump.json")]) if fault.cold else self.heal(fault)
            )
        except RuntimeError as error:
            return str(error)
        return difference(self.expected[fault.delivery]["tables"], found["tables"])


def difference(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """Where two dumps differ."""
    told = []
    for name in sorted({*expected, *found}):
        old, new = expected.get(name, []), found.get(name, [])
        if old != new:
            missing = [row for row in old if row not in new][:3]
            added = [row for row in new if row not in old][:3]
            told.append(f"{name}: {len(old)} against {len(new)} entries; missing {missing}; added {added}")
    return "\n    ".join(told)


def faults(lake: Lake, chosen: random.Random, count: int | None, only_python: int) -> list[Fault]:
    """Every point, or so many drawn; a tenth with a second death; and deaths of Python alone while Java commits."""
    points = [(n, i, name) for n, found in enumerate(lake.expected) for i, name in enumerate(found["points"])]
    drawn = points if count is None else sorted(chosen.sample(points, min(count, len(points))))
    twice = set(chosen.sample(range(len(drawn)), max(1, len(drawn) // 10)))
    again = {position: chosen.randrange(1, 20) for position in twice}
    found = [
        Fault(n, i, name, again.get(position), cold=position % COLD == 0) for position, (n, i, name) in enumerate(drawn)
    ]
    writes = [point for point in points if not point[2].startswith("control")]
    alone = sorted(chosen.sample(writes, min(only_python, len(writes))))
    return found + [Fault(n, i, name, only_python=chosen.random() * 0.6) for n, i, name in alone]


def main() -> int:
    """Runs the faults and tells which left a difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__.splitlines()[0])
    parser.add_argument("--all", action="store_true", help="every point (an hour on 2 cores)")
    parser.add_argument("--points", type=int, default=12, help="how many points are drawn")
    parser.add_argument("--only-python", type=int, default=None, help="deaths of Python alone (a fifth of the points)")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--workers", type=int, default=1)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="faults_") as work:
        lakes = [Lake(Path(work) / f"worker_{number}") for number in range(options.workers)]
        with ThreadPoolExecutor(options.workers) as pool:
            list(pool.map(Lake.prepare, lakes))
            alone = (
                options.only_python if options.only_python is not None else (12 if options.all else options.points // 5)
            )
            todo = faults(lakes[0], random.Random(seed), None if options.all else options.points, alone)
            print(f"seed {seed}: {len(todo)} deaths at {len({(f.delivery, f.at) for f in todo})} distinct points of "
                  f"{sum(len(found['points']) for found in lakes[0].expected)}", flush=True)  # fmt: skip
            free: Queue[Lake] = Queue()
            for lake in lakes:
                free.put(lake)
            results = list(pool.map(lambda fault: one(fault, free), todo))
        for lake in lakes:
            lake.end()
    wrong = sum(1 for result in results if result)
    twice = sum(1 for fault in todo if fault.again_at is not None)
    alone = sum(1 for fault in todo if fault.only_python is not None)
    print(
        f"{len(todo)} deaths ({twice} killed twice, {alone} of Python alone), {wrong} left a difference, {time.monotonic() - began:.0f} s"
    )
    return 1 if wrong else 0


def one(fault: Fault, free: Queue[Lake]) -> str:
    """One fault in a free lake."""
    lake = free.get()
    try:
        found = lake.check(fault)
    finally:
        free.put(lake)
    print(f"{'DIFFERENT' if found else 'equal':9} {fault}" + (f"\n    {found}" if found else ""), flush=True)
    return found


if __name__ == "__main__":
    raise SystemExit(main())
