"""Settings: how loads behave, given for the project, a connection, a batch or a table; the nearest wins.

Rule: table over batch over connection over project over default; ``lakehouse show --settings TABLE`` says which.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from lakehouse.metadata.entity import Entity, Percent
from lakehouse.sql.presets import Algorithm, Hashing, Output, PresetName, hashing_of


def _view_name(value: str) -> str:
    if not _VIEW_NAME.match(value):
        raise ValueError(
            f"'{value}' is no name of a view. Write {{name}} and letters, digits or underscores around it."
        )
    return value


ViewName = Annotated[str, AfterValidator(_view_name)]
"""The name of a view, with ``{name}`` for what it is made of."""
_VIEW_NAME = re.compile(r"^[A-Za-z0-9_]*\{name\}[A-Za-z0-9_]*$")


class Settings(Entity):
    """Every setting, with its default and meaning."""

    hashing: PresetName = "lakehouse"
    """How keys and columns become hashes: this library's injective way, or exactly that of another tool whose tables are
    loaded on. Fixed once loaded."""
    hash_algorithm: Algorithm | None = None
    """Algorithm of hash keys and hash diffs; the preset's own (MD5, BimlFlex SHA-1) if left out."""
    hash_output: Output | None = None
    """Hashes as BINARY or as hexadecimal text; the preset's own (BINARY, the others text) if left out."""
    hash_casing: Literal["upper", "keep"] = "upper"
    """Preset automate_dv only: whether text is upper-cased before it is hashed."""
    null_references: Literal["zero_key", "exclude"] = "zero_key"
    """A link row whose reference is NULL: points at the zero key, or is left out and counted as excluded."""
    ghost_records: bool = False
    """Whether a satellite begins with a ghost record: the zero key, no values, loaded at 1900-01-01, so that a join finds a
    row where there is no version."""
    ghost_record_source: str = "ghost"
    """The record source of ghost records."""
    satellite_deletes: Literal["track", "ignore"] = "track"
    """A key deleted in the source: a new satellite version with deleted_flag, or nothing."""
    open_end: Literal["9999-12-31", "null"] = "9999-12-31"
    """effective_to of the version that still holds."""
    current_view: ViewName = "{name}_current"
    """What the view of a table's current versions is called."""
    history_view: ViewName = "{name}_history"
    """What the view of all versions, each with effective_from and effective_to, is called."""
    source_view: ViewName = "{name}_as_of"
    """What the view that makes a source's rows again from the vault is called."""
    unknown_text: str = "Unknown"
    """What the text columns of the unknown member say."""
    delete_guard: Percent = Field(default=100.0, gt=0, le=100)
    """A full snapshot that would delete more than this share of the live keys stops the load."""
    allow_empty: bool = False
    """Whether an empty full snapshot may delete every key."""
    checkpoint_rows: int = Field(default=100_000, ge=1)
    """New rows of a persistent stage table after which its checkpoint of current rows is rewritten."""
    attempts: int = Field(default=3, ge=1)
    """How often a load may fail in a row before a restart passes over it until it is changed or reset."""
    retries: int = Field(default=3, ge=0)
    """How often a load is tried again inside a run after a write conflict or a lost connection."""
    wait_seconds: float = Field(default=600, ge=0)
    """How long a load waits for a table that another run writes."""
    deletion_vectors: bool = False
    """Deletion vectors of dimensions and facts: a MERGE into a table of many millions of rows is quicker with them, but
    planning a query over such a table takes seconds more, in every load that reads it."""
    optimize: bool = False
    """Whether ``lakehouse housekeeping`` compacts the table's files (OPTIMIZE)."""
    vacuum_days: int | None = Field(default=None, ge=7)
    """After how many days ``lakehouse housekeeping`` deletes files that the table no longer uses (VACUUM); never if left out."""
    compute: str | None = None
    """Name of the environment's compute that a job loads it on; the environment's default if left out."""
    delta_checkpoint_interval: int = Field(default=100, ge=1)
    """Commits between two checkpoints of a Delta log."""

    @property
    def hashes(self) -> Hashing:
        """How keys and columns are hashed."""
        return hashing_of(self.hashing, self.hash_algorithm, self.hash_output, casing=self.hash_casing == "upper")


@dataclass(frozen=True)
class SettingsLayer:
    """Settings given at one place of the project."""

    origin: str
    """Who gives them, such as ``connection awlt``."""
    given: Settings
    """Only the settings set here count (``model_fields_set``)."""
    places: dict[str, str]
    """file:line of each setting given."""


@dataclass(frozen=True)
class ResolvedSetting:
    """One setting with its value and where it came from."""

    name: str
    value: Any
    origin: str


def resolve(layers: Sequence[SettingsLayer]) -> tuple[ResolvedSetting, ...]:
    """Every setting from its nearest layer; ``layers`` go from the farthest (project) to the nearest (table)."""
    resolved = []
    for name, field in Settings.model_fields.items():
        value, origin = field.default, "default"
        for layer in layers:
            if name in layer.given.model_fields_set:
                value = getattr(layer.given, name)
                origin = f"{layer.origin} ({layer.places.get(name, '?')})"
        resolved.append(ResolvedSetting(name, value, origin))
    return tuple(resolved)


def effective(layers: Sequence[SettingsLayer]) -> Settings:
    """The settings that hold after all layers."""
    return Settings(**{setting.name: setting.value for setting in resolve(layers)})
