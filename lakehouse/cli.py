"""The command line: thin, every command one call into the library.

Exit codes: 0 done, 1 a load or check failed, 2 the command or the project is wrong.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lakehouse.errors import LakehouseError, MetadataError, suggestion

if TYPE_CHECKING:
    from rich.console import Console

    from lakehouse.control.catalog import Catalog, RunRow
    from lakehouse.engine.maintenance import Maintenance
    from lakehouse.engine.runner import BatchResult, LoadResult
    from lakehouse.metadata.environment import Environment
    from lakehouse.metadata.project import Project
    from lakehouse.plan import Plan

app = typer.Typer(
    help="From YAML metadata to a loaded lakehouse on Spark and Delta Lake.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
ProjectPath = Annotated[Path, typer.Option("--project", "-p", help="The project's folder.")]
EnvironmentName = Annotated[str | None, typer.Option("--env", "-e", help="Environment; the first one if left out.")]
Select = Annotated[
    list[str] | None,
    typer.Option("--select", "-s", help="Sources and tables by name or pattern; +NAME takes what it needs, too."),
]
BatchName = Annotated[str | None, typer.Argument(help="A batch; the whole project if left out.")]
LoadName = Annotated[str, typer.Argument(help="A source or table.")]
COUNTS = ("read", "inserted", "updated", "unchanged", "duplicate", "quarantined", "deleted", "excluded", "ignored")


def main() -> None:
    """Entry point: errors of the library become one message and an exit code."""
    logging.basicConfig(level=os.environ.get("LAKEHOUSE_LOG", "CRITICAL"), format="%(levelname)s %(name)s: %(message)s")
    warnings.filterwarnings("ignore", module="pyspark")
    try:
        app()
    except MetadataError as error:
        print_error("\n".join(error.problems))
        sys.exit(2)
    except LakehouseError as error:
        print_error(str(error))
        sys.exit(1)


def print_error(message: str) -> None:
    """Writes a message to standard error."""
    sys.stderr.write(f"Error: {message}\n")


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="The folder to make.")],
    sample: Annotated[str | None, typer.Option(help="Start from a sample project: awlt.")] = None,
) -> None:
    """Make a project: a minimal one, or a copy of a sample."""
    from lakehouse.samples.project import SAMPLES, write_minimal, write_sample

    if folder.exists() and any(folder.iterdir()):
        raise MetadataError(f"{folder}: the folder is not empty. Name a new one.")
    if sample is None:
        write_minimal(folder)
    elif sample in SAMPLES:
        write_sample(sample, folder)
    else:
        raise MetadataError(f"no sample '{sample}'. {suggestion(sample, SAMPLES)}")
    _console().print(f"Made {folder}. Next: lakehouse validate -p {folder}", highlight=False)


@app.command()
def validate(project: ProjectPath = Path()) -> None:
    """Read and check the project; no Java needed."""
    from lakehouse.deployment import check_deployment

    found = _project(project)
    check_deployment(found)
    _console().print(
        f"{found.name}: {len(found.sources)} sources, {len(found.tables)} tables, no problems.", highlight=False
    )


@app.command()
def plan(project: ProjectPath = Path(), select: Select = None) -> None:
    """Show the loads in waves, and what each reads and writes."""
    from rich.table import Table

    made = _plan(_project(project), select)
    table = Table("wave", "load", "kind", "reads", "writes", box=None, header_style="bold")
    for number, wave in enumerate(made.waves, 1):
        for position, name in enumerate(wave):
            node = made.nodes[name]
            reads = ", ".join(relation.name for relation in node.reads)
            table.add_row(str(number) if position == 0 else "", name, node.kind, reads, str(node.target))
    _console().print(table)


@app.command()
def show(
    table: Annotated[str, typer.Argument(help="A source or table.")],
    project: ProjectPath = Path(),
    env: EnvironmentName = None,
    settings: Annotated[bool, typer.Option("--settings", help="Each setting, and where it came from.")] = False,
) -> None:
    """Show the SQL of a load and its DDL, or its settings."""
    from lakehouse.show import shown_sql

    found = _project(project)
    if settings:
        _print_settings(found, table)
    else:
        sys.stdout.write(shown_sql(found, found.environment(env), table) + "\n")


def _print_settings(project: Project, name: str) -> None:
    from rich.table import Table

    table = Table("setting", "value", "from", box=None, header_style="bold")
    for setting in project.resolved_settings(name):
        table.add_row(setting.name, "-" if setting.value is None else str(setting.value), setting.origin)
    _console().print(table, highlight=False)


@app.command()
def views(
    project: ProjectPath = Path(),
    select: Annotated[
        list[str] | None, typer.Option("--select", "-s", help="Tables and sources by name or pattern.")
    ] = None,
    env: EnvironmentName = None,
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", help="Sources as they were after the loads up to then; now if left out."),
    ] = None,
    printed: Annotated[bool, typer.Option("--print", help="Print the statements; no Java needed.")] = False,
) -> None:
    """Make views of the vault: current and history of its tables, and the sources restored from it."""
    from lakehouse.engine.views import make_views, printed_views

    found = _project(project)
    environment, chosen = found.environment(env), select or ["*"]
    if printed:
        sys.stdout.write(printed_views(found, environment, select=chosen, as_of=as_of))
        return
    result = make_views(found, select=chosen, as_of=as_of, environment=environment)
    _say([f"{len(result.made)} views made: {', '.join(result.made)}"] if result.made else ["no views made"])
    _say([f"{name}: no view, {reason}" for name, reason in result.passed_over.items()])
    if result.made and environment.catalog is None:
        _say(
            [
                "A local session forgets its views when it ends: make_views(project) makes them in yours, --print writes them."
            ]
        )


@app.command()
def schema(
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; standard output if left out.")
    ] = None,
) -> None:
    """Write the JSON Schema of project files, for editors."""
    from lakehouse.kinds import registry
    from lakehouse.metadata.json_schema import project_schema

    text = json.dumps(project_schema(registry()), indent=2) + "\n"
    if output:
        output.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


@app.command()
def build(
    what: Annotated[str, typer.Argument(help="bundle, notebooks, airflow, sql, secrets, or all.")] = "all",
    project: ProjectPath = Path(),
    env: Annotated[
        str | None,
        typer.Option("--env", "-e", help="Environment; all that the artefact is meant for if left out."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder; bundles/ in the project if left out.")] = None,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail if a file is not up to date.")] = False,
) -> None:
    """Generate what a workspace and an orchestrator need: asset bundle with jobs, notebooks, Airflow DAGs, SQL scripts."""
    from lakehouse.generate.artefacts import kinds_of, make_artefacts
    from lakehouse.generate.output import check_folder, stale_files, with_gone, write_files

    found, folder = _project(project), out or project / "bundles"
    check_folder(found.folder, folder)
    made = make_artefacts(found, what, env)
    made = made if env else with_gone(folder, made, kinds_of(what))
    if check:
        stale = stale_files(folder, made)
        _say(stale or [f"{folder}: up to date"])
        raise typer.Exit(1 if stale else 0)
    done = write_files(folder, made)
    _say([f"kept {path}: it is not generated any more, but was changed by hand" for path in done.kept])
    files = sum(len(entry) for entry in made.values())
    _say([f"{folder}: {files} files, {len(done.written)} written, {len(done.removed)} removed"])


@app.command()
def run(
    project: ProjectPath = Path(),
    select: Select = None,
    batch: Annotated[str | None, typer.Option("--batch", "-b", help="A batch of the project.")] = None,
    env: EnvironmentName = None,
    threads: Annotated[int | None, typer.Option(help="Loads that run at once.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Run everything, also what a failed run had done.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Load what is new: stage the waiting deliveries, then everything made from them; go on where a failed run stopped."""
    found = _project(project)
    if batch and batch not in found.batches:
        raise MetadataError(f"{project}: no batch '{batch}'. {suggestion(batch, found.batches)}")
    chosen = found.batches[batch] if batch else None
    made = _plan(found, select or (list(chosen.select) if chosen else None))
    limit = threads or (chosen.threads if chosen else None)
    restart = False if fresh or select else None
    result = _run(made, found.environment(env), batch, limit, quiet=as_json, restart=restart)
    if as_json:
        sys.stdout.write(json.dumps(_as_json(result), indent=2) + "\n")
    else:
        _print_result(result)
    raise typer.Exit(0 if result.succeeded else 1)


@app.command()
def status(
    project: ProjectPath = Path(),
    env: EnvironmentName = None,
    runs: Annotated[int, typer.Option("--runs", help="List so many of the latest batch runs.")] = 0,
) -> None:
    """Tell the latest batch and its loads, or list the latest batches."""
    found = _project(project)
    catalog = _catalog(found, env)
    rows = catalog.batches(runs) if runs else catalog.latest_batch()
    if not rows:
        _console().print("Nothing was run yet.")
    elif runs:
        _print_batches(rows)
    else:
        _print_status(rows)


def _print_batches(rows: Sequence[RunRow]) -> None:
    from rich.table import Table

    from lakehouse.control.catalog import STATUS_WORDS

    table = Table("run", "batch", "status", "started (UTC)", "seconds", "", box=None, header_style="bold")
    for row in rows:
        took = f"{row.seconds:.1f}" if row.seconds is not None else ""
        table.add_row(
            str(row.run_id), row.object, STATUS_WORDS[row.status], f"{row.started:%Y-%m-%d %H:%M:%S}", took, row.message
        )
    _console().print(table, highlight=False)


def _print_status(rows: Any) -> None:
    from rich.table import Table

    from lakehouse.control.catalog import STATUS_WORDS
    from lakehouse.status import story

    loads = rows[1:]
    _say(story(rows))
    table = Table("run", "load", "status", "next", "seconds", "rows", box=None, header_style="bold")
    for row in loads:
        counts = ", ".join(f"{row.counts[name]} {name}" for name in COUNTS if row.counts.get(name))
        took = f"{row.seconds:.1f}" if row.seconds is not None else ""
        table.add_row(
            str(row.run_id), row.object, STATUS_WORDS[row.status], row.next_status, took, counts or row.message
        )
    _console().print(table, highlight=False)


@app.command()
def rollback(
    run_id: Annotated[int, typer.Argument(metavar="RUN", help="A batch run; the newest first.")],
    project: ProjectPath = Path(),
    env: EnvironmentName = None,
) -> None:
    """Take out what a run wrote: rows, offsets, watermarks and files go back to what they were."""
    _say(_maintenance(project, env).rollback(run_id))


@app.command()
def reload(
    table: Annotated[str, typer.Argument(help="A table.")],
    project: ProjectPath = Path(),
    env: EnvironmentName = None,
    since: Annotated[
        datetime | None, typer.Option("--from", help="Load date-time to begin with; all if left out.")
    ] = None,
) -> None:
    """Let a table read its inputs again with the next run; its rows stay, equal ones are not added twice."""
    _say(_maintenance(project, env).reload(table, since))


@app.command()
def rebuild(
    table: Annotated[str, typer.Argument(help="A table.")], project: ProjectPath = Path(), env: EnvironmentName = None
) -> None:
    """Empty a table and let it read its inputs from the beginning with the next run."""
    _say(_maintenance(project, env).rebuild(table))


@app.command()
def collisions(
    tables: Annotated[list[str] | None, typer.Argument(help="Hubs and links; all if left out.")] = None,
    project: ProjectPath = Path(),
    env: EnvironmentName = None,
) -> None:
    """Compare hash keys with the business keys that they were made from; fails if two share one."""
    found = _project(project)
    steps, wrong = _maintenance(project, env), 0
    for name in tables or [table for table in found.tables if found.keyed(table)]:
        keys, shared = steps.collisions(name)
        wrong += shared
        _say([f"{name}: {keys} business keys, {shared} collisions"])
    if wrong:
        raise typer.Exit(1)


@app.command()
def adopt(
    tables: Annotated[
        list[str] | None, typer.Argument(help="Tables; all that say what they adopt if left out.")
    ] = None,
    project: ProjectPath = Path(),
    env: EnvironmentName = None,
) -> None:
    """Take over the tables of another tool, as the tables' 'adopts' says; later loads go on from there."""
    from lakehouse.engine import adoption

    workspace = _maintenance(project, env).workspace
    names = adoption.adoptable(workspace, tables or [])
    _say(list(adoption.told([adoption.adopt(workspace, name) for name in names])) or ["no table says what it adopts"])


@app.command()
def housekeeping(project: ProjectPath = Path(), env: EnvironmentName = None) -> None:
    """Delete old history and landed files; OPTIMIZE and VACUUM tables as their settings say."""
    _say(_maintenance(project, env).housekeeping() or ["nothing to do"])


@app.command()
def suspend(batch: BatchName = None, project: ProjectPath = Path(), env: EnvironmentName = None) -> None:
    """Keep a batch from running until it is resumed."""
    name, catalog = _batch_of_catalog(project, env, batch)
    catalog.enable(name, enabled=False)
    _say([f"batch {name} is suspended; lakehouse resume {batch or ''}".rstrip() + " lets it run"])


@app.command()
def resume(batch: BatchName = None, project: ProjectPath = Path(), env: EnvironmentName = None) -> None:
    """Let a suspended batch run again."""
    name, catalog = _batch_of_catalog(project, env, batch)
    catalog.enable(name, enabled=True)
    _say([f"batch {name} may run"])


@app.command()
def disable(name: LoadName, project: ProjectPath = Path(), env: EnvironmentName = None) -> None:
    """Pass over a source or table in every run until it is enabled."""
    _load_of_catalog(project, env, name).enable(name, enabled=False)
    _say([f"{name} is passed over; lakehouse enable {name} lets it run"])


@app.command()
def enable(name: LoadName, project: ProjectPath = Path(), env: EnvironmentName = None) -> None:
    """Let a disabled source or table run again."""
    _load_of_catalog(project, env, name).enable(name, enabled=True)
    _say([f"{name} may run"])


@app.command()
def stop(batch: BatchName = None, project: ProjectPath = Path(), env: EnvironmentName = None) -> None:
    """Ask running batches to stop after their current loads."""
    _, catalog = _batch_of_catalog(project, env, batch)
    runs = catalog.request_stop(batch)
    _say([f"run {run_id} stops after its current loads" for run_id in runs] or ["nothing is running"])


@app.command()
def reset(
    name: Annotated[str, typer.Argument(help="A batch, source or table.")],
    project: ProjectPath = Path(),
    env: EnvironmentName = None,
) -> None:
    """End what is stuck, forget failed attempts and, for a source, what it landed and did not finish."""
    found = _project(project)
    known = {found.name, *found.batches, *found.sources, *found.tables}
    if name not in known:
        raise MetadataError(f"no batch, source or table '{name}'. {suggestion(name, known)}")
    catalog = _catalog(found, env)
    told = [f"{name}: {catalog.reset(name)}"]
    if name in found.sources and catalog.unfinished(_table_id(found, env, name)):
        told.append(f"{name}: {_maintenance(project, env).forget(name)}")
    _say(told)


@app.command()
def watermark(
    source: Annotated[str, typer.Argument(help="A source.")],
    project: ProjectPath = Path(),
    env: EnvironmentName = None,
    value: Annotated[str | None, typer.Option("--set", help="The new value.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Also backwards: rows after it are read again.")] = False,
) -> None:
    """Show or set the watermark of a source."""
    found = _project(project)
    column = found.sources[source].changes.column if source in found.sources else None
    if column is None:
        marked = [name for name, entry in found.sources.items() if entry.changes.column]
        raise MetadataError(f"no source '{source}' with a watermark. {suggestion(source, marked)}")
    catalog = _catalog(found, env)
    if value is not None:
        catalog.set_watermark(source, column, value, found.sources[source].type_of(column), force=force)
    _say([f"{source}: {column} = {catalog.watermark(source, column) or 'not set'}"])


control = typer.Typer(help="The control catalog's tables.", no_args_is_help=True)
connection = typer.Typer(help="Connections.", no_args_is_help=True)
app.add_typer(control, name="control")
app.add_typer(connection, name="connection")


@control.command("init")
def control_init(project: ProjectPath = Path(), env: EnvironmentName = None) -> None:
    """Make the control catalog where it is not there yet."""
    found = _project(project)
    _say([f"control catalog: version {_catalog(found, env).init()}"])


@control.command("upgrade")
def control_upgrade(project: ProjectPath = Path(), env: EnvironmentName = None) -> None:
    """Bring the control catalog to this library's version; pipelines need not be generated again."""
    control_init(project, env)


@connection.command("test")
def connection_test(
    name: Annotated[str, typer.Argument(help="A connection of the project, or: control, databricks.")],
    project: ProjectPath = Path(),
    env: EnvironmentName = None,
) -> None:
    """Try a connection: a connection of the project, the control catalog, or the Databricks workspace."""
    from lakehouse.engine.connection_test import test_connection

    found = _project(project)
    _say(test_connection(found, found.environment(env), name))


@app.command()
def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo's project and warehouse are.")] = Path("lakehouse-demo"),
    again: Annotated[bool, typer.Option("--again", help="Deliver the last snapshot anew under another name.")] = False,
    customers: Annotated[int, typer.Option(help="Size of the generated deliveries.")] = 400,
) -> None:
    """Load the AdventureWorksLT sample: three deliveries, from files to a star schema."""
    from lakehouse.engine.session import spark_session
    from lakehouse.samples.project import deliver, write_sample

    if not (folder / "lakehouse.yml").is_file():
        write_sample("awlt", folder)
    found = _project(folder)
    steps = ["again"] if again else ["1", "2", "3"]
    _console().print(f"Project {folder}: {len(found.sources)} sources, {len(found.tables)} tables. Starting Spark …")
    spark_session(small=True)
    succeeded = True
    for step in steps:
        name = deliver(folder, step, customers=customers)
        _console().rule(f"delivery {name}", align="left")
        result = _run(_plan(found, None), found.environment(), None, None, quiet=False)
        _print_result(result)
        succeeded = succeeded and result.succeeded
    _console().print(
        f"Look further: lakehouse status -p {folder} · lakehouse show dim_customer -p {folder}", highlight=False
    )
    raise typer.Exit(0 if succeeded else 1)


@app.command()
def doctor() -> None:
    """Check Python, Java, Spark, Delta and the disk, and say what to do when one is missing."""
    from lakehouse.doctor import examine

    findings = examine()
    for finding in findings:
        mark = "[green]ok[/]" if finding.good else "[red]missing[/]"
        _console().print(f"{mark}  {finding.what}: {finding.found}", highlight=False)
        if not finding.good:
            _console().print(f"    {finding.advice}", highlight=False)
    raise typer.Exit(0 if all(finding.good for finding in findings) else 1)


def _say(lines: list[str]) -> None:
    for line in lines:
        _console().print(line, highlight=False, markup=False)


def _catalog(project: Project, env: str | None) -> Catalog:
    from lakehouse.engine.catalogs import open_catalog

    return open_catalog(project, project.environment(env))


def _batch_of_catalog(folder: Path, env: str | None, batch: str | None) -> tuple[str, Catalog]:
    found = _project(folder)
    if batch and batch not in found.batches and batch != found.name:
        raise MetadataError(f"{folder}: no batch '{batch}'. {suggestion(batch, [found.name, *found.batches])}")
    return batch or found.name, _catalog(found, env)


def _load_of_catalog(folder: Path, env: str | None, name: str) -> Catalog:
    found = _project(folder)
    known = [*found.sources, *found.tables]
    if name not in known:
        raise MetadataError(f"no source or table '{name}'. {suggestion(name, known)}")
    return _catalog(found, env)


def _table_id(project: Project, env: str | None, source: str) -> str:
    from lakehouse.metadata.environment import table_id

    return table_id(project.environment(env), project.log(source))


def _maintenance(folder: Path, env: str | None) -> Maintenance:
    from lakehouse.engine.catalogs import open_catalog
    from lakehouse.engine.maintenance import Maintenance
    from lakehouse.engine.session import spark_session
    from lakehouse.engine.workspace import open_workspace

    found = _project(folder)
    environment = found.environment(env)
    session = spark_session()
    return Maintenance(open_workspace(session, found, environment), open_catalog(found, environment, session))


def _project(folder: Path) -> Project:
    from lakehouse.kinds import read_project

    return read_project(folder)


def _plan(project: Project, select: list[str] | None) -> Plan:
    from lakehouse.plan import make_plan

    return make_plan(project, select=select or ["*"])


def _console() -> Console:
    from rich.console import Console

    width = shutil.get_terminal_size((140, 40)).columns
    return Console(width=None if sys.stdout.isatty() else max(width, 140), soft_wrap=False)


def _run(
    made: Plan,
    environment: Environment,
    batch: str | None,
    threads: int | None,
    *,
    quiet: bool,
    restart: bool | None = None,
) -> BatchResult:
    from lakehouse.engine.runner import run as run_plan

    options: dict[str, Any] = {"environment": environment, "batch": batch, "threads": threads, "restart": restart}
    if quiet or not sys.stdout.isatty():
        return run_plan(made, **options)
    from rich.live import Live

    board = _Board(len(made.nodes))
    with Live(get_renderable=board.render, console=_console(), refresh_per_second=4, transient=True):
        return run_plan(made, **options, progress=board.tell)


class _Board:
    """What a run shows while it runs: the loads at work and how many are done."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.done = 0
        self.running: dict[str, None] = {}

    def tell(self, result: LoadResult) -> None:
        """Takes the news of a load."""
        if result.state == "running":
            self.running[result.name] = None
        else:
            self.running.pop(result.name, None)
            self.done += 1

    def render(self) -> str:
        """One line: how many loads are done, and which run."""
        return f"{self.done} of {self.total} loads done; running: {', '.join(self.running) or 'none'}"


def _print_result(result: BatchResult) -> None:
    from rich.table import Table

    names = [name for name in COUNTS if any(load.counts.get(name) for load in result.loads)]
    table = Table("load", "kind", "state", "seconds", box=None, header_style="bold")
    for name in names:
        table.add_column(name, justify="right")
    quiet: dict[str, list[str]] = {}
    for load in result.loads:
        if load.state == "succeeded" and not load.counts:
            quiet.setdefault(load.message, []).append(load.name)
            continue
        cells = [str(load.counts.get(name, "")) for name in names]
        table.add_row(load.name, load.kind, load.state, f"{load.seconds:.1f}", *cells)
    if table.row_count:
        _console().print(table, highlight=False)
    for message, loads in quiet.items():
        _console().print(f"{message}: {', '.join(loads)}", highlight=False)
    for load in result.loads:
        if load.state == "failed":
            _console().print(f"[red]{load.name} failed:[/] {load.message}", highlight=False)
    if result.message:
        _console().print(f"{result.message}.", highlight=False)
    word = "succeeded" if result.succeeded else "failed"
    _console().print(
        f"Run {result.run_id} {word}: {result.written()} rows written in {result.seconds:.1f} s.", highlight=False
    )


def _as_json(result: BatchResult) -> Mapping[str, Any]:
    return {
        "run_id": result.run_id,
        "status": "succeeded" if result.succeeded else "failed",
        "seconds": round(result.seconds, 3),
        "rows_written": result.written(),
        "loads": [
            {
                "name": load.name,
                "kind": load.kind,
                "state": load.state,
                "seconds": round(load.seconds, 3),
                "counts": dict(load.counts),
                "message": load.message,
            }
            for load in result.loads
        ],
    }
