"""Thin notebooks: a project -> notebooks without logic, which call the library with their widgets and exit with JSON."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from lakehouse.errors import MetadataError
from lakehouse.generate.notebooks import notebook_files
from lakehouse.kinds import read_project
from lakehouse.names import LOAD_POSITION
from lakehouse.notebook import status_rows, table_name
from lakehouse.samples.project import SAMPLES
from tests.generate.notebooks import cells, run_notebook
from tests.generate.projects import SHOP, shop

GOLDEN = Path(__file__).parents[1] / "golden" / "artefacts"
SAMPLE = read_project(SAMPLES["awlt"])
NOTEBOOKS = notebook_files(SAMPLE)
LOCAL = SHOP.replace("environments:\n", "environments:\n  local: {warehouse: ./warehouse}\n")


@pytest.mark.parametrize("path", NOTEBOOKS)
def test_notebook_is_thin(path):
    text = NOTEBOOKS[path]

    assert len(text.splitlines()) <= 20
    assert not re.search(r"^\s*(def|class|if|while|try|import (?!json))\b", text, re.MULTILINE)
    assert [compile(cell, path, "exec") for cell in cells(text)]


def test_sample_notebooks_are_the_golden_ones():
    if os.environ.get("UPDATE_GOLDEN") == "1":
        for path, text in NOTEBOOKS.items():
            (GOLDEN / path).parent.mkdir(parents=True, exist_ok=True)
            (GOLDEN / path).write_text(text, encoding="utf-8")

    golden = {f"notebooks/{p.name}": p.read_text() for p in (GOLDEN / "notebooks").iterdir()}
    assert golden == NOTEBOOKS, "if so intended: UPDATE_GOLDEN=1"


def test_notebooks_look_for_the_project_beside_the_bundle_or_above_it(tmp_path):
    beside = notebook_files(shop(tmp_path / "a"))["notebooks/status.py"]
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "lakehouse.yml").write_text(SHOP.partition("environments:")[0], encoding="utf-8")
    above = notebook_files(read_project(tmp_path / "b"))["notebooks/status.py"]

    assert '"project": "../shop_lakehouse/project"' in beside
    assert '"project": "../.."' in above


def test_control_catalog_is_made_and_its_version_told(tmp_path):
    (tmp_path / "lakehouse.yml").write_text(LOCAL, encoding="utf-8")

    result, _ = run_notebook(NOTEBOOKS["notebooks/control_catalog.py"], project=str(tmp_path), environment="local")

    assert json.loads(result)["status"] == "succeeded"
    assert json.loads(result)["version"] >= 1
    assert (tmp_path / "warehouse" / "control.db").is_file()


def test_status_before_the_first_run_has_no_rows(tmp_path):
    (tmp_path / "lakehouse.yml").write_text(LOCAL, encoding="utf-8")

    assert status_rows(tmp_path, "local", "daily") == []


@pytest.mark.parametrize("name", [*SAMPLE.tables, *SAMPLE.sources])
def test_every_table_has_the_position_that_the_history_notebook_orders_by(name):
    from lakehouse.staging.persistent_stage import log_definition

    definition = (
        SAMPLE.table(name).definition
        if name in SAMPLE.tables
        else log_definition(SAMPLE.sources[name], SAMPLE.settings_of("sources", name))
    )

    assert LOAD_POSITION in definition.names


def test_table_is_named_as_its_environment_says():
    assert table_name(SAMPLES["awlt"], "dev", "dim_customer") == "`dev`.`mart`.`dim_customer`"
    assert table_name(SAMPLES["awlt"], "local", "customer") == "`persistent_stage`.`awlt_customer`"
    with pytest.raises(MetadataError, match=r"no source or table 'dim_custmer'.*Did you mean 'dim_customer'"):
        table_name(SAMPLES["awlt"], "dev", "dim_custmer")
