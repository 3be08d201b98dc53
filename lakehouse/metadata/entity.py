"""The base of all metadata values: frozen, typed, unknown keys rejected."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from lakehouse.sql.types import parse_type


class Entity(BaseModel):
    """A frozen metadata value; a key that it does not know is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", str_strip_whitespace=True, use_attribute_docstrings=True)


def _percent(value: object) -> object:
    if not isinstance(value, str) or not value.endswith("%"):
        return value
    try:
        return float(value[:-1])
    except ValueError:
        return value  # the field says what it expects


def _one_or_more(value: object) -> object:
    return (value,) if isinstance(value, str) else value


DataType = Annotated[str, AfterValidator(parse_type)]
"""A data type's canonical name."""

_Share = Annotated[str, Field(pattern=r"^[0-9.]+ *%$")]

Percent = Annotated[float, BeforeValidator(_percent, json_schema_input_type=float | _Share)]
"""A share in percent, written ``20%`` or ``20``."""

Names = Annotated[tuple[str, ...], BeforeValidator(_one_or_more)]
"""Names; a single one may stand without brackets."""
