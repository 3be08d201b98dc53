"""The JSON Schema of project files, made from the models, for editors."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from lakehouse.metadata.batch import Batch
from lakehouse.metadata.connection import DeltaConnection, FilesConnection
from lakehouse.metadata.environment import Environment
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.source import Changes, Source, SourceColumn
from lakehouse.metadata.table import Registry, kind_word


def project_schema(registry: Registry) -> dict[str, Any]:
    """A JSON Schema (draft 2020-12) for ``lakehouse.yml`` and every other project file."""
    models: list[type[BaseModel]] = [
        FilesConnection,
        DeltaConnection,
        Source,
        SourceColumn,
        Changes,
        Batch,
        Environment,
        Settings,
    ]
    kinds = registry.values()
    _, definitions = models_json_schema([(model, "validation") for model in [*models, *kinds]])
    found: dict[str, Any] = definitions["$defs"]
    for kind in kinds:
        found[kind.__name__]["properties"]["kind"] = {"const": kind_word(kind)}
        found[kind.__name__]["required"] = sorted({"kind", *found[kind.__name__].get("required", [])})
    named: tuple[type[BaseModel], ...] = (Source, Environment, *kinds)
    for model in named:
        found[model.__name__]["properties"].pop("name", None)
    _allow_short_forms(found)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lakehouse project",
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string"},
            "description": {"type": "string"},
            "settings": _reference("Settings"),
            "connections": _named(_reference("FilesConnection"), _reference("DeltaConnection")),
            "sources": _named(_reference("Source")),
            "tables": _named(*(_reference(kind.__name__) for kind in kinds)),
            "batches": _named(_reference("Batch")),
            "environments": _named(_reference("Environment")),
        },
        "$defs": found,
    }


def _reference(name: str) -> dict[str, Any]:
    return {"$ref": f"#/$defs/{name}"}


def _named(*choices: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "additionalProperties": choices[0] if len(choices) == 1 else {"anyOf": list(choices)}}


def _allow_short_forms(definitions: dict[str, Any]) -> None:
    """The short forms that the reader accepts: one name for a list, a type for a column, a word for changes."""
    text = TypeAdapter(str).json_schema()
    for definition in definitions.values():
        for name, value in definition.get("properties", {}).items():
            if value.get("type") == "array":
                short = {key: value.pop(key) for key in ("title", "description", "default") if key in value}
                definition["properties"][name] = {**short, "anyOf": [text, value]}
            elif value.get("$ref") == "#/$defs/Changes":
                definition["properties"][name] = {"anyOf": [text, value]}
            elif isinstance(value.get("additionalProperties"), dict):
                _allow_short_values(value)


def _allow_short_values(value: dict[str, Any]) -> None:
    """A mapping whose values may be a word or a number instead of an object, or a list of names."""
    inner = value["additionalProperties"]
    if "$ref" in inner or inner.get("type") == "array":
        value["additionalProperties"] = {"anyOf": [{"type": ["string", "integer", "null", "array"]}, inner]}
