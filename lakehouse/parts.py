"""Parts of a batch: what one task of a job loads.

Rule: a part holds loads of one batch; it comes after the parts that hold what its loads read. How coarse parts are is the
job's granularity.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lakehouse.errors import MetadataError, suggestion
from lakehouse.metadata.environment import LAYERS
from lakehouse.metadata.job import Granularity, Job
from lakehouse.metadata.project import Project
from lakehouse.plan import Plan, make_plan

END = "end"
"""The task that ends a batch whose loads ran in several tasks. No part has its name."""


@dataclass(frozen=True)
class Part:
    """Loads that one task runs, and the parts before it."""

    name: str
    loads: tuple[str, ...]
    after: tuple[str, ...]


def batch_plan(project: Project, batch: str) -> Plan:
    """The plan of a batch; the project's name stands for all there is.

    Raises:
        MetadataError: there is no such batch.
    """
    if batch in project.batches:
        return make_plan(project, select=project.batches[batch].select)
    if batch == project.name:
        return make_plan(project)
    raise MetadataError(f"{project.folder}: no batch '{batch}'. {suggestion(batch, [project.name, *project.batches])}")


def job_of(project: Project, batch: str) -> Job:
    """How a batch runs as a job; the whole project as a job has the defaults."""
    return project.batches[batch].job if batch in project.batches else Job()


def batch_parts(plan: Plan, granularity: Granularity) -> tuple[Part, ...]:
    """The parts of a batch in an order in which they may run."""
    if granularity == "batch":
        return (Part("batch", tuple(name for wave in plan.waves for name in wave), ()),)
    if granularity == "wave":
        return _parts(plan, {name: f"wave_{number}" for number, wave in enumerate(plan.waves, 1) for name in wave})
    if granularity == "layer":
        return _parts(plan, {name: node.target.layer for name, node in plan.nodes.items()})
    return _parts(plan, {name: _task_name(name) for name in plan.nodes})


def part_named(plan: Plan, granularity: Granularity, name: str) -> Part:
    """A part by name.

    Raises:
        MetadataError: the batch has no such part at this granularity.
    """
    parts = {part.name: part for part in batch_parts(plan, granularity)}
    if name not in parts:
        raise MetadataError(f"no part '{name}' at granularity {granularity}. {suggestion(name, parts)}")
    return parts[name]


def _task_name(load: str) -> str:
    """A load's own name; one that is called like the end of the batch gets an underscore."""
    return f"{load}_" if load.rstrip("_") == END else load


def _parts(plan: Plan, part_of: Mapping[str, str]) -> tuple[Part, ...]:
    """Parts by name: the order of waves, or of layers, is one in which they may run."""
    loads: dict[str, list[str]] = {}
    for wave in plan.waves:
        for name in wave:
            loads.setdefault(part_of[name], []).append(name)
    order = sorted(loads, key=_place)
    return tuple(Part(name, tuple(loads[name]), _after(plan, part_of, name, loads[name], order)) for name in order)


def _place(part: str) -> int:
    """Layers in their order; other parts stay as they were found."""
    return LAYERS.index(part) if part in LAYERS else 0


def _after(plan: Plan, part_of: Mapping[str, str], part: str, loads: list[str], order: list[str]) -> tuple[str, ...]:
    before = {part_of[name] for load in loads for name in plan.nodes[load].after}
    return tuple(name for name in order if name in before and name != part)
