"""Turns pydantic's errors into messages with file, line, what was found and what exists."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from lakehouse.errors import suggestion
from lakehouse.metadata.located_yaml import LocatedYaml, Location

_EXPECTED = {
    "string_type": "text is expected",
    "int_type": "a whole number is expected",
    "int_parsing": "a whole number is expected",
    "float_type": "a number is expected",
    "float_parsing": "a number or a share such as 20% is expected",
    "bool_type": "true or false is expected",
    "bool_parsing": "true or false is expected",
    "dict_type": "names and values are expected",
    "tuple_type": "a list is expected",
    "model_type": "keys and values are expected",
    "model_attributes_type": "keys and values are expected",
    "missing": "is missing",
}


def explain(error: ValidationError, model: Any, located: LocatedYaml, location: Location, label: str) -> Iterator[str]:
    """One message per error of a validation."""
    for detail in error.errors(include_url=False):
        inner = _in_yaml(detail["loc"], located, location)
        if detail["type"] == "union_tag_invalid":
            inner = (*inner, "kind")
        place = located.place((*location, *inner))
        yield f"{place}: {label}: {_message(detail, model, inner)}"


def _in_yaml(loc: Location, located: LocatedYaml, base: Location) -> Location:
    """pydantic's location without the parts that are not in the YAML (such as the tag of a union)."""
    kept: list[str | int] = []
    for position, part in enumerate(loc):
        known = (*base, *kept, part) in located.lines
        if known or position == len(loc) - 1:
            kept.append(part)
    return tuple(kept)


def _message(detail: ErrorDetails, model: Any, inner: Location) -> str:
    name = ".".join(str(part) for part in inner)
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = _known_keys(model, detail["loc"])
        return f"unknown key '{name}'. {suggestion(str(inner[-1]), known)}"
    if kind == "missing":
        return f"'{name}' is missing."
    if kind in ("literal_error", "union_tag_invalid"):
        expected = detail.get("ctx", {}).get("expected", detail.get("ctx", {}).get("expected_tags", ""))
        found = detail["input"].get("kind") if isinstance(detail["input"], dict) else detail["input"]
        return f"'{name}' is '{found}'. Allowed: {expected}."
    if kind == "union_tag_not_found":
        what = f"'{name}'" if name else "it"
        return f"{what} has no kind. Known: {', '.join(_kinds(model, detail['loc']))}."
    if kind == "value_error":
        return (
            f"'{name}': {detail['msg'].removeprefix('Value error, ')}"
            if name
            else detail["msg"].removeprefix("Value error, ")
        )
    return f"'{name}': {_EXPECTED.get(kind, detail['msg'].lower())}, found {_shape(detail['input'])}."


def _shape(value: Any) -> str:
    if isinstance(value, dict):
        return "names and values"
    if isinstance(value, list):
        return "a list"
    return "nothing" if value is None else f"'{value}'"


def _known_keys(model: Any, loc: Location) -> list[str]:
    """The keys that the model has at a location."""
    found = _candidates(model, loc[:-1])
    return sorted({key for candidate in found for key in candidate.model_fields if not _hidden(candidate, key)})


def _candidates(model: Any, loc: Location) -> list[Any]:
    """The models that may stand at a location, following fields, mappings, lists and unions."""
    current: list[Any] = list(_models(model))
    for part in loc:
        tagged = [candidate for candidate in current if _is_tagged(candidate, part)]
        if tagged:
            current = tagged
            continue
        following: list[Any] = []
        for candidate in current:
            field = candidate.model_fields.get(part) if isinstance(part, str) else None
            if field is not None:
                following.extend(_models(field.annotation))
        current = following or current
    return current


def _kinds(model: Any, loc: Location) -> list[str]:
    """The words that choose among the models at a location."""
    fields = [candidate.model_fields.get("kind") for candidate in _candidates(model, loc)]
    return [word for field in fields if field is not None for word in getattr(field.annotation, "__args__", ())]


def _is_tagged(model: type[BaseModel], part: str | int) -> bool:
    """Whether a part of pydantic's location is the word that chose the model among a union's."""
    kind = model.model_fields.get("kind")
    return kind is not None and kind.is_required() and part in getattr(kind.annotation, "__args__", ())


def _hidden(model: type[BaseModel], key: str) -> bool:
    return bool(model.model_fields[key].exclude)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models that stand anywhere in a type annotation."""
    if isinstance(annotation, TypeAdapter):
        annotation = annotation._type
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for inner in getattr(annotation, "__args__", ()):
        yield from _models(inner)
