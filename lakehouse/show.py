"""What ``lakehouse show`` prints: the SELECT of a load on table names, how it is written, and the table's DDL."""

from __future__ import annotations

from dataclasses import replace

from lakehouse.errors import MetadataError, suggestion
from lakehouse.metadata.environment import Environment, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import OFFSET, Load
from lakehouse.names import LOAD_POSITION, checkpoint
from lakehouse.sql.ddl import TableDefinition, create_table
from lakehouse.sql.select import block
from lakehouse.sql.write import insert_into, merge_into
from lakehouse.staging.checkpoint import current_select
from lakehouse.staging.persistent_stage import compare_select, log_definition
from lakehouse.staging.stage import landing_select, stage_select


def shown_sql(project: Project, environment: Environment, name: str) -> str:
    """The SQL of a source's or table's load. Positions stand as ``:from_position`` and ``:to_position``.

    Raises:
        MetadataError: there is no such source or table.
    """
    if name in project.sources:
        return _source_sql(project, environment, name)
    if name not in project.tables:
        known = [*project.tables, *project.sources]
        raise MetadataError(f"{project.folder}: no source or table '{name}'. {suggestion(name, known)}")
    load = project.table(name)
    return f"{_ddl(environment, load.relation, load.definition)}\n\n{load_sql(environment, load)}"


def load_sql(environment: Environment, load: Load) -> str:
    """The statement of a load, on the environment's tables."""
    target = environment.table(load.layer, load.name)
    relations = {"target": target}
    for entry in load.inputs:
        name = environment.table(entry.relation.layer, entry.relation.name)
        sliced = f"(SELECT * FROM {name} WHERE {LOAD_POSITION} > :from_position AND {LOAD_POSITION} <= :to_position)"
        relations[entry.name] = name if entry.whole else sliced
        relations[entry.name + OFFSET] = ":from_position"
    text = load.select.text(**relations)
    names = [column.name for column in load.definition.columns if column.name != LOAD_POSITION]
    if load.write == "append":
        return insert_into(target, names, block(text)) + ";"
    return merge_into(target, names, load.keys, f"(\n{block(text)}\n)") + ";"


def _source_sql(project: Project, environment: Environment, name: str) -> str:
    source, log = project.sources[name], project.log(name)
    hashes = project.settings_of("sources", name).hashes
    table = environment.table(log.layer, log.name)
    kept = environment.table(log.layer, checkpoint(log.name))
    definition = log_definition(source, project.settings_of("sources", name))
    after = f"(SELECT * FROM {table} WHERE {LOAD_POSITION} > :checkpoint_position)"
    stamps = {"load_datetime": ":load_datetime", "row_audit_id": ":row_audit_id"}
    parts = [
        ("persistent stage", _ddl(environment, log, definition)),
        (
            "landing: typed, derived, fingerprinted",
            landing_select(source, project.subjects(name), types=None, hashes=hashes).text() + ";",
        ),
        ("stage: stamped", stage_select(project, source).text(landed="landed", **stamps) + ";"),
        ("current rows", current_select(project, source, checkpoint=True).text(log=after, checkpoint=kept) + ";"),
        (
            "compare: the rows to append, by outcome",
            compare_select(project, source).text(
                staged="staged", current="current_rows", log=table, max_deletes=":max_deletes", **stamps
            )
            + ";",
        ),
    ]
    return "\n\n".join(f"-- {title}\n{text}" for title, text in parts)


def _ddl(environment: Environment, relation: Relation, definition: TableDefinition) -> str:
    columns = tuple(c if c.type else replace(c, type="/* as its expression */") for c in definition.columns)
    return create_table(environment.table(relation.layer, relation.name), replace(definition, columns=columns)) + ";"
