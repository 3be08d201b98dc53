"""Parts of a batch: plan and granularity -> what each task loads, and after which."""

from __future__ import annotations

import pytest

from lakehouse.errors import MetadataError
from lakehouse.kinds import read_project
from lakehouse.parts import batch_parts, batch_plan, part_named
from lakehouse.plan import make_plan
from lakehouse.samples.project import SAMPLES

PLAN = make_plan(read_project(SAMPLES["awlt"]))
GRANULARITIES = ["load", "wave", "layer", "batch"]


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_every_load_is_in_one_part(granularity):
    loads = [name for part in batch_parts(PLAN, granularity) for name in part.loads]

    assert sorted(loads) == sorted(PLAN.nodes)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_what_a_load_reads_is_in_its_part_or_in_one_before_it(granularity):
    parts = batch_parts(PLAN, granularity)
    part_of = {name: part for part in parts for name in part.loads}
    before = {part.name: {part.name, *part.after} for part in parts}

    for name, node in PLAN.nodes.items():
        assert all(part_of[a].name in before[part_of[name].name] for a in node.after)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_parts_stand_in_an_order_in_which_they_may_run(granularity):
    seen: set[str] = set()
    for part in batch_parts(PLAN, granularity):
        assert set(part.after) <= seen
        seen.add(part.name)


def test_layers_and_waves_have_their_names():
    assert [part.name for part in batch_parts(PLAN, "layer")] == ["persistent_stage", "vault", "mart"]
    assert [part.name for part in batch_parts(PLAN, "wave")] == ["wave_1", "wave_2", "wave_3", "wave_4"]


def test_load_called_like_the_end_of_a_batch_has_another_name(tmp_path):
    text = "name: x\nconnections: {f: {kind: files, path: .}}\nsources:\n"
    for name in ("end", "end_"):
        text += f"  {name}: {{connection: f, object: {name}, key: id, columns: {{id: int}}}}\n"
    (tmp_path / "lakehouse.yml").write_text(text, encoding="utf-8")

    parts = batch_parts(make_plan(read_project(tmp_path)), "load")

    assert sorted(part.name for part in parts) == ["end_", "end__"]


def test_unknown_part_and_batch_are_refused():
    with pytest.raises(MetadataError, match=r"no part 'volt' at granularity layer.*Did you mean 'vault'"):
        part_named(PLAN, "layer", "volt")
    with pytest.raises(MetadataError, match=r"no batch 'dayly'.*Did you mean 'daily'"):
        batch_plan(PLAN.project, "dayly")


def test_batch_or_the_whole_project_has_a_plan():
    assert batch_plan(PLAN.project, "awlt").nodes.keys() == PLAN.nodes.keys()
    assert batch_plan(PLAN.project, "daily").nodes.keys() == PLAN.nodes.keys()
