"""Two processes at one moment: ``python -m tests.faults.contend [--rounds 20]``.

Rule: of two that start the same batch exactly one runs, and the tables are a single run's; two batches that feed one hub both
run, and no key is there twice.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.faults.__main__ import difference
from tests.faults.handle import Worker
from tests.faults.project import deliver, write_project


def at_once(workers: Sequence[Worker], folder: Path, batches: Sequence[str | None]) -> list[dict[str, Any]]:
    """Both run at the same moment."""
    moment = time.time() + 0.3
    for worker, batch in zip(workers, batches, strict=True):
        worker.tell(do="run", folder=str(folder), batch=batch, at=moment)
    return [worker.answer() for worker in workers]


def dumped(worker: Worker, folder: Path) -> dict[str, Any]:
    """The tables of a folder by their plain names, and its control catalog."""
    worker.tell(do="dump", folder=str(folder))
    return worker.answer()


def fresh(work: Path, name: str) -> Path:
    """A folder with the project and the first delivery."""
    folder = work / name
    write_project(folder, prefix=f"{name}_")
    deliver(folder, 0)
    return folder


def tables(found: dict[str, Any]) -> dict[str, Any]:
    """Only the tables, not the catalog's accounts of the runs."""
    return {name: rows for name, rows in found.items() if "." in name}


def same_batch(workers: Sequence[Worker], work: Path, number: int, expected: dict[str, Any]) -> str:
    """One runs, the other is told so."""
    folder = fresh(work, f"same{number}")
    answers = at_once(workers, folder, [None, None])
    states = sorted(answer["state"] for answer in answers)
    if states != ["refused", "succeeded"]:
        return f"{states}: {[answer['message'] for answer in answers]}"
    return difference(tables(expected), tables(dumped(workers[0], folder)))


def one_hub(workers: Sequence[Worker], work: Path, number: int, expected: dict[str, Any]) -> str:
    """Both run; the hub has every key once."""
    folder = fresh(work, f"hub{number}")
    answers = at_once(workers, folder, ["customers", "sales"])
    if [answer["state"] for answer in answers] != ["succeeded", "succeeded"]:
        return f"{answers}"
    found = tables(dumped(workers[0], folder))
    keys = [json.dumps(row) for row in found["vault.hub_customer"]]
    return f"{len(keys) - len(set(keys))} keys twice" if len(keys) != len(set(keys)) else _missing(expected, found)


def _missing(expected: dict[str, Any], found: dict[str, Any]) -> str:
    """Which tables lack rows; who came first decides a hub row's record source, so only numbers count."""
    wrong = [name for name, rows in found.items() if len(rows) != len(expected[name])]
    return f"other numbers of rows in {wrong}" if wrong else ""


def main() -> int:
    """Both contests, so many rounds each."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.contend", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20)
    rounds, wrong, began = parser.parse_args().rounds, 0, time.monotonic()
    with tempfile.TemporaryDirectory(prefix="contend_") as folder:
        work = Path(folder)
        workers = [Worker(work / f"worker{number}") for number in range(2)]
        for worker in workers:
            worker.answer()
        single = fresh(work, "single")
        workers[0].tell(do="run", folder=str(single))
        assert workers[0].answer()["state"] == "succeeded"
        expected = dumped(workers[0], single)
        for contest in (same_batch, one_hub):
            for number in range(rounds):
                told = contest(workers, work, number, expected)
                wrong += bool(told)
                print(f"{'WRONG' if told else 'right':6} {contest.__name__} {number + 1} {told}", flush=True)
        for worker in workers:
            worker.end()
    print(f"{2 * rounds} contests, {wrong} wrong, {time.monotonic() - began:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
