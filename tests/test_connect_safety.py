"""What Spark Connect and serverless compute refuse must not stand in the package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import lakehouse

FORBIDDEN = {
    "sparkContext", "rdd", "_jdf", "_jvm", "_jsc", "_jsparkSession", "cache", "persist", "unpersist", "DeltaTable",
    "createGlobalTempView", "createOrReplaceGlobalTempView", "toJavaRDD", "mapPartitions", "foreachPartition",
}  # fmt: skip
FILES = sorted(Path(lakehouse.__file__).parent.rglob("*.py"))


def offences(source: str) -> list[str]:
    """Forbidden attributes and names, and settings made on a session, with their lines."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            if node.attr in FORBIDDEN:
                found.append(f"{node.lineno}: .{node.attr}")
            if node.attr == "set" and isinstance(node.value, ast.Attribute) and node.value.attr == "conf":
                found.append(f"{node.lineno}: conf.set")
        elif isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("delta"):
            found.append(f"{node.lineno}: import of {node.module}")
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "udf":
            found.append(f"{node.lineno}: udf")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_nothing_in_the_package_is_refused_on_serverless(path):
    assert offences(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line", ["df.cache()", "df.rdd", "spark.conf.set('a', 'b')", "from delta.tables import DeltaTable"]
)
def test_the_lint_finds_what_it_is_for(line):
    assert offences(line)


def test_the_public_surface_is_sorted_and_there():
    assert lakehouse.__all__ == sorted(lakehouse.__all__)
    assert all(hasattr(lakehouse, name) for name in lakehouse.__all__)
