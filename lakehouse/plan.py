"""Plan: the loads of a project in dependency order.

Rule: a source is staged before the tables that read it, a table is loaded before those made from it; loads without a
path between them may run at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from graphlib import TopologicalSorter

from lakehouse.errors import MetadataError, suggestion
from lakehouse.metadata.environment import Relation
from lakehouse.metadata.project import Project


@dataclass(frozen=True)
class Node:
    """One load of a plan: the staging of a source, or the load of a table."""

    name: str
    kind: str
    """``source`` or the table's kind."""
    target: Relation
    reads: tuple[Relation, ...]
    after: tuple[str, ...]
    """The loads of this plan that must end before it begins."""


@dataclass(frozen=True)
class Plan:
    """Loads, and the waves in which they may run."""

    project: Project
    nodes: Mapping[str, Node]
    waves: tuple[tuple[str, ...], ...]
    whole: bool = True
    """Whether it holds everything that the project has."""

    def sorter(self) -> TopologicalSorter[str]:
        """The dependencies, ready to hand out loads as those before them end."""
        return TopologicalSorter({name: node.after for name, node in self.nodes.items()})


def make_plan(project: Project, *, select: Iterable[str] = ("*",)) -> Plan:
    """The plan for the selected sources and tables; what they read is not pulled in by itself.

    A pattern is a name with ``*`` and ``?``; ``+name`` takes everything that the table needs, too.

    Raises:
        MetadataError: a pattern finds nothing.
    """
    everything = _nodes(project)
    chosen = _chosen(everything, list(select))
    nodes = {
        name: Node(n.name, n.kind, n.target, n.reads, tuple(a for a in n.after if a in chosen))
        for name, n in everything.items()
        if name in chosen
    }
    return Plan(project, nodes, _waves(nodes), len(nodes) == len(everything))


def _nodes(project: Project) -> dict[str, Node]:
    nodes = {}
    for name, source in project.sources.items():
        origin = Relation("stage", f"{source.connection}: {source.object}")
        nodes[name] = Node(name, "source", project.log(name), (origin,), ())
    for name, table in project.tables.items():
        reads = table.reads(project)
        after = [project.source_of(relation) or relation.name for relation in reads]
        nodes[name] = Node(name, str(getattr(table, "kind", "")), table.relation, reads, tuple(dict.fromkeys(after)))
    return nodes


def _chosen(nodes: Mapping[str, Node], patterns: Sequence[str]) -> set[str]:
    chosen: set[str] = set()
    for pattern in patterns:
        found = {name for name in nodes if fnmatchcase(name, pattern.removeprefix("+"))}
        if not found:
            raise MetadataError(f"--select {pattern}: no source or table of that name. {suggestion(pattern, nodes)}")
        chosen |= _upstream(nodes, found) if pattern.startswith("+") else found
    return chosen


def _upstream(nodes: Mapping[str, Node], names: set[str]) -> set[str]:
    found, waiting = set(names), list(names)
    while waiting:
        for name in nodes[waiting.pop()].after:
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def _waves(nodes: Mapping[str, Node]) -> tuple[tuple[str, ...], ...]:
    sorter = TopologicalSorter({name: node.after for name, node in nodes.items()})
    sorter.prepare()
    waves = []
    while sorter.is_active():
        ready = tuple(sorter.get_ready())
        waves.append(tuple(sorted(ready)))
        sorter.done(*ready)
    return tuple(waves)
