"""SQL scripts: a project -> DDL and loads as text."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import sqlglot

from lakehouse.generate.sql_scripts import load_script, sql_files
from lakehouse.kinds import read_project
from lakehouse.samples.project import SAMPLES

GOLDEN = Path(__file__).parents[1] / "golden" / "artefacts"
SAMPLE = read_project(SAMPLES["awlt"])
KINDS = read_project(Path(__file__).parents[1] / "golden" / "kinds")
FILES = sql_files(SAMPLE, SAMPLE.environment("dev"))
SHOWN = ["deploy", "truncate", "drop", "load/hub_customer", "load/sat_address", "load/link_order_line", "load/dim_address",
         "load/fact_sales_order", "load/dim_date", "ddl/hub_customer", "ddl/dim_product"]  # fmt: skip
EXTERNAL = read_project(Path(__file__).parents[1] / "golden" / "external")
LOADS = [(project, name) for project in (SAMPLE, KINDS, EXTERNAL) for name in project.tables]


@pytest.mark.parametrize("name", SHOWN)
def test_sample_scripts_are_the_golden_ones(name):
    path = f"sql/dev/{name}.sql"
    if os.environ.get("UPDATE_GOLDEN") == "1":
        (GOLDEN / path).parent.mkdir(parents=True, exist_ok=True)
        (GOLDEN / path).write_text(FILES[path], encoding="utf-8")

    assert FILES[path] == (GOLDEN / path).read_text(), "if so intended: UPDATE_GOLDEN=1"


def test_every_table_has_its_scripts_and_every_source_its_stage():
    paths = {path.removeprefix("sql/dev/") for path in FILES}

    assert paths == (
        {"deploy.sql", "truncate.sql", "drop.sql"}
        | {f"{kind}/{name}.sql" for name in SAMPLE.tables for kind in ("ddl", "load")}
        | {f"stage/{name}.sql" for name in SAMPLE.sources}
    )


@pytest.mark.parametrize(("project", "name"), LOADS, ids=[name for _, name in LOADS])
def test_script_leaves_no_marker_and_its_statements_parse(project, name):
    text = load_script(project.environment(), project.table(name))
    inner = text.partition("BEGIN\n")[2].rpartition("END;")[0]
    write = inner[
        inner.index("INSERT INTO" if "  INSERT INTO" in inner[: inner.index("SELECT *,")] else "MERGE INTO") :
    ]

    assert "{" not in text
    assert ":from" not in text
    assert sqlglot.parse_one(write.rstrip().rstrip(";"), dialect="databricks") is not None


@pytest.mark.parametrize(("project", "name"), LOADS, ids=[name for _, name in LOADS])
def test_every_variable_is_declared_and_used(project, name):
    text = load_script(project.environment(), project.table(name))
    declared = set(re.findall(r"DECLARE `?(\w+)`?", text))
    body = text[text.index("SET next_position") :]

    assert declared == {"next_position"} | {
        f"{e}_position_{i.name}" for i in project.table(name).inputs for e in ("from", "to")
    }
    assert set(re.findall(r"`((?:from|to)_position_\w+)`", body)) <= declared
    assert {name for name in declared if name.startswith("to_")} <= set(re.findall(r"`(to_position_\w+)`", body))


def test_ghost_record_is_written_into_a_table_without_rows():
    text = load_script(EXTERNAL.environment(), EXTERNAL.table("sat_customer"))

    assert text.count("WHERE NOT EXISTS (SELECT 1 FROM `vault`.`sat_customer`)") == 1


def test_deploy_makes_schemas_before_tables_and_inputs_before_what_reads_them():
    text = FILES["sql/dev/deploy.sql"]

    made = re.findall(r"CREATE (?:TABLE|SCHEMA) IF NOT EXISTS (\S+)", text)
    assert made[:4] == [f"`dev`.`{layer}`;" for layer in ("stage", "persistent_stage", "vault", "mart")]
    assert made.index("`dev`.`persistent_stage`.`awlt_customer`") < made.index("`dev`.`vault`.`hub_customer`")
    assert made.index("`dev`.`vault`.`sat_product`") < made.index("`dev`.`mart`.`dim_product`")
    assert len(made) == 4 + len(SAMPLE.tables) + len(SAMPLE.sources)


def test_drop_and_truncate_name_every_table_once():
    for script in ("drop", "truncate"):
        named = re.findall(r"TABLE (?:IF EXISTS )?(\S+);", FILES[f"sql/dev/{script}.sql"])
        assert len(named) == len(set(named)) == len(SAMPLE.tables) + len(SAMPLE.sources)
