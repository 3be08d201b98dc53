"""The kinds of tables: every subclass of ``Table`` in the vault and mart packages, collected by the registry.

Rule: a new kind is one new file plus its test.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from pathlib import Path

from lakehouse import mart, vault
from lakehouse.metadata import project as _project
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import Registry, Table


@cache
def registry() -> Registry:
    """All kinds."""
    found: list[type[Table]] = []
    for package in (vault, mart):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            members = vars(importlib.import_module(module.name)).values()
            found.extend(member for member in members if _is_kind(member, module.name))
    return Registry(found)


def read_project(path: str | Path) -> Project:
    """Reads and checks a project.

    Raises:
        MetadataError: one line per problem, each with file and line.
    """
    return _project.read_project(path, registry())


def _is_kind(member: object, module: str) -> bool:
    return (
        isinstance(member, type)
        and issubclass(member, Table)
        and member.__module__ == module
        and "kind" in member.model_fields
    )
