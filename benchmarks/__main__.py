"""``python -m benchmarks``: measures the loads of lakehouse on this machine."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from benchmarks.measure import GROWTH, Bench, compare, grow, warm_up
from benchmarks.report import facts, tables, write_json
from lakehouse import spark_session


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000, help="customers and orders (default 100000)")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each measurement (default 3)")
    parser.add_argument("--growth", action="store_true", help="also with 3 and 10 times the history")
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results" / "latest.json")
    parser.add_argument("--cold", action="store_true", help="no warm-up with few rows before (for quick, large runs)")
    parser.add_argument("--work", type=Path, help="folder for data and warehouses (default: a temporary one)")
    return parser.parse_args()


def measure(given: argparse.Namespace, work: Path) -> None:
    """Warms up, measures, prints and writes."""
    growth = GROWTH if given.growth else ()
    spark = spark_session()
    if not given.cold:
        print("warming up", flush=True)
        warm_up(spark, work)
    bench = Bench(spark, Path(tempfile.mkdtemp(prefix="run_", dir=work)), given.rows, growth)
    print(f"{given.rows} customers and orders in {bench.work}", flush=True)
    try:
        bench.prepare()
        compare(bench, given.repeat)
        if growth:
            grow(bench, given.repeat)
    finally:
        medians = write_json(given.output, bench.samples, facts(given.rows, given.repeat, given.cold))
        print(f"\n{tables(medians, bench.samples.commits, growth)}\n\n{given.output}")


def main() -> None:
    """Runs in the given folder, or in one that is removed afterwards."""
    given = arguments()
    if given.work:
        given.work.mkdir(parents=True, exist_ok=True)
        measure(given, given.work.resolve())
        return
    with tempfile.TemporaryDirectory(prefix="lakehouse-benchmark-") as folder:
        measure(given, Path(folder).resolve())


if __name__ == "__main__":
    main()
