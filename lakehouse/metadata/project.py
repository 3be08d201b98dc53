"""Project: a folder of YAML files, read into frozen values.

Rule: ``lakehouse.yml`` names the project; any other YAML file below the folder adds connections, sources, tables,
batches and environments. Every problem is reported with file and line, all of them at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lakehouse.errors import MetadataError, suggestion
from lakehouse.metadata.batch import Batch
from lakehouse.metadata.connection import Connection, DeltaConnection, FilesConnection
from lakehouse.metadata.environment import Environment, Relation
from lakehouse.metadata.located_yaml import LocatedYaml, Location, read_yaml
from lakehouse.metadata.problems import explain
from lakehouse.metadata.settings import ResolvedSetting, Settings, SettingsLayer, effective, resolve
from lakehouse.metadata.source import Source
from lakehouse.metadata.table import KeyedTable, Load, Problem, Registry, Subject, Table
from lakehouse.metadata.text_format import TextFormat
from lakehouse.names import staged
from lakehouse.sql.presets import Hashing

PROJECT_FILE = "lakehouse.yml"
SECTIONS = ("connections", "sources", "tables", "batches", "environments")
SKIPPED_FOLDERS = frozenset({"tests", "bundles", "warehouse", "deliveries", "node_modules"})
_NAME = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
_CONNECTION: TypeAdapter[Any] = TypeAdapter(Connection)


@dataclass(frozen=True)
class Project:
    """A project's metadata: what there is and where it was said."""

    name: str
    folder: Path
    registry: Registry
    settings: Settings = field(default_factory=Settings)
    connections: Mapping[str, FilesConnection | DeltaConnection] = field(default_factory=dict)
    sources: Mapping[str, Source] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    batches: Mapping[str, Batch] = field(default_factory=dict)
    environments: Mapping[str, Environment] = field(default_factory=dict)
    places: Mapping[tuple[str, str], tuple[LocatedYaml, Location]] = field(default_factory=dict)

    def path(self, text: str) -> Path:
        """A folder that the metadata names: absolute, in a home, or relative to the project."""
        path = Path(text).expanduser()
        return path if path.is_absolute() else (self.folder / path).resolve()

    def place(self, section: str, name: str, location: Location = ()) -> str:
        """file:line of an entity, or of a part of it."""
        if (section, name) not in self.places:
            return str(self.folder / PROJECT_FILE)
        located, base = self.places[(section, name)]
        return located.place((*base, *location))

    def table(self, name: str) -> Load:
        """The load of a table, as a pure value.

        Raises:
            MetadataError: the project has no such table.
        """
        if name not in self.tables:
            raise MetadataError(f"{self.folder}: no table '{name}'. {suggestion(name, self.tables)}")
        return self.tables[name].load(self)

    def environment(self, name: str | None = None) -> Environment:
        """An environment by name; the first one, or the embedded default, without a name."""
        if name is None:
            return next(iter(self.environments.values()), Environment(name="local"))
        if name not in self.environments:
            raise MetadataError(f"{self.folder}: no environment '{name}'. {suggestion(name, self.environments)}")
        return self.environments[name]

    def keyed(self, name: str) -> KeyedTable | None:
        """A hub or link by name."""
        table = self.tables.get(name)
        return table if isinstance(table, KeyedTable) else None

    def log(self, source: str) -> Relation:
        """The persistent stage table of a source."""
        return Relation("persistent_stage", staged(self.sources[source].connection, source))

    def text_format(self, source: str) -> TextFormat:
        """How dates and numbers are written in the text of a source's deliveries."""
        owner = self.sources[source]
        connection = self.connections[owner.connection]
        return owner.text.over(connection.text) if isinstance(connection, FilesConnection) else owner.text

    def source_of(self, relation: Relation) -> str | None:
        """The source whose persistent stage table a relation is."""
        if relation.layer != "persistent_stage":
            return None
        return next((name for name in self.sources if self.log(name) == relation), None)

    def subjects(self, source: str) -> tuple[Subject, ...]:
        """The subjects that satellites want marked in a source's log, by name."""
        found = (table.inferred_subject for table in self.tables.values())
        return tuple(sorted((s for s in found if s and s.source == source), key=lambda subject: subject.name))

    def settings_layers(self, section: str, name: str) -> tuple[SettingsLayer, ...]:
        """The places that give settings to a source or table, from the farthest to the nearest."""
        layers = [self._layer("project", self.name, self.settings, ("settings",))]
        connection = self._connection_of(section, name)
        if connection:
            layers.append(self._layer("connections", connection, self.connections[connection].settings))
        for batch_name, batch in self.batches.items():
            if batch.settings.model_fields_set and self._batch_holds(batch, name):
                layers.append(self._layer("batches", batch_name, batch.settings))
        entity = self.sources[name] if section == "sources" else self.tables[name]
        layers.append(self._layer(section, name, entity.settings))
        return tuple(layers)

    def settings_of(self, section: str, name: str) -> Settings:
        """The settings that hold for a source or table."""
        return effective(self.settings_layers(section, name))

    def hashes_of(self, table: str) -> Hashing:
        """How the keys and columns of a table are hashed."""
        return self.settings_of("tables", table).hashes

    def resolved_settings(self, name: str) -> tuple[ResolvedSetting, ...]:
        """Every setting of a source or table with where it came from.

        Raises:
            MetadataError: there is no such source or table.
        """
        section = "tables" if name in self.tables else "sources"
        if section == "sources" and name not in self.sources:
            known = [*self.tables, *self.sources]
            raise MetadataError(f"{self.folder}: no source or table '{name}'. {suggestion(name, known)}")
        return resolve(self.settings_layers(section, name))

    def _layer(self, section: str, name: str, given: Settings, base: Location = ("settings",)) -> SettingsLayer:
        kind = {"tables": "table", "sources": "source", "connections": "connection", "batches": "batch"}
        places = {key: self.place(section, name, (*base, key)) for key in given.model_fields_set}
        return SettingsLayer(f"{kind.get(section, section)} {name}", given, places)

    def _connection_of(self, section: str, name: str) -> str | None:
        if section == "sources":
            return self.sources[name].connection
        read = [self.source_of(relation) for relation in self.tables[name].reads(self)]
        connections = {self.sources[source].connection for source in read if source}
        return connections.pop() if len(connections) == 1 else None

    def _batch_holds(self, batch: Batch, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in batch.select)


class _Reader:
    """Collects entities and problems while the files of a project are read."""

    def __init__(self, folder: Path, registry: Registry) -> None:
        self.folder = folder
        self.registry = registry
        self.problems: list[str] = []
        self.values: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
        self.places: dict[tuple[str, str], tuple[LocatedYaml, Location]] = {}
        self.name = folder.name
        self.settings = Settings()

    def read_file(self, path: Path, *, root: bool) -> None:
        """One YAML file: its sections and, in the project file, name and settings."""
        try:
            located = read_yaml(path, shown=_shown(path))
        except MetadataError as error:
            self.problems.extend(error.problems)
            return
        if not isinstance(located.value, dict):
            self.problems.append(f"{located.place()}: a project file holds sections ({', '.join(SECTIONS)}).")
            return
        known = (*SECTIONS, "name", "description", "settings") if root else SECTIONS
        for key, value in located.value.items():
            if key not in known:
                self.problems.append(f"{located.place((key,))}: unknown section '{key}'. {suggestion(key, known)}")
            elif key in SECTIONS:
                self._read_section(key, value, located)
        if root:
            self._read_root(located)

    def _read_root(self, located: LocatedYaml) -> None:
        self.name = str(located.value.get("name", self.folder.name))
        self.places[("project", self.name)] = (located, ())
        self.settings = self._validated(
            Settings, located.value.get("settings") or {}, located, ("settings",), "settings"
        )

    def _read_section(self, section: str, value: Any, located: LocatedYaml) -> None:
        if value is None:
            return
        if not isinstance(value, dict):
            self.problems.append(f"{located.place((section,))}: '{section}' holds one entry per name.")
            return
        for name, entry in value.items():
            location = (section, name)
            if not _NAME.match(name):
                self.problems.append(
                    f"{located.place(location)}: '{name}' is not a name: use letters, digits and underscores."
                )
            elif (section, name) in self.places:
                other, base = self.places[(section, name)]
                self.problems.append(
                    f"{located.place(location)}: '{name}' is in the project twice; the other one is {other.place(base)}."
                )
            else:
                self.places[(section, name)] = (located, location)
                self._read_entity(section, name, {} if entry is None else entry, located, location)

    def _read_entity(self, section: str, name: str, entry: Any, located: LocatedYaml, location: Location) -> None:
        label = f"{section.rstrip('s') if section != 'batches' else 'batch'} '{name}'"
        if not isinstance(entry, dict):
            self.problems.append(f"{located.place(location)}: {label} holds keys and values.")
            return
        model = self._model(section, entry, located, location, label)
        if model is None:
            return
        named = entry if section in ("connections", "batches") else {**entry, "name": name}
        if section not in ("connections", "batches") and "name" in entry:
            self.problems.append(f"{located.place((*location, 'name'))}: {label}: its key is its name; remove 'name'.")
            return
        value = self._validated(model, named, located, location, label)
        if value is not None:
            self.values[section][name] = value

    def _model(self, section: str, entry: Mapping[str, Any], located: LocatedYaml, at: Location, label: str) -> Any:
        if section != "tables":
            return {
                "connections": _CONNECTION,
                "sources": Source,
                "batches": Batch,
                "environments": Environment,
            }[section]
        word = entry.get("kind")
        if isinstance(word, str) and word in self.registry:
            return self.registry[word]
        found = f"unknown kind '{word}'" if word is not None else "it has no kind"
        place = located.place((*at, "kind"))
        self.problems.append(f"{place}: {label}: {found}. {suggestion(str(word or ''), self.registry)}")
        return None

    def _validated(self, model: Any, entry: Any, located: LocatedYaml, location: Location, label: str) -> Any:
        try:
            return model.validate_python(entry) if isinstance(model, TypeAdapter) else model.model_validate(entry)
        except ValidationError as error:
            self.problems.extend(explain(error, model, located, location, label))
            return Settings() if model is Settings else None


def read_project(path: str | Path, registry: Registry) -> Project:
    """Reads and checks the project in a folder, or the one whose ``lakehouse.yml`` is named.

    Raises:
        MetadataError: with one line per problem, each naming file and line.
    """
    folder = Path(path)
    folder = folder.parent if folder.name == PROJECT_FILE else folder
    root = folder / PROJECT_FILE
    if not root.is_file():
        raise MetadataError(
            f"{folder}: no {PROJECT_FILE} here. Name the project's folder, or make one: lakehouse init."
        )
    reader = _Reader(folder, registry)
    reader.read_file(root, root=True)
    for file in _files(folder):
        if file != root:
            reader.read_file(file, root=False)
    project = _project(reader)
    problems = [*reader.problems, *(_checked(project) if not reader.problems else ())]
    if problems:
        raise MetadataError(*problems)
    return project


def metadata_text(project: Project) -> dict[str, str]:
    """The text of the project's YAML files, by path below its folder."""
    folder = project.folder
    return {path.relative_to(folder).as_posix(): path.read_text(encoding="utf-8-sig") for path in _files(folder)}


def _project(reader: _Reader) -> Project:
    values = reader.values
    sources = dict(values["sources"])
    return Project(
        reader.name,
        reader.folder,
        reader.registry,
        reader.settings,
        values["connections"],
        sources,
        values["tables"],
        values["batches"],
        values["environments"],
        reader.places,
    )


def _checked(project: Project) -> Iterator[str]:
    from lakehouse.metadata.checks import (
        check_batches,
        check_cycles,
        check_environments,
        check_names,
        check_source,
        check_tables,
    )

    for name, problem in check_names(project):
        yield from _located(project, "tables", name, [problem])
    for name, source in project.sources.items():
        yield from _located(project, "sources", name, check_source(project, source))
    found = list(check_tables(project))
    for name, problem in found:
        yield from _located(project, "tables", name, [problem])
    for name, batch in project.batches.items():
        yield from _located(project, "batches", name, check_batches(project, batch))
    for name, environment in project.environments.items():
        yield from _located(project, "environments", name, check_environments(project, environment))
    if not found:
        for name, problem in check_cycles(project):
            yield from _located(project, "tables", name, [problem])


def _located(project: Project, section: str, name: str, problems: Iterable[Problem]) -> Iterator[str]:
    label = {"sources": "source", "batches": "batch", "environments": "environment"}.get(section, "")
    for problem in problems:
        kind = label or getattr(project.tables[name], "kind", "table")
        yield f"{project.place(section, name, problem.location)}: {kind} '{name}' {problem.message}"


def _files(folder: Path) -> list[Path]:
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts)
        if path.suffix in (".yml", ".yaml") and not hidden and not SKIPPED_FOLDERS.intersection(parts[:-1]):
            found.append(path)
    return found


def _shown(path: Path) -> Path:
    try:
        return path.resolve().relative_to(Path.cwd())
    except ValueError:
        return path
