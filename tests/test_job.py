"""What a task calls: parameters as text -> a part of a batch is run, its result is one line of JSON."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from lakehouse.control.catalog import Ended
from lakehouse.control.sqlite import SqliteCatalog
from lakehouse.engine.runner import BatchResult, LoadResult
from lakehouse.engine.shared_run import end_run
from lakehouse.errors import ControlError, LoadError, MetadataError
from lakehouse.job import exit_result, main, run_batch
from lakehouse.kinds import read_project
from lakehouse.parts import batch_plan
from tests.generate.projects import SHOP

LOCAL = SHOP.replace("environments:\n", "environments:\n  local: {warehouse: ./warehouse}\n")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project with a local environment; its batch is run in parts by layer."""
    path = tmp_path / "project"
    path.mkdir()
    (path / "lakehouse.yml").write_text(LOCAL, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"environment": "nowhere"}, "no environment 'nowhere'. Known: dev, local."),
        ({"batch": "dayly"}, r"no batch 'dayly'.*Did you mean 'daily'"),
        ({"part": "volt", "run": "7.0"}, r"no part 'volt' at granularity layer.*Did you mean 'vault'"),
        ({"part": "vault"}, "part 'vault' needs the id of the run that it is a part of: give run."),
        ({"select": "hub_custmer"}, r"select: 'hub_custmer' finds nothing in the batch.*Did you mean 'hub_customer'"),
        ({"fresh": "yes"}, "fresh is 'yes'. Allowed: true, false."),
    ],
)
def test_wrong_parameter_is_told_before_anything_runs(arguments, says, folder):
    with pytest.raises(MetadataError, match=says):
        run_batch(folder, **{"environment": "local", "batch": "daily", **arguments})

    assert not (folder / "warehouse").exists()


def test_batch_that_is_one_task_has_no_parts(folder):
    (folder / "lakehouse.yml").write_text(LOCAL.replace("granularity: layer", "granularity: batch"), encoding="utf-8")

    with pytest.raises(MetadataError, match="batch 'daily' is one task: it has no part 'end'"):
        run_batch(folder, environment="local", batch="daily", part="end", run="7.0")


def test_part_of_which_nothing_was_selected_does_nothing(folder):
    result = run_batch(folder, environment="local", batch="daily", part="mart", run="7.0", select="customer, hub_*")

    assert (result["status"], result["rows"], result["message"]) == (
        "succeeded",
        {},
        "nothing of this part was selected",
    )
    assert not (folder / "warehouse").exists()


def test_unknown_parameter_is_refused(folder, capsys):
    with pytest.raises(SystemExit) as ended:
        main(folder, ["--environment=local", "--batch=daily", "--selct=x"])

    assert ended.value.code == 2
    assert "unrecognized arguments: --selct=x" in capsys.readouterr().err


def test_module_is_a_command(folder):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "lakehouse.job",
            "--project",
            str(folder),
            "--environment",
            "nowhere",
            "--batch",
            "daily",
        ],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 2
    assert done.stderr.endswith("no environment 'nowhere'. Known: dev, local.\n")


def test_result_is_run_id_status_rows_and_error():
    loads = (
        LoadResult("hub_customer", "hub", "succeeded", {"read": 2, "inserted": 2}),
        LoadResult("sat_customer", "satellite", "failed", message="the disk is full"),
        LoadResult("dim_customer", "dimension", "skipped", message="not loaded, because sat_customer did not succeed"),
    )

    result = exit_result(BatchResult(7, loads, 1.23456, "goes on with run 6"))

    assert result == {
        "run_id": 7,
        "status": "failed",
        "seconds": 1.235,
        "rows": {"hub_customer": {"read": 2, "inserted": 2}},
        "error": "sat_customer: the disk is full; dim_customer: not loaded, because sat_customer did not succeed",
        "message": "goes on with run 6",
    }
    assert json.loads(json.dumps(result)) == result


class Shared:
    """A run that tasks share, on a control catalog without Spark: loads are claimed and ended by hand."""

    def __init__(self, folder: Path) -> None:
        self.project = read_project(folder)
        self.catalog = SqliteCatalog(folder / "control.db", "shop")

    def start(self, run: str):
        return self.catalog.start_batch("daily", external_id=run)

    def load(self, run: str, name: str, *, fails: bool = False) -> str:
        claim = self.catalog.claim(self.start(run).run_id, name, "source" if name == "customer" else "hub", f"t.{name}")
        if fails:
            self.catalog.fail(claim, LoadError("the disk is full"))
        elif claim.executes:
            ended = Ended({"read": 1, "inserted": 1}, claim.position, rows=1, last_load_datetime=datetime(2000, 1, 1, tzinfo=timezone.utc))  # fmt: skip
            self.catalog.end(claim, ended)
        return claim.status

    def end(self, run: str) -> BatchResult:
        plan = batch_plan(self.project, "daily")
        return end_run(plan, environment=self.project.environment("local"), batch="daily", external_id=run, catalog=self.catalog)  # fmt: skip


def test_end_of_a_run_whose_loads_all_succeeded_is_a_success(folder):
    shared = Shared(folder)
    for name in ("customer", "hub_customer", "sat_customer", "dim_customer"):
        shared.load("7.0", name)

    result = shared.end("7.0")

    assert result.succeeded
    assert {load.name: dict(load.counts) for load in result.loads}["hub_customer"] == {"read": 1, "inserted": 1}
    assert shared.catalog.latest_batch("daily")[0].status == "S"


def test_end_of_a_run_tells_what_failed_and_what_never_began(folder):
    shared = Shared(folder)
    shared.load("7.0", "customer")
    shared.load("7.0", "hub_customer", fails=True)

    result = exit_result(shared.end("7.0"))

    assert result["status"] == "failed"
    assert "hub_customer: the disk is full" in result["error"]
    assert "dim_customer: not loaded, because its task did not run" in result["error"]
    assert shared.catalog.latest_batch("daily")[0].status == "F"


def test_load_that_a_retry_of_its_task_mended_has_succeeded(folder):
    shared = Shared(folder)
    for name in ("customer", "sat_customer", "dim_customer"):
        shared.load("7.0", name)
    shared.load("7.0", "hub_customer", fails=True)
    shared.load("7.0", "hub_customer")

    assert shared.end("7.0").succeeded


def test_repair_goes_on_with_the_failed_run_and_passes_over_what_succeeded(folder):
    shared = Shared(folder)
    shared.load("7.0", "customer")
    shared.load("7.0", "hub_customer", fails=True)
    shared.end("7.0")

    statuses = {name: shared.load("7.1", name) for name in ("customer", "hub_customer", "sat_customer", "dim_customer")}

    assert statuses == {"customer": "C", "hub_customer": "R", "sat_customer": "E", "dim_customer": "E"}
    assert shared.start("7.1").restarts == shared.start("7.0").run_id
    assert shared.end("7.1").succeeded


def test_repair_starts_only_what_failed_and_the_end_knows_what_was_done_before(folder):
    shared = Shared(folder)
    shared.load("7.0", "customer")
    shared.load("7.0", "hub_customer")
    shared.load("7.0", "sat_customer", fails=True)
    shared.end("7.0")
    shared.load("7.1", "sat_customer")
    shared.load("7.1", "dim_customer")

    result = shared.end("7.1")

    assert result.succeeded
    assert result["customer"].message == "done by run 2, before the restart"
    assert {row.object: row.status for row in shared.catalog.latest_batch("daily")[1:]} == {
        "sat_customer": "S",
        "dim_customer": "S",
        "customer": "C",
        "hub_customer": "C",
    }


def test_repair_whose_task_never_began_is_a_failure_and_counts_no_attempt(folder):
    shared = Shared(folder)
    shared.load("7.0", "customer")
    shared.load("7.0", "hub_customer", fails=True)
    shared.end("7.0")
    for run in ("7.1", "7.2", "7.3", "7.4"):
        assert not shared.end(run).succeeded

    statuses = [shared.load("7.5", name) for name in ("customer", "hub_customer", "sat_customer", "dim_customer")]

    assert statuses == ["C", "R", "R", "E"]
    assert shared.end("7.5").succeeded


def test_run_that_has_ended_is_not_ended_again(folder):
    shared = Shared(folder)
    shared.load("7.0", "customer")
    shared.end("7.0")

    with pytest.raises(ControlError, match=r"failed or not loaded: |has ended already"):
        shared.end("7.0")


def test_run_that_was_asked_to_stop_is_ended_as_stopped(folder):
    shared = Shared(folder)
    shared.load("7.0", "customer")
    shared.catalog.request_stop("daily")

    shared.end("7.0")

    newest = shared.catalog.latest_batch("daily")[0]
    assert (newest.status, newest.message) == ("A", "stopped on request; the next run loads the rest")


def test_suspended_batch_ends_without_loads(folder):
    shared = Shared(folder)
    shared.start("6.0")
    shared.catalog.end_batch(shared.start("6.0").run_id, "S")
    shared.catalog.enable("daily", enabled=False)
    shared.start("7.0")

    result = shared.end("7.0")

    assert (result.loads, result.succeeded) == ((), True)
    assert "suspended" in result.message
