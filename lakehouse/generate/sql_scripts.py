"""SQL scripts: per table its DDL and its load as a script of Spark SQL; deploy, truncate and drop for all.

Rule: the load is the SELECT that the library runs, on table names. A script declares from and to position of each input that it
reads by position; left as they are, it reads everything and compares with the whole target: right, but slower. It stamps the
next free position, and keeps neither offsets nor counts: that is the control catalog's.
"""

from __future__ import annotations

from collections.abc import Iterator

from lakehouse.generate.text import MADE_BY
from lakehouse.metadata.environment import LAYERS, Environment, Relation
from lakehouse.metadata.project import Project
from lakehouse.metadata.table import OFFSET, Load
from lakehouse.names import LOAD_POSITION, OUTCOME
from lakehouse.plan import make_plan
from lakehouse.show import shown_sql
from lakehouse.sql.ddl import create_schema, create_table, create_table_as, empty_relation
from lakehouse.sql.identifiers import quote, quote_list
from lakehouse.sql.select import block
from lakehouse.sql.write import insert_into, merge_into
from lakehouse.staging.persistent_stage import log_definition

LAST = 9_223_372_036_854_775_807
"""Above every position: the largest BIGINT."""
NEXT = "next_position"


def sql_files(project: Project, environment: Environment) -> dict[str, str]:
    """The scripts of a project in one environment, by path."""
    folder, order = f"sql/{environment.name}", [name for wave in make_plan(project).waves for name in wave]
    definitions = {name: definition_sql(project, environment, name) for name in order}
    relations = [environment.table(relation.layer, relation.name) for relation in _relations(project, order)]
    schemas = [f"{create_schema(environment.schema_name(layer))};" for layer in LAYERS]
    files = {
        f"{folder}/deploy.sql": _script(
            "Makes schemas and tables that are not there.", *schemas, *definitions.values()
        ),
        f"{folder}/truncate.sql": _script("Empties every table.", *(f"TRUNCATE TABLE {name};" for name in relations)),
        f"{folder}/drop.sql": _script(
            "Drops every table.", *(f"DROP TABLE IF EXISTS {name};" for name in reversed(relations))
        ),
    }
    for name in order:
        if name in project.sources:
            text = shown_sql(project, environment, name)
            told = (
                "What the library runs to stage it; `landed`, `staged`, `current_rows` and :names are given by the run."
            )
            files[f"{folder}/stage/{name}.sql"] = _script(f"{name}. {told}", text)
        else:
            files[f"{folder}/ddl/{name}.sql"] = _script(f"Table {name}.", definitions[name])
            files[f"{folder}/load/{name}.sql"] = load_script(environment, project.table(name))
    return files


def _relations(project: Project, order: list[str]) -> Iterator[Relation]:
    for name in order:
        yield project.log(name) if name in project.sources else project.tables[name].relation


def _script(title: str, *statements: str) -> str:
    return f"-- {title} {MADE_BY}\n" + "\n\n".join(statements) + "\n"


def definition_sql(project: Project, environment: Environment, name: str) -> str:
    """CREATE TABLE of a table, or of a source's persistent stage table."""
    if name in project.sources:
        log = project.log(name)
        definition = log_definition(project.sources[name], project.settings_of("sources", name))
        return create_table(environment.table(log.layer, log.name), definition) + ";"
    load = project.table(name)
    target = environment.table(load.layer, load.name)
    if all(column.type for column in load.definition.columns):
        return create_table(target, load.definition) + ";"
    relations = {"target": empty_relation(load.definition)}
    for entry in load.inputs:
        relations |= {entry.name: environment.table(entry.relation.layer, entry.relation.name)}
        relations |= {entry.name + OFFSET: "0"}
    return create_table_as(target, load.definition, block(_positioned(load, relations, "0"))) + ";"


def load_script(environment: Environment, load: Load) -> str:
    """The load of a table as a compound statement, runnable on Spark 4 and in a workspace."""
    target = environment.table(load.layer, load.name)
    variables = [line for entry in load.inputs for line in _positions(entry.name)]
    body = [*variables, f"DECLARE {NEXT} BIGINT;"]
    body += [
        f"SET {NEXT} = (SELECT coalesce(max({quote(LOAD_POSITION)}), 0) + 1 FROM {target});",
        _write(environment, load),
    ]
    title = f"Load of {load.name} ({load.kind})."
    return _script(title, "BEGIN\n" + block("\n".join(body)) + "\nEND;")


def _positions(name: str) -> list[str]:
    """The variables of an input: the slice is what comes after one and up to the other."""
    return [
        f"DECLARE {quote(_from(name))} BIGINT DEFAULT 0;",
        f"DECLARE {quote(_to(name))} BIGINT DEFAULT {LAST};",
    ]


def _from(name: str) -> str:
    return f"from_position_{name}"


def _to(name: str) -> str:
    return f"to_position_{name}"


def _write(environment: Environment, load: Load) -> str:
    target = environment.table(load.layer, load.name)
    relations = {"target": target}
    for entry in load.inputs:
        name = environment.table(entry.relation.layer, entry.relation.name)
        low = "" if entry.whole else f"{LOAD_POSITION} > {quote(_from(entry.name))} AND "
        relations[entry.name] = f"(SELECT * FROM {name} WHERE {low}{LOAD_POSITION} <= {quote(_to(entry.name))})"
        relations[entry.name + OFFSET] = quote(_from(entry.name))
    rows = _positioned(load, relations, NEXT)
    names = load.definition.names
    if load.write == "append":
        return insert_into(target, names, block(rows)) + ";"
    changed = f"(\n  SELECT *\n  FROM (\n{block(rows, indent=4)}\n  )\n  WHERE outcome IN ('inserted', 'updated', 'removed')\n)"
    return merge_into(target, names, load.keys, changed) + ";"


def _positioned(load: Load, relations: dict[str, str], position: str) -> str:
    """The rows of a load's SELECT at a position; with them the ghost record, as long as the target has no rows."""
    text = load.select.text(**relations)
    if load.ghost is not None:
        names = quote_list([*(name for name in load.definition.names if name != LOAD_POSITION), OUTCOME])
        rows, ghost = block(text), block(load.ghost.text(**relations))
        new = f"WHERE NOT EXISTS (SELECT 1 FROM {relations['target']})"
        text = f"SELECT {names} FROM (\n{rows}\n)\nUNION ALL\nSELECT {names} FROM (\n{ghost}\n)\n{new}"
    return f"SELECT *, CAST({position} AS BIGINT) AS {quote(LOAD_POSITION)}\nFROM (\n{block(text)}\n)"
