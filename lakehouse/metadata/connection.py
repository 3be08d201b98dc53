"""Connection: where sources come from: a folder of files, or Delta tables."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from lakehouse.metadata.entity import Entity
from lakehouse.metadata.settings import Settings
from lakehouse.metadata.text_format import TextFormat


class FilesConnection(Entity):
    """A folder to which files are delivered."""

    kind: Literal["files"]
    path: str
    """The folder; relative to the project, absolute, or a volume. An environment may name another."""
    format: Literal["csv", "json", "parquet"] = "csv"
    files: str = "**/{table}.{format}"
    """Pattern of a source's files below the path; ``{table}`` is the last part of the source's object."""
    options: dict[str, str | bool | int] = Field(default_factory=dict)
    """Options of Spark's reader, such as ``delimiter`` or ``encoding``."""
    text: TextFormat = TextFormat()
    """How dates and numbers are written in its text."""
    record_source: str | None = None
    """Record source of its rows; the connection's name if left out. The object's name is appended."""
    description: str = ""
    settings: Settings = Settings()


class DeltaConnection(Entity):
    """Delta tables of a catalog or schema."""

    kind: Literal["delta"]
    catalog: str | None = None
    record_source: str | None = None
    description: str = ""
    settings: Settings = Settings()


Connection = Annotated[FilesConnection | DeltaConnection, Field(discriminator="kind")]
