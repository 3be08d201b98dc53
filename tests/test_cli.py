"""The command line: arguments -> output, exit code, and nothing of Spark or Java where none is needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from lakehouse.cli import app, main
from lakehouse.kinds import read_project
from lakehouse.samples.project import SAMPLES

SAMPLE = SAMPLES["awlt"]
PROJECT = read_project(SAMPLE)
NAMES = [*PROJECT.sources, *PROJECT.tables]


@pytest.fixture
def lakehouse(monkeypatch, capsys):
    """Runs the entry point as a shell would: arguments -> exit code, standard output, standard error."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lakehouse", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def in_a_process(*arguments: str, path: str) -> subprocess.CompletedProcess[str]:
    """Runs Python in a process of its own, with no Java to be found below ``path``."""
    environment = {key: value for key, value in os.environ.items() if key != "JAVA_HOME"}
    environment |= {"PATH": path, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    return subprocess.run([sys.executable, *arguments], env=environment, capture_output=True, text=True, check=False)


def test_validate_counts_what_it_read(lakehouse):
    code, out, err = lakehouse("validate", "-p", SAMPLE)

    assert (code, out, err) == (0, "awlt: 10 sources, 36 tables, no problems.\n", "")


def test_project_is_the_current_folder_if_not_named(lakehouse, monkeypatch):
    monkeypatch.chdir(SAMPLE)

    assert lakehouse("validate")[:2] == (0, "awlt: 10 sources, 36 tables, no problems.\n")


def test_folder_without_a_project_is_exit_code_2(lakehouse, tmp_path):
    code, out, err = lakehouse("validate", "-p", tmp_path)

    assert (code, out) == (2, "")
    assert err == f"Error: {tmp_path}: no lakehouse.yml here. Name the project's folder, or make one: lakehouse init.\n"


def test_every_problem_is_a_line_of_its_own(lakehouse, tmp_path):
    (tmp_path / "lakehouse.yml").write_text("nmae: shop\nbatch: {}\n", encoding="utf-8")

    code, _, err = lakehouse("validate", "-p", tmp_path)

    assert code == 2
    assert [line.split(". ")[0].rpartition(": ")[2] for line in err.splitlines()] == [
        "unknown section 'nmae'",
        "unknown section 'batch'",
    ]


def test_plan_shows_every_load_once_in_waves(lakehouse):
    code, out, _ = lakehouse("plan", "-p", SAMPLE)

    heading, *lines = out.splitlines()
    first, second = heading.index("load"), heading.index("kind")
    waves = [line[:first].strip() for line in lines if line[:first].strip()]
    loads = [line[first:second].strip() for line in lines if line[first:second].strip()]
    assert code == 0
    assert heading.split() == ["wave", "load", "kind", "reads", "writes"]
    assert waves == ["1", "2", "3", "4"]
    assert sorted(loads) == sorted(NAMES)


def test_plan_shows_what_is_selected(lakehouse):
    code, out, _ = lakehouse("plan", "-p", SAMPLE, "-s", "hub_customer", "-s", "customer")

    loads = [line.split()[1] for line in out.splitlines()[1:]]
    assert (code, loads) == (0, ["customer", "hub_customer"])


def test_plan_takes_what_a_selected_table_needs(lakehouse):
    code, out, _ = lakehouse("plan", "-p", SAMPLE, "-s", "+sat_customer_name")

    loads = [line.split()[1] for line in out.splitlines()[1:]]
    assert (code, loads) == (0, ["customer", "sat_customer_name"])


def test_selection_that_finds_nothing_is_exit_code_2(lakehouse):
    code, _, err = lakehouse("plan", "-p", SAMPLE, "-s", "hub_custmer")

    assert code == 2
    assert err.startswith("Error: --select hub_custmer: no source or table of that name. Known: ")
    assert err.endswith("Did you mean 'hub_customer'?\n")


@pytest.mark.parametrize("name", NAMES)
def test_show_writes_the_sql_of_every_source_and_table(name, lakehouse):
    code, out, err = lakehouse("show", name, "-p", SAMPLE)

    assert (code, err) == (0, "")
    assert "CREATE TABLE IF NOT EXISTS `" in out
    assert out.endswith(";\n")
    assert "{" not in out, "no marker of a relation is left"
    assert ("MERGE INTO" if name.startswith(("dim_c", "dim_p", "dim_a", "fact_")) else "SELECT") in out


def test_show_settings_says_where_each_comes_from(lakehouse, monkeypatch):
    monkeypatch.chdir(SAMPLE)
    code, out, _ = lakehouse("show", "dim_customer", "--settings")

    lines = {line.split()[0]: line for line in out.splitlines()}
    assert code == 0
    assert lines["delete_guard"].split()[1:4] == ["20.0", "project", "awlt"]
    assert "lakehouse.yml:5)" in lines["delete_guard"]
    assert lines["hashing"].split()[1:] == ["lakehouse", "default"]
    assert lines["hash_algorithm"].split()[1:] == ["-", "default"]


@pytest.mark.parametrize("options", [(), ("--settings",)], ids=["sql", "settings"])
def test_unknown_table_is_exit_code_2(options, lakehouse):
    code, out, err = lakehouse("show", "dim_custmer", "-p", SAMPLE, *options)

    assert (code, out) == (2, "")
    assert "no source or table 'dim_custmer'. Known: " in err
    assert err.endswith("Did you mean 'dim_customer'?\n")


def test_unknown_environment_is_exit_code_2(lakehouse):
    code, _, err = lakehouse("show", "dim_customer", "-p", SAMPLE, "-e", "nowhere")

    assert code == 2
    assert err.endswith("no environment 'nowhere'. Known: dev, local, prod.\n")


def test_unknown_batch_is_exit_code_2_before_spark_starts(lakehouse):
    code, _, err = lakehouse("run", "-p", SAMPLE, "-b", "dayly")

    assert code == 2
    assert err.endswith("no batch 'dayly'. Known: daily. Did you mean 'daily'?\n")


@pytest.mark.parametrize("arguments", [("shew",), ("show",), ("validate", "--projekt", ".")])
def test_wrong_command_is_exit_code_2(arguments, lakehouse):
    code, out, err = lakehouse(*arguments)

    assert (code, out) == (2, "")
    assert "Traceback" not in err


def test_schema_is_json(lakehouse):
    code, out, _ = lakehouse("schema")

    assert code == 0
    assert json.loads(out)["title"] == "lakehouse project"


def test_schema_is_written_to_a_file(lakehouse, tmp_path):
    code, out, _ = lakehouse("schema", "-o", tmp_path / "lakehouse.schema.json")

    assert (code, out) == (0, "")
    assert json.loads((tmp_path / "lakehouse.schema.json").read_text())["type"] == "object"


def test_minimal_project_has_no_problems(lakehouse, tmp_path):
    assert lakehouse("init", tmp_path / "shop")[0] == 0

    code, out, err = lakehouse("validate", "-p", tmp_path / "shop")

    assert (code, out, err) == (0, "shop: 1 sources, 3 tables, no problems.\n", "")


def test_sample_project_is_copied(lakehouse, tmp_path):
    assert lakehouse("init", tmp_path / "shop", "--sample", "awlt")[0] == 0

    assert lakehouse("validate", "-p", tmp_path / "shop")[:2] == (
        0,
        "awlt: 10 sources, 36 tables, no problems.\n",
    )


def test_unknown_sample_is_exit_code_2(lakehouse, tmp_path):
    code, _, err = lakehouse("init", tmp_path / "shop", "--sample", "awlq")

    assert (code, err) == (2, "Error: no sample 'awlq'. Known: awlt. Did you mean 'awlt'?\n")
    assert not (tmp_path / "shop").exists()


def test_init_leaves_a_folder_with_files_alone(lakehouse, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")

    code, _, err = lakehouse("init", tmp_path)

    assert (code, err) == (2, f"Error: {tmp_path}: the folder is not empty. Name a new one.\n")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_help_names_every_command():
    result = CliRunner().invoke(app, ["--help"])

    assert result.exit_code == 0
    for command in ("init", "validate", "plan", "show", "schema", "build", "run", "status", "demo", "doctor"):
        assert command in result.output


def test_doctor_names_everything_that_a_run_needs(lakehouse):
    code, out, _ = lakehouse("doctor")

    findings = [line for line in out.splitlines() if not line.startswith("    ")]
    missing = [line for line in findings if line.startswith("missing")]
    assert [line.split(":")[0].split()[-1] for line in findings] == [
        "Python",
        "Java",
        "pyspark",
        "delta-spark",
        "Disk",
    ]
    assert code == (1 if missing else 0)


def test_doctor_without_java_says_what_to_do(lakehouse, monkeypatch):
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.delenv("JAVA_HOME", raising=False)

    code, out, _ = lakehouse("doctor")

    assert code == 1
    assert "missing  Java: none that fits" in out
    assert "Spark needs Java 17" in out
    assert "JAVA_HOME" in out


@pytest.mark.parametrize("command", ["validate", "plan", "show dim_customer", "show customer", "schema"])
def test_command_needs_no_java(command):
    code = "from lakehouse.cli import main; main()"
    project = [] if command == "schema" else ["-p", str(SAMPLE)]

    result = in_a_process("-c", code, *command.split(), *project, path="/nonexistent")

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout


def test_build_needs_neither_java_nor_spark(tmp_path):
    code = (
        "import sys; from lakehouse.cli import main\n"
        "try: main()\n"
        "finally: print('pyspark' in sys.modules, file=sys.stderr)"
    )

    result = in_a_process("-c", code, "build", "-p", str(SAMPLE), "--out", str(tmp_path), path="/nonexistent")

    assert (result.returncode, result.stderr) == (0, "False\n")
    assert (tmp_path / "databricks.yml").is_file()


def test_library_is_imported_without_spark():
    code = "import sys, lakehouse, lakehouse.cli; print([name for name in sys.modules if name in ('pyspark', 'delta')])"

    result = in_a_process("-c", code, path="/nonexistent")

    assert (result.returncode, result.stdout) == (0, "[]\n")


def test_plan_is_made_without_spark():
    code = (
        "import sys; sys.argv = ['lakehouse', 'plan', '-p', sys.argv[1]]\n"
        "from lakehouse.cli import main\n"
        "try: main()\n"
        "finally: print('pyspark' in sys.modules, file=sys.stderr)"
    )

    result = in_a_process("-c", code, str(SAMPLE), path="/nonexistent")

    assert (result.returncode, result.stderr) == (0, "False\n")


def test_sample_is_part_of_the_package():
    assert sorted(path.name for path in Path(SAMPLE).iterdir()) == [
        "lakehouse.yml", "mart.yml", "sources.yml", "vault.yml",
    ]  # fmt: skip
