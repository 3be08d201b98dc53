"""The wheel of a project: its metadata and the entry point that the tasks of its jobs call.

Rule: the wheel holds the metadata that it was built from, and its version is made from its content, so that a workspace never
runs an older one under the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lakehouse.generate.text import MADE_BY, content_mark
from lakehouse.metadata.project import Project

ENTRY_POINT = "main"
_INIT = '''\
"""Entry point of the jobs of {project}: what a task of the asset bundle calls. {made_by}"""

from pathlib import Path

from lakehouse.job import main as run


def main() -> None:
    """Runs the part of a batch that the task's parameters name."""
    run(Path(__file__).parent / "project")
'''
_PYPROJECT = """\
# {made_by}
[build-system]
requires = ["hatchling>=1.25"]
build-backend = "hatchling.build"

[project]
name = "{package}"
version = "{version}"
description = "Metadata and entry point of the jobs of {project}"
requires-python = ">=3.10"
dependencies = []

[project.scripts]
{package} = "{package}:main"

[project.entry-points.packages]
{entry_point} = "{package}:main"

[tool.hatch.build]
ignore-vcs = true

[tool.hatch.build.targets.wheel]
packages = ["{package}"]
"""


@dataclass(frozen=True)
class Wheel:
    """A project's wheel: its names and the files that it is built from."""

    package: str
    version: str
    files: Mapping[str, str]
    folder: str = "../dist"
    """Where a job finds it: as it was built, from the folder of the job's own file."""
    library: str = "${var.library}"
    """Where a job finds the library that the wheel needs: in the bundle a variable, so that targets share their jobs."""

    @property
    def path(self) -> str:
        """The wheel's path once it is built."""
        return f"{self.folder}/{self.package}-{self.version}-py3-none-any.whl"


def package_of(project: Project) -> str:
    """The name of the project's wheel and of the package in it."""
    return f"{project.name.lower().replace('-', '_')}_lakehouse"


def project_wheel(project: Project, metadata: Mapping[str, str]) -> Wheel:
    """The wheel of a project; ``metadata`` is the text of its YAML files by path below the project's folder."""
    package = package_of(project)
    inside = {f"{package}/project/{path}": text for path, text in metadata.items()}
    inside[f"{package}/__init__.py"] = _INIT.format(project=project.name, made_by=MADE_BY)
    version = f"1.0.0+{content_mark(inside)}"
    names = {"package": package, "version": version, "project": project.name, "entry_point": ENTRY_POINT}
    pyproject = _PYPROJECT.format(made_by=MADE_BY, **names)
    return Wheel(package, version, {"pyproject.toml": pyproject, **inside})
