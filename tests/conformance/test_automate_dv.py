"""One scenario of every kind of AutomateDV's acceptance tests; the whole suite: ``python -m tests.conformance.automate_dv``."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conformance.automate_dv import run

pytestmark = [pytest.mark.load, pytest.mark.classic]
CASES = Path(__file__).parents[3] / "shared" / "conformance" / "automate_dv"
FILES = sorted(CASES.glob("*.json"))


@pytest.mark.skipif(
    not FILES, reason=f"the conformance cases are not at {CASES.parent.name}/{CASES.name} beside the project"
)
@pytest.mark.parametrize("file", FILES, ids=[file.stem for file in FILES])
def test_the_last_scenario_of_a_kind_passes(spark, file):
    scenario = json.loads(file.read_text(encoding="utf-8"))[-1]

    assert run(spark, scenario, f"conformance_{file.stem}") is None
