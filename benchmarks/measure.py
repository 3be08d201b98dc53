"""The order of the measurements: bases first, then interleaved runs, each from a fresh copy of its base."""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.floor import floor, initial_floor, keep_changed, positions
from benchmarks.generate import write_all
from benchmarks.peers import has_mack, make_dimensions, peers, seconds
from benchmarks.project import Place, copy, deliver, load, register, timed_load, write_project
from lakehouse import BatchResult, Plan

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

VARIANTS = ("full", "delta")
GROWTH = (1, 3, 10)


@dataclass
class Samples:
    """Seconds by group and name, and counts that go with them."""

    seconds: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    commits: dict[str, dict[str, int]] = field(default_factory=dict)
    counts: dict[str, dict[str, dict[str, int]]] = field(default_factory=dict)

    def add(self, group: str, name: str, taken: float) -> None:
        """One more sample."""
        self.seconds.setdefault(group, {}).setdefault(name, []).append(round(taken, 3))

    def add_batch(self, group: str, result: BatchResult) -> None:
        """A sample for each load of a batch, and the counts of its last run."""
        for one in result.loads:
            self.add(group, one.name, one.seconds)
        self.add(group, "wall", result.seconds)
        self.counts[group] = {one.name: dict(one.counts) for one in result.loads}


@dataclass
class Bench:
    """Everything that a measurement needs: where, with which data, and what came out."""

    spark: SparkSession
    work: Path
    rows: int
    growth: tuple[int, ...] = ()
    samples: Samples = field(default_factory=Samples)
    runs: int = 0
    data: dict[str, Path] = field(default_factory=dict)
    plans: dict[str, Plan] = field(default_factory=dict)

    def prepare(self) -> None:
        """Writes the deliveries and the two projects."""
        self.data = write_all(self.spark, self.rows, self.work / "data", self.growth)
        self.plans = {name: write_project(self.work / f"project_{name}", name) for name in VARIANTS}

    def empty(self, name: str) -> Place:
        """A place without tables; the work folder's name makes its schemas unique in the session."""
        self.runs += 1
        prefix = f"{self.work.name}_{name}_{self.runs}".replace("-", "_").lower()
        place = Place(self.work / "places" / prefix, prefix, self.work / "deliveries" / prefix)
        place.folder.mkdir(parents=True)
        register(place, self.spark)
        return place

    def fresh(self, base: Place, number: int | None = 1, data: str = "") -> Place:
        """A copy of a base, with the second delivery waiting."""
        self.runs += 1
        if number and data:
            deliver(base, number, self.data[data])
        return copy(base, self.work / "places", f"{base.prefix}_c{self.runs}", self.spark)


def drop(place: Place) -> None:
    """Removes the files of a place."""
    shutil.rmtree(place.folder, ignore_errors=True)


def initial(bench: Bench, repeat: int) -> Place:
    """Loads day 0 into empty places, beside writing the same rows plainly; returns the last as the base."""
    base = None
    for _ in range(repeat):
        if base:
            drop(base)
        base = bench.empty("base")
        deliver(base, 0, bench.data["day 0"])
        bench.samples.add_batch("initial", load(bench.plans["full"], base, bench.spark, threads=1))
        for name in bench.plans["full"].nodes:
            taken = initial_floor(name, base, bench.spark)
            bench.samples.add("initial plain", name, taken)
        shutil.rmtree(base.folder / base.schema("peer"), ignore_errors=True)
    assert base is not None
    make_dimensions(base, bench.spark)
    return base


def base_with_history(bench: Bench, times: int) -> Place:
    """A base whose keys changed on earlier days, too; loaded at once, several versions of a key in one extract."""
    base = bench.empty(f"x{times}")
    deliver(base, 0, bench.data[f"history x{times}" if times > 1 else "day 0"])
    load(bench.plans["delta"], base, bench.spark, threads=4)
    return base


def daily(bench: Bench, base: Place, variant: str, group: str, threads: int, *, again: bool = False) -> Place:
    """The second delivery in a fresh copy; returns that copy. ``again``: and once more with nothing new."""
    place = bench.fresh(base, 1, variant)
    before = place.commits()
    result, control = timed_load(bench.plans[variant], place, bench.spark, threads=threads)
    bench.samples.add_batch(group, result)
    bench.samples.add(group, "control", control)
    after = place.commits()
    bench.samples.commits[group] = {n: c - before.get(n, 0) for n, c in after.items() if c != before.get(n, 0)}
    if again:
        result = load(bench.plans[variant], place, bench.spark, threads=threads)
        bench.samples.add("nothing new", "wall", result.seconds)
    return place


@dataclass(frozen=True)
class Done:
    """A place that holds day 1, with the positions before it and the rows that it wrote."""

    place: Place
    before: dict[str, int]
    changed: Path


def finish(bench: Bench, base: Place, variant: str) -> Done:
    """Loads day 1 once and keeps what it wrote, so that floors can read and append the same."""
    place = bench.fresh(base, 1, variant)
    before = positions(bench.plans[variant], place, bench.spark)
    load(bench.plans[variant], place, bench.spark, threads=4)
    changed = bench.work / "changed" / place.prefix
    keep_changed(bench.plans[variant], place, before, changed, bench.spark)
    return Done(place, before, changed)


def floors(bench: Bench, done: Done, variant: str) -> None:
    """The floor of each load, in a fresh copy of the finished place."""
    deliver(done.place, 1, bench.data[variant])
    place = bench.fresh(done.place, None)
    for name in bench.plans[variant].nodes:
        taken = floor(bench.plans[variant], name, place, done.before, done.changed, bench.spark)
        bench.samples.add(f"floor {variant}", name, taken)
    drop(place)


def others(bench: Bench, base: Place, variant: str) -> None:
    """The peers, in a fresh copy of the base; with the rows that each inserted, to check them against lakehouse."""
    place = bench.fresh(base, 1, variant)
    before = place.commits()
    for name, work in peers(place).items():
        if "mack" in name and not has_mack(bench.spark):
            continue
        bench.samples.add(f"peer {variant}", name, seconds(work, bench.spark))
        target = f"peer.{'dim_mack' if 'mack' in name else 'dim_merge'}" if name.startswith("dim") else f"vault.{name}"
        rows = inserted(bench, place, target) if place.commits()[target] > before[target] else 0
        bench.samples.counts.setdefault(f"peer {variant}", {})[name] = {"inserted": rows}
    drop(place)


def inserted(bench: Bench, place: Place, target: str) -> int:
    """The rows that the newest commit of a table inserted, as Delta's history tells."""
    layer, _, table = target.partition(".")
    newest = bench.spark.sql(f"DESCRIBE HISTORY {place.schema(layer)}.{table} LIMIT 1").collect()[0]
    metrics = newest["operationMetrics"]
    return int(metrics.get("numTargetRowsInserted") or metrics.get("numOutputRows") or 0)


def compare(bench: Bench, repeat: int) -> None:
    """Initial load, then per repeat: lakehouse, floors and peers in turn, for full snapshots and for extracts."""
    base = initial(bench, repeat)
    done = {variant: finish(bench, base, variant) for variant in VARIANTS}
    for number in range(repeat):
        for variant in VARIANTS:
            began = time.monotonic()
            drop(daily(bench, base, variant, variant, 1, again=variant == "full"))
            floors(bench, done[variant], variant)
            others(bench, base, variant)
            drop(daily(bench, base, variant, f"{variant}, 4 threads", 4))
            print(f"  run {number + 1} of {repeat}, {variant}: {time.monotonic() - began:.0f} s", flush=True)
    for place in (base, *(d.place for d in done.values())):
        drop(place)


def grow(bench: Bench, repeat: int) -> None:
    """The same day 1 over histories of several lengths, in turn."""
    bases = {times: base_with_history(bench, times) for times in bench.growth}
    for number in range(repeat):
        for times, base in bases.items():
            drop(daily(bench, base, "full", f"history x{times}", 1))
        print(f"  history: run {number + 1} of {repeat}", flush=True)
    for base in bases.values():
        drop(base)


def warm_up(spark: SparkSession, work: Path) -> None:
    """Both loads and the peers once with few rows, so that no measurement pays for loading classes."""
    bench = Bench(spark, Path(tempfile.mkdtemp(prefix="warm_", dir=work)), 2000)
    bench.prepare()
    base = initial(bench, 1)
    drop(daily(bench, base, "full", "full", 1))
    others(bench, base, "full")
    drop(base)
