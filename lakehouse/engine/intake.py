"""Intake: which delivered files wait to be loaded, and how they are landed.

Rule: a file (path, size, checksum) is loaded once, however often it is offered. What is one delivery says the source:
the files of one folder, one file, or all that wait; deliveries are taken in the order of their paths. Columns are found
by header name, file by file; a delivery without a declared column stops its load, an undeclared one is landed and told.
"""

from __future__ import annotations

import csv
import hashlib
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lakehouse.control.catalog import File
from lakehouse.engine.workspace import Workspace
from lakehouse.errors import SourceError
from lakehouse.metadata.connection import DeltaConnection, FilesConnection
from lakehouse.metadata.source import Source, overlap_interval
from lakehouse.names import SOURCE_FILE
from lakehouse.sql.identifiers import quote
from lakehouse.staging.stage import CORRUPT, DELIVERED_ROW

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

logger = logging.getLogger(__name__)
_CORRUPT_TEXT = "_corrupt_text"


@dataclass(frozen=True)
class Delivery:
    """What one load of a source takes."""

    label: str
    files: tuple[File, ...] = ()
    query: str = ""
    """For a Delta table: the SELECT of its rows, pinned to a version."""
    watermark: tuple[str, str, str] | None = None


def waiting(
    workspace: Workspace, source: Source, known: frozenset[File], marks: Mapping[str, str | None]
) -> list[Delivery]:
    """The deliveries of a source that were not loaded yet, oldest first.

    Raises:
        SourceError: the folder or table is not there.
    """
    connection = workspace.project.connections[source.connection]
    if isinstance(connection, FilesConnection):
        return _waiting_files(workspace, source, connection, known)
    return _waiting_rows(workspace.spark, source, connection, marks)


def _waiting_files(
    workspace: Workspace, source: Source, connection: FilesConnection, known: frozenset[File]
) -> list[Delivery]:
    root = workspace.connection_path(source.connection, connection.path)
    if not root.is_dir():
        raise SourceError(
            f"source '{source.name}': the folder {root} of connection '{source.connection}' is not there."
        )
    pattern = file_pattern(source, connection)
    paths = offered(root, pattern)
    files = [file for path in paths if (file := _file(path)) not in known]
    if source.one_delivery == "all":
        return [Delivery(pattern, tuple(files))] if files else []
    if source.one_delivery == "file":
        return [Delivery(Path(file.path).name, (file,)) for file in files]
    folders = groupby(files, key=lambda file: str(Path(file.path).parent))
    return [Delivery(Path(folder).name, tuple(group)) for folder, group in folders]


def read_before(workspace: Workspace, source: Source, commits: Iterable[tuple[float, str]]) -> list[File]:
    """The offered files that a lost catalog knew: up to the last one that a commit names, and there before that commit.

    Deliveries are taken in the order of their paths, all that wait in one run; a file that came later, whatever its
    name, is new.
    """
    connection = workspace.project.connections[source.connection]
    if not isinstance(connection, FilesConnection):
        return []
    root = workspace.connection_path(source.connection, connection.path)
    paths = offered(root, file_pattern(source, connection)) if root.is_dir() else []
    known = [path for path in paths if any(str(path) <= last and _changed(path) <= at for at, last in commits)]
    return [_file(path) for path in known]


def _changed(path: Path) -> float:
    """When a file came or changed; copying keeps its time of writing, but not that of its entry."""
    status = path.stat()
    return max(status.st_mtime, status.st_ctime)


def file_pattern(source: Source, connection: FilesConnection) -> str:
    """The pattern of a source's files below the folder of its connection."""
    return (source.files or connection.files).format(table=source.object.rpartition(".")[2], format=connection.format)


def offered(folder: Path, pattern: str) -> list[Path]:
    """The files that match a pattern, by their paths."""
    return sorted(path for path in folder.glob(pattern) if path.is_file())


def source_table(source: Source, connection: DeltaConnection) -> str:
    """The table that a source reads."""
    return f"{quote(connection.catalog)}.{source.object}" if connection.catalog else source.object


def _file(path: Path) -> File:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256") if hasattr(hashlib, "file_digest") else _digest(stream.read())
    return File(str(path), path.stat().st_size, digest.hexdigest())


def _digest(content: bytes) -> Any:
    return hashlib.sha256(content)


def _waiting_rows(
    spark: SparkSession, source: Source, connection: DeltaConnection, marks: Mapping[str, str | None]
) -> list[Delivery]:
    name = source_table(source, connection)
    if not spark.catalog.tableExists(name):
        raise SourceError(f"source '{source.name}': the table {name} is not there.")
    version = int(spark.sql(f"DESCRIBE HISTORY {name} LIMIT 1").collect()[0]["version"])
    if marks.get("delta_version") == str(version):
        return []
    query = f"SELECT * FROM {name} VERSION AS OF {version}"
    label = f"{name} version {version}"
    if source.changes.by == "snapshot":
        return [Delivery(label, query=query, watermark=("delta_version", str(version), "bigint"))]
    return _window(spark, source, query, label, marks)


def _window(
    spark: SparkSession, source: Source, query: str, label: str, marks: Mapping[str, str | None]
) -> list[Delivery]:
    """The rows of the watermark's window: after the last mark (less the overlap), up to the newest value there is now."""
    name = source.changes.column
    assert name is not None
    delivered = source.headers.get(source.spelled(name) or name, name)
    column, last, data_type = quote(delivered), marks.get(name), source.type_of(name)
    newest = spark.sql(f"SELECT CAST(max({column}) AS STRING) AS mark FROM ({query})").collect()[0]["mark"]
    if newest is None:
        return []
    typed = f"CAST('{{}}' AS {data_type.upper()})".format
    low = typed(last) if last is not None else ""
    if low and source.changes.overlap:
        low = f"({low} - {overlap_interval(source.changes.overlap)})"
    lower = f"{column} > {low} AND " if low else ""
    window = f"{query} WHERE {lower}{column} <= {typed(newest)}"
    return [Delivery(label, query=window, watermark=(name, str(newest), data_type))]


def is_text(workspace: Workspace, source: Source) -> bool:
    """Whether a source's values arrive as text."""
    connection = workspace.project.connections[source.connection]
    return isinstance(connection, FilesConnection) and connection.format in ("csv", "json")


def read_delivery(workspace: Workspace, source: Source, delivery: Delivery) -> DataFrame:
    """The rows of a delivery as they came, with the file of each and what did not fit the header.

    Raises:
        SourceError: a declared column is not delivered, or a file has no header.
    """
    spark = workspace.spark
    connection = workspace.project.connections[source.connection]
    if not isinstance(connection, FilesConnection):
        return _with_origin(spark.sql(delivery.query), source, f"'{source.object}'")
    paths = [file.path for file in delivery.files]
    if connection.format == "csv":
        return _read_csv(spark, source, connection, paths)
    reader = spark.read.options(**_options(connection.options))
    if connection.format == "parquet":
        return _with_origin(reader.option("mergeSchema", "true").parquet(*paths), source, "_metadata.file_path")
    schema = ", ".join(f"{quote(name)} STRING" for name in source.headers.values())
    return _with_origin(reader.schema(f"{schema}, {_CORRUPT_TEXT} STRING").json(paths), source, "_metadata.file_path")


def _read_csv(spark: SparkSession, source: Source, connection: FilesConnection, paths: Sequence[str]) -> DataFrame:
    """All files, those of one header together: two eras of a file never shift values."""
    by_header: dict[tuple[str, ...], list[str]] = {}
    for path in paths:
        by_header.setdefault(_header(source, connection, path), []).append(path)
    frames = [_read_csv_files(spark, source, connection, header, files) for header, files in by_header.items()]
    whole = frames[0]
    for frame in frames[1:]:
        whole = whole.unionByName(frame, allowMissingColumns=True)
    return whole


def _read_csv_files(
    spark: SparkSession, source: Source, connection: FilesConnection, header: tuple[str, ...], paths: list[str]
) -> DataFrame:
    schema = ", ".join(f"{quote(name)} STRING" for name in header)
    options: dict[str, str | bool | int] = {"header": True, "escape": '"', "multiLine": True, **connection.options}
    reader = spark.read.options(**_options(options)).option("columnNameOfCorruptRecord", _CORRUPT_TEXT)
    frame = reader.schema(f"{schema}, {_CORRUPT_TEXT} STRING").csv(paths)
    return _with_origin(frame, source, "_metadata.file_path")


def _header(source: Source, connection: FilesConnection, path: str) -> tuple[str, ...]:
    options = connection.options
    delimiter = str(options.get("delimiter", options.get("sep", ",")))
    encoding = str(options.get("encoding", "utf-8"))
    encoding = "utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding
    with Path(path).open(encoding=encoding, newline="") as stream:
        header = next(csv.reader(stream, delimiter=delimiter), [])
    names = tuple(name.strip().lstrip("\ufeff") for name in header)
    if not any(names):
        raise SourceError(f"source '{source.name}': {path} is empty; a CSV file needs at least its header line.")
    twice = sorted({name for name in names if [n.lower() for n in names].count(name.lower()) > 1})
    if twice:
        raise SourceError(f"source '{source.name}': {path} has the column {', '.join(twice)} twice in its header.")
    _check_columns(source, names, path)
    return names


def _check_columns(source: Source, found: Iterable[str], where: str) -> None:
    names = {name.lower() for name in found}
    missing = [header for header in source.headers.values() if header.lower() not in names]
    if missing:
        raise SourceError(
            f"source '{source.name}': {where} does not deliver the column{'s' if len(missing) > 1 else ''} "
            f"{', '.join(missing)}. It delivers: {', '.join(found)}. Nothing of it was loaded."
        )
    made = [name for name in source.columns if name not in source.delivered]
    declared = {name.lower() for name in (*source.headers.values(), *made)}
    extra = [name for name in found if name.lower() not in declared]
    if extra:
        logger.warning(
            "source %s: %s delivers columns that the project does not declare: %s", source.name, where, ", ".join(extra)
        )


def _with_origin(frame: DataFrame, source: Source, file: str) -> DataFrame:
    from pyspark.sql import functions as F

    found = [name for name in frame.columns if name != _CORRUPT_TEXT]
    _check_columns(source, found, "the delivery")
    broken = F.col(_CORRUPT_TEXT) if _CORRUPT_TEXT in frame.columns else F.lit(None).cast("string")
    columns = [F.col(_escaped(header)).alias(name) for header, name in _named(source, found).items()]
    return frame.select(*columns, F.expr(file).alias(SOURCE_FILE), broken.alias(_CORRUPT_TEXT))


def _named(source: Source, found: Sequence[str]) -> dict[str, str]:
    """Each delivered name with the column's name in the project; an undeclared one that has it already is left out."""
    given = {header.lower(): name for name, header in source.headers.items() if header.lower() != name.lower()}
    taken = {name.lower() for name in given.values()}
    named = {header: given.get(header.lower(), header) for header in found}
    return {header: name for header, name in named.items() if header.lower() in given or name.lower() not in taken}


def _escaped(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def delivered_relation(columns: Sequence[str], relation: str) -> str:
    """The delivered rows as landing reads them: with the whole row as JSON, made only where it is asked for."""
    own = [quote(name) for name in columns if name not in (SOURCE_FILE, _CORRUPT_TEXT)]
    return (
        f"(SELECT {', '.join(own)}, {SOURCE_FILE}, {_CORRUPT_TEXT} IS NOT NULL AS {CORRUPT}, "
        f"coalesce({_CORRUPT_TEXT}, to_json(struct({', '.join(own)}))) AS {DELIVERED_ROW} FROM {relation})"
    )


def _options(options: Mapping[str, str | bool | int]) -> dict[str, Any]:
    return dict(options)
