"""What ``lakehouse doctor`` looks at: Python, Java, Spark, Delta and the disk."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from lakehouse.engine.session import check_java
from lakehouse.errors import SetupError

NEEDED_GIGABYTES = 2


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    found: str
    good: bool
    advice: str = ""


def examine() -> tuple[Finding, ...]:
    """Looks at everything a local run needs."""
    looks: tuple[Callable[[], Finding], ...] = (_python, _java, _spark, _delta, _disk)
    return tuple(look() for look in looks)


def _python() -> Finding:
    found = ".".join(map(str, sys.version_info[:3]))
    return Finding("Python", found, sys.version_info >= (3, 10), "Install Python 3.10 or later.")


def _java() -> Finding:
    try:
        return Finding("Java", check_java(), True)
    except SetupError as error:
        return Finding("Java", "none that fits", False, str(error))


def _spark() -> Finding:
    return _package("pyspark", "pip install 'lakehouse[spark]' (on Databricks the runtime has it).")


def _delta() -> Finding:
    return _package("delta-spark", "pip install 'lakehouse[spark]' (on Databricks the runtime has it).")


def _package(name: str, advice: str) -> Finding:
    try:
        return Finding(name, version(name), True)
    except PackageNotFoundError:
        return Finding(name, "not installed", False, advice)


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1024**3
    advice = f"Free at least {NEEDED_GIGABYTES} GB, or run in another folder."
    return Finding("Disk", f"{free:.1f} GB free in {Path.cwd()}", free >= NEEDED_GIGABYTES, advice)
