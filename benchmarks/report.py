"""Medians, ratios, the table to read and the JSON to keep."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import Samples

VAULT = ("hub_customer", "hub_product", "link_order", "sat_customer")
"""The four tables that the reference measured with AutomateDV and datavault4dbt."""
VAULT_ALL = ("hub_customer", "hub_product", "hub_order", "link_order", "sat_customer", "sat_order")
STAGES = ("customer", "orders")
LOADS = (*STAGES, *VAULT_ALL, "dim_customer", "fact_order")
DIMENSION_PATH = ("customer", "hub_customer", "sat_customer", "dim_customer")


def facts(rows: int, repeat: int, cold: bool) -> dict[str, Any]:
    """The machine, the versions and the commit."""
    packages = ("lakehouse", "pyspark", "delta-spark", "mack")
    commit = _output(["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"])
    java = _output(["java", "-version"]).splitlines()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "rows": rows,
        "repeat": repeat,
        "warmed_up": not cold,
        "cores": os.cpu_count(),
        "memory_gib": round(memory / 2**30, 1),
        "load_average": [round(value, 1) for value in os.getloadavg()],
        "machine": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "java": java[0] if java else "",
        "versions": {name: _version(name) for name in packages},
        "commit": commit.strip(),
    }


def medians(samples: Samples) -> dict[str, dict[str, float]]:
    """The median of each group and name."""
    return {group: {n: round(median(s), 3) for n, s in by.items()} for group, by in samples.seconds.items()}


def total(group: dict[str, float], names: Iterable[str]) -> float | None:
    """The sum over names; None where one of them was not measured."""
    found = [group.get(name) for name in names]
    return None if None in found else sum(value for value in found if value is not None)


def ratio(one: float | None, other: float | None) -> float | None:
    """One divided by the other."""
    return round(one / other, 3) if one is not None and other else None


def targets(m: dict[str, dict[str, float]], commits: dict[str, dict[str, int]]) -> list[dict[str, Any]]:
    """The figures of the reference that this run can tell, each with its limit."""
    full, delta, peer = m.get("full", {}), m.get("delta", {}), m.get("peer full", {})
    chain, dimension = total(full, LOADS), full.get("dim_customer")
    path = total(full, DIMENSION_PATH)
    written = [n for n, c in commits.get("delta", {}).items() for _ in range(c) if "quarantine" not in n]
    found = [
        ("stage + four vault tables : hand-written", ratio(total(full, (*STAGES, *VAULT)), total(peer, VAULT)), 0.4),
        (
            "stage + all vault tables : hand-written",
            ratio(total(full, (*STAGES, *VAULT_ALL)), total(peer, VAULT_ALL)),
            0.4,
        ),
        ("chain, full : floor", ratio(chain, total(m.get("floor full", {}), LOADS)), 1.6),
        ("chain, delta : chain, full", ratio(total(delta, LOADS), chain), 0.4),
        ("chain, delta, 4 threads : full, 4 threads", ratio(_wall(m, "delta"), _wall(m, "full")), 0.4),
        ("commits of a delta load (no quarantine)", len(written), 11),
        ("type 2 dimension alone : MERGE", ratio(dimension, peer.get("dim_customer")), 0.4),
        ("type 2 dimension alone : mack", ratio(dimension, peer.get("dim_customer (mack)")), 0.45),
        ("source + hub + satellite + dimension : MERGE", ratio(path, peer.get("dim_customer")), None),
        (
            "initial load : plain write",
            ratio(total(m.get("initial", {}), LOADS), total(m.get("initial plain", {}), LOADS)),
            2.5,
        ),
        ("control catalog : whole run, full", ratio(full.get("control"), full.get("wall")), 0.03),
        ("seconds with nothing new (10 loads)", m.get("nothing new", {}).get("wall"), None),
    ]
    return [{"what": what, "value": value, "at_most": limit} for what, value, limit in found]


def tables(m: dict[str, dict[str, float]], commits: dict[str, dict[str, int]], growth: Sequence[int]) -> str:
    """What to print."""
    parts = [_loads_table(m, "full"), _loads_table(m, "delta")]
    if any(f"history x{times}" in m for times in growth):
        parts.append(_growth_table(m, growth))
    rows = [
        [t["what"], _shown(t["value"]), _shown(t["at_most"]), _verdict(t["value"], t["at_most"])]
        for t in targets(m, commits)
    ]
    parts.append(_grid("Figures to reach", ["what", "measured", "at most", ""], rows))
    return "\n\n".join(parts)


def write_json(path: Path, samples: Samples, given: dict[str, Any]) -> dict[str, dict[str, float]]:
    """Writes everything; returns the medians."""
    m = medians(samples)
    found = {
        "facts": given,
        "medians": m,
        "targets": targets(m, samples.commits),
        "commits": samples.commits,
        "counts": samples.counts,
        "samples": samples.seconds,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return m


def _loads_table(m: dict[str, dict[str, float]], variant: str) -> str:
    own, floor, peer = m.get(variant, {}), m.get(f"floor {variant}", {}), m.get(f"peer {variant}", {})
    initial, plain = m.get("initial", {}), m.get("initial plain", {})
    head = ["load", "initial", "plain write", "daily", "floor", ": floor", "by hand", ": by hand", "mack"]
    rows = []
    for name in LOADS:
        mack = peer.get(f"{name} (mack)")
        seconds = [initial.get(name), plain.get(name), own.get(name), floor.get(name)]
        ratios = [ratio(own.get(name), floor.get(name)), peer.get(name), ratio(own.get(name), peer.get(name)), mack]
        rows.append([name, *map(_shown, [*seconds, *ratios])])
    sums = [total(group, LOADS) for group in (initial, plain, own, floor)]
    rows.append(["sum", *map(_shown, [*sums, ratio(sums[2], sums[3])])])
    rows.append(["wall, 1 thread", _shown(initial.get("wall")), "", _shown(own.get("wall"))])
    rows.append(["wall, 4 threads", "", "", _shown(_wall(m, variant))])
    return _grid(f"Daily load, {variant} (seconds, medians)", head, rows)


def _growth_table(m: dict[str, dict[str, float]], growth: Sequence[int]) -> str:
    groups = [m.get(f"history x{times}", {}) for times in growth]
    rows = []
    for name in (*LOADS, "wall"):
        values = [group.get(name) for group in groups]
        rows.append([name, *map(_shown, values), *(_shown(ratio(value, values[0])) for value in values[1:])])
    head = ["load", *(f"x{times}" for times in growth), *(f"x{times} : x{growth[0]}" for times in growth[1:])]
    return _grid("The same day 1 over a longer history (seconds, medians)", head, rows)


def _wall(m: dict[str, dict[str, float]], variant: str) -> float | None:
    return m.get(f"{variant}, 4 threads", {}).get("wall")


def _grid(title: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    full = [list(row) + [""] * (len(head) - len(row)) for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *full]) for i in range(len(head))]
    lines = [
        "| "
        + " | ".join(c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(row, widths, strict=True)))
        + " |"
        for row in [list(head), *full]
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join([f"{title}\n", *lines])


def _shown(value: float | None) -> str:
    return "" if value is None else str(value) if isinstance(value, int) else f"{value:.2f}"


def _verdict(value: float | None, limit: float | None) -> str:
    return "" if value is None or limit is None else "reached" if value <= limit else "missed"


def _output(command: list[str]) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return answer.stdout or answer.stderr


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""
