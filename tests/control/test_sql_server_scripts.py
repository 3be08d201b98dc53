"""The T-SQL scripts as texts: they parse, name what exists, call what is declared, keep the rules that a server would not check.

What a server alone can tell (its own parser, permissions, plans, locks) is not proven here; ``LAKEHOUSE_TEST_SQLSERVER`` runs the
catalog's whole suite against one.
"""

from __future__ import annotations

import ast
import hashlib
import inspect
from itertools import chain
from pathlib import Path

import pytest
from sqlglot import ErrorLevel, exp, parse_one

from lakehouse.control import schema
from lakehouse.control.catalog import Catalog
from lakehouse.control.sql_server import scripts, store
from lakehouse.control.sql_server.scripts import VERSION, installation, version_query
from lakehouse.errors import ControlError
from tests.control.tsql import Server, translated
from tests.control.tsql_text import (
    Assign,
    Call,
    Declare,
    ExecuteText,
    If,
    Option,
    Procedure,
    Sql,
    Throw,
    While,
    Word,
    every,
    expressions,
    read_script,
)

TEXTS = {**installation("control"), "get_version.sql": version_query("control")}
ALL = {name: read_script(text) for name, text in TEXTS.items()}
TABLES = ALL["001_tables.sql"]
PROCEDURES = ALL["procedures.sql"].procedures
FOR_ORCHESTRATORS = {
    "LogExecutionStart", "LogExecutionEnd", "LogExecutionError", "LogRowCount", "GetParameter", "SetParameter",
    "ResetExecutionStatus",
}  # fmt: skip
INSIDE = {
    "TakeTurn", "Refuse", "RegisterObject", "AddRun", "EndRun", "FailLoad", "FailLoads", "FailRun", "EndIfDead", "FindLiving",
    "StartBatch", "JudgeLoad", "StartLoad", "SaveWatermark", "SaveOffsets", "Learn",
}  # fmt: skip
"""Procedures that others call inside their transaction."""
PUBLIC = PROCEDURES.keys() - INSIDE
WORDS = """
ADD ALL ALTER AND ANY AS ASC AUTHORIZATION BACKUP BEGIN BETWEEN BREAK BROWSE BULK BY CASCADE CASE CHECK CHECKPOINT
CLOSE CLUSTERED COALESCE COLLATE COLUMN COMMIT COMPUTE CONSTRAINT CONTAINS CONTAINSTABLE CONTINUE CONVERT CREATE CROSS
CURRENT CURRENT_DATE CURRENT_TIME CURRENT_TIMESTAMP CURRENT_USER CURSOR DATABASE DBCC DEALLOCATE DECLARE DEFAULT
DELETE DENY DESC DISK DISTINCT DISTRIBUTED DOUBLE DROP DUMP ELSE END ERRLVL ESCAPE EXCEPT EXEC EXECUTE EXISTS EXIT
EXTERNAL FETCH FILE FILLFACTOR FOR FOREIGN FREETEXT FREETEXTTABLE FROM FULL FUNCTION GOTO GRANT GROUP HAVING HOLDLOCK
IDENTITY IDENTITYCOL IDENTITY_INSERT IF IN INDEX INNER INSERT INTERSECT INTO IS JOIN KEY KILL LEFT LIKE LINENO LOAD
MERGE NATIONAL NOCHECK NONCLUSTERED NOT NULL NULLIF OF OFF OFFSETS ON OPEN OPENDATASOURCE OPENQUERY OPENROWSET OPENXML
OPTION OR ORDER OUTER OVER PERCENT PIVOT PLAN PRECISION PRIMARY PRINT PROC PROCEDURE PUBLIC RAISERROR READ READTEXT
RECONFIGURE REFERENCES REPLICATION RESTORE RESTRICT RETURN REVERT REVOKE RIGHT ROLLBACK ROWCOUNT ROWGUIDCOL RULE SAVE
SCHEMA SECURITYAUDIT SELECT SESSION_USER SET SETUSER SHUTDOWN SOME STATISTICS SYSTEM_USER TABLE TABLESAMPLE TEXTSIZE
THEN TO TOP TRAN TRANSACTION TRIGGER TRUNCATE TRY_CONVERT TSEQUAL UNION UNIQUE UNPIVOT UPDATE UPDATETEXT USE USER
VALUES VARYING VIEW WAITFOR WHEN WHERE WHILE WITH WITHIN WRITETEXT
"""
RESERVED = set(WORDS.split())
"""Transact-SQL's reserved words, which sqlglot lets pass as names."""
DIGESTS = {1: "4ccdc1772f9e8079"}
"""Of the installation of each version. A released one is never changed: raise VERSION, add a table script if tables change."""
TEXT_SIZES = {"NVARCHAR": 2, "NCHAR": 2, "BIGINT": 8, "INT": 4, "BIT": 1, "DATETIME2": 8, "FLOAT": 8}
"""Bytes of a type, of a character of a text."""


def statements():
    for script in ALL.values():
        for batch in script.batches:
            yield from every(batch.body if isinstance(batch, Procedure) else batch)


def trees():
    return chain.from_iterable(expressions(statement) for statement in statements())


def reading(name):
    return ALL["procedures.sql"].procedures[name].body


# what sqlglot knows


def test_every_statement_parses_as_t_sql():
    """Without THROW, RETURN, EXEC of a text and the control flow around statements (IF, WHILE, BEGIN … END), which sqlglot reads
    wrongly or not at all; tsql_text reads those, and only in the forms that the scripts use."""
    for text in chain.from_iterable(script.texts for script in ALL.values()):
        if text.startswith(("THROW ", "RETURN", "EXEC (")):
            continue
        tree = parse_one(text, read="tsql", error_level=ErrorLevel.RAISE)
        assert tree.find(exp.Command, exp.Merge) is None, text


def test_no_text_is_executed_but_the_one_that_makes_the_schema():
    texts = [statement.text for statement in statements() if isinstance(statement, ExecuteText)]
    assert texts == ["CREATE SCHEMA [control]"]
    called = {statement.procedure for statement in statements() if isinstance(statement, Call)}
    assert called <= PROCEDURES.keys() | {"sp_getapplock"}


def test_what_sqlglot_does_not_know_is_little():
    kinds = {type(statement) for statement in statements()}
    assert kinds == {Assign, Call, Declare, ExecuteText, If, Option, Sql, Throw, While, Word}
    for statement in statements():
        if isinstance(statement, Throw):
            assert all(isinstance(part, exp.Literal | exp.National | exp.Parameter) for part in statement.parts)


def test_names_are_no_reserved_words():
    for tree in trees():
        for name in tree.find_all(exp.Identifier):
            assert name.quoted or name.name.upper() not in RESERVED, f"{name.name} in {tree.sql('tsql')[:80]}"


def test_text_of_json_meets_a_column_only_under_a_collation_of_its_own():
    """OPENJSON's texts have the database's collation, columns have theirs: error 468 where they meet."""
    for tree in trees():
        given = {table.alias for table in tree.find_all(exp.Table) if isinstance(table.this, exp.OpenJSON)}
        for one in tree.find_all(exp.EQ, exp.NEQ, exp.In):
            if isinstance(one.this, exp.Parameter):
                continue
            texts = [
                c
                for c in one.find_all(exp.Column)
                if c.table in given and c.find_ancestor(exp.EQ, exp.NEQ, exp.In) is one
            ]
            if texts and {column.name for column in texts} != {"size"}:
                assert one.find(exp.Collate), one.sql("tsql")


# names and calls


def test_every_table_column_and_variable_that_is_named_exists():
    server = Server()
    for text in TEXTS.values():
        server.run_script(text)
    for procedure in PROCEDURES.values():
        declared = {parameter.name for parameter in procedure.parameters}
        used = set()
        for statement in every(procedure.body):
            if isinstance(statement, Declare):
                declared |= {variable.name for variable in statement.variables}
            for tree in expressions(statement):
                text = translated(tree)
                used |= set(text.names) | set(text.assigns)
                server.db.execute(f"EXPLAIN {text.sql}", dict.fromkeys(text.names))
            used |= {statement.name} if isinstance(statement, Assign) else set()
            used |= {statement.result} if isinstance(statement, Call) and statement.result else set()
        assert used - {"ROWCOUNT"} == declared, procedure.name


def test_a_variable_is_declared_once_and_outside_of_loops():
    for procedure in PROCEDURES.values():
        names = [parameter.name for parameter in procedure.parameters]
        for statement in every(procedure.body):
            names += [variable.name for variable in statement.variables] if isinstance(statement, Declare) else []
            if isinstance(statement, While):
                assert not any(isinstance(inner, Declare) for inner in every(statement.body)), procedure.name
        assert len({name.lower() for name in names}) == len(names), procedure.name


def test_every_call_fits_the_procedure_that_it_calls():
    for procedure in PROCEDURES.values():
        types = {parameter.name: parameter.type for parameter in procedure.parameters}
        for statement in every(procedure.body):
            if isinstance(statement, Declare):
                types |= {variable.name: variable.type for variable in statement.variables}
            if isinstance(statement, Call) and statement.procedure != "sp_getapplock":
                check_call(procedure.name, statement, types)


def check_call(where, call, types):
    called = PROCEDURES[call.procedure]
    given = {argument.name: argument for argument in call.arguments}
    assert given.keys() <= {parameter.name for parameter in called.parameters}, where
    for parameter in called.parameters:
        argument = given.get(parameter.name)
        assert argument or parameter.default is not None, f"{where}: {call.procedure} without {parameter.name}"
        if argument is None:
            continue
        assert argument.output == parameter.output, f"{where}: {call.procedure} {parameter.name}"
        if isinstance(argument.value, exp.Parameter):
            kind = types[argument.value.name]
            assert kind.name == parameter.type.name or {kind.name, parameter.type.name} == {"NVARCHAR", "NCHAR"}
            assert parameter.type.size == 0 or kind.size <= parameter.type.size or parameter.name in SHORTENED
        else:
            assert isinstance(argument.value, exp.Literal | exp.National | exp.Null), (
                f"{where}: an argument is no expression"
            )


SHORTENED = {"Status"}
"""Parameters that take a longer variable, whose value was checked before."""


def test_a_name_is_never_cut_off():
    """A value longer than a parameter is cut without a word; one longer than a column is an error."""
    for procedure in PROCEDURES.values():
        for parameter in procedure.parameters:
            if parameter.type.name == "NVARCHAR" and parameter.name != "LockMode":
                assert parameter.type.size in (0, 4000), f"{procedure.name} {parameter.name}"


# discipline


@pytest.mark.parametrize("name", sorted(PUBLIC - {"GetCatalogVersion"}))
def test_a_public_procedure_is_one_transaction_that_takes_its_turn_first(name):
    body = list(PROCEDURES[name].body)
    assert body[:2] == [Option("NOCOUNT"), Option("XACT_ABORT")]
    begin = body.index(Word("BEGIN TRANSACTION"))
    assert isinstance(body[begin + 1], Call) and body[begin + 1].procedure == "TakeTurn"
    assert body[-1] == Word("COMMIT TRANSACTION")
    touched = [tree for statement in body[: begin + 1] for tree in expressions(statement)]
    assert not any(table.db for tree in touched for table in tree.find_all(exp.Table))
    assert sum(statement == Word("BEGIN TRANSACTION") for statement in every(body)) == 1


@pytest.mark.parametrize("name", sorted(INSIDE))
def test_an_inner_procedure_opens_no_transaction_and_answers_nothing(name):
    for statement in every(PROCEDURES[name].body):
        assert not (isinstance(statement, Word) and statement.text != "RETURN")
        answers = (
            isinstance(statement, Sql)
            and isinstance(statement.tree, exp.Select)
            and not translated(statement.tree).assigns
        )
        assert not answers or name == "Refuse"


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_a_reader_takes_a_shared_turn_and_a_writer_an_exclusive_one(name):
    turns = [s for s in every(PROCEDURES[name].body) if isinstance(s, Call) and s.procedure == "TakeTurn"]
    writes = any(isinstance(s, Sql) and not isinstance(s.tree, exp.Select) for s in every(PROCEDURES[name].body))
    calls = {s.procedure for s in every(PROCEDURES[name].body) if isinstance(s, Call)} - {"TakeTurn", "Refuse"}
    for turn in turns:
        assert bool(turn.arguments) == (not writes and not calls), name


def test_what_an_orchestrator_calls_is_there_with_few_parameters():
    needed = {name: [p.name for p in PROCEDURES[name].parameters if p.default is None] for name in FOR_ORCHESTRATORS}
    assert needed == {
        "LogExecutionStart": ["ExternalID", "ProjectName", "BatchName"],
        "LogExecutionEnd": ["ExecutionID"],
        "LogExecutionError": ["ExecutionID", "ErrorMessage"],
        "LogRowCount": ["ExecutionID", "CountType", "RowCount"],
        "GetParameter": ["ProjectName", "ObjectName", "ParameterName"],
        "SetParameter": ["ProjectName", "ObjectName", "ParameterName", "ParameterValue"],
        "ResetExecutionStatus": ["ProjectName", "ObjectName"],
    }


# the store


def store_calls():
    """The procedures that the store's text calls, with the parameters that it names."""
    found = {}
    for node in ast.walk(ast.parse(inspect.getsource(store))):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in ("_call", "_call_once")
        ):
            names = {keyword.arg for keyword in node.keywords if keyword.arg}
            unpacked = " ".join(ast.unparse(keyword.value) for keyword in node.keywords if keyword.arg is None)
            names |= {"Now"} if "_time" in unpacked else set()
            names |= {"StaleSeconds", "LongestSeconds"} if "_patience" in unpacked else set()
            names |= {p.name for p in PROCEDURES["Housekeeping"].parameters} if "days" in unpacked else set()
            found[node.args[0].value] = names
    return found


def test_the_store_gives_every_procedure_what_it_takes():
    calls = store_calls()
    assert calls.keys() <= PUBLIC
    for name, given in calls.items():
        parameters = PROCEDURES[name].parameters
        assert given <= {parameter.name for parameter in parameters}, name
        assert {parameter.name for parameter in parameters if parameter.default is None} <= given, name
        assert ("Now" in given) == any(parameter.name == "Now" for parameter in parameters), name
        assert ("RaiseError" in given) == any(parameter.name == "RaiseError" for parameter in parameters), name
        assert ("RequestID" in given) == any(parameter.name == "RequestID" for parameter in parameters), name


def test_no_procedure_is_there_for_nobody():
    assert PUBLIC - store_calls().keys() == {"GetCatalogVersion"}
    called = {statement.procedure for statement in statements() if isinstance(statement, Call)}
    assert called >= INSIDE


def test_housekeeping_has_a_parameter_for_every_table_of_history():
    days = {f"{table.title().replace('_', '')}Days" for table in schema.HISTORY}
    assert days | {"Now"} == {parameter.name for parameter in PROCEDURES["Housekeeping"].parameters}


def test_the_store_can_do_whatever_a_catalog_can():
    wanted = {name for name, member in vars(Catalog).items() if callable(member) and not name.startswith("_")}
    for name in wanted:
        assert inspect.signature(getattr(store.SqlServerCatalog, name)) == inspect.signature(getattr(Catalog, name)), (
            name
        )


# tables


def columns():
    """Per table its columns' types."""
    creates = [
        s.tree for s in statements() if isinstance(s, Sql) and isinstance(s.tree, exp.Create) and s.tree.kind == "TABLE"
    ]
    return {
        tree.this.this.name: {
            column.name: column.args["kind"] for column in tree.this.expressions if isinstance(column, exp.ColumnDef)
        }
        for tree in creates
    }


def test_tables_are_those_of_the_other_stores():
    server, other = Server(), __import__("sqlite3").connect(":memory:")
    server.run_script(TEXTS["001_tables.sql"])
    for text in schema.statements(0):
        other.execute(text)
    names = "SELECT name FROM sqlite_master WHERE type = '{}' AND name NOT LIKE 'sqlite_%'"
    for kind, more in (("table", {"catalog_version"}), ("view", {"last_five", "written_run"})):
        theirs = {row[0] for row in other.execute(names.format(kind))}
        assert {row[0] for row in server.db.execute(names.format(kind))} == theirs | more
    for table, ours in columns().items():
        theirs = {row[1] for row in other.execute(f"PRAGMA table_info({table})")}
        more = {"request_id", "alive_until", "stale_seconds"} if table == "run" else set()
        assert table == "catalog_version" or ours.keys() == theirs | more, table


def test_keys_fit_into_an_index():
    """900 bytes for a clustered one (a primary key unless it says otherwise), 1,700 for any other."""
    sizes = {table: {name: bytes_of(kind) for name, kind in kinds.items()} for table, kinds in columns().items()}
    keys = list(index_keys())
    assert len(keys) > 15
    for table, names, clustered in keys:
        assert sum(sizes[table][name] for name in names) <= (900 if clustered else 1700), (table, names)


def bytes_of(kind):
    length = kind.expressions[0].name if kind.expressions else "1"
    size = TEXT_SIZES[kind.this.name]
    return size if not kind.this.name.startswith("N") else 10**6 if length.upper() == "MAX" else size * int(length)


def index_keys():
    for tree in (s.tree for s in statements() if isinstance(s, Sql) and isinstance(s.tree, exp.Create)):
        if tree.kind == "TABLE":
            table = tree.this.this.name
            for constraint in tree.this.find_all(exp.Constraint):
                if constraint.find(exp.PrimaryKey, exp.PrimaryKeyColumnConstraint):
                    loose = constraint.find(exp.NonClusteredColumnConstraint) is not None
                    yield table, key_columns(constraint), not loose
        elif "INDEX" in tree.kind:
            index = tree.this
            yield (
                index.args["table"].name,
                key_columns(index.args["params"].args["columns"]),
                tree.kind.startswith("CLUSTERED"),
            )


def key_columns(found):
    nodes = found if isinstance(found, list) else [found]
    names = [i.name for node in nodes for i in node.find_all(exp.Identifier) if not i.name.startswith("pk_")]
    return list(dict.fromkeys(names))


# the files


def test_scripts_may_be_run_again():
    server = Server()
    for _ in range(2):
        for text in installation("control").values():
            server.run_script(text)
    assert server.run_script(version_query("control")) == [{"Version": VERSION}]
    assert server.db.execute("SELECT count(*) FROM catalog_version").fetchone() == (1,)


def test_every_script_sets_what_indexes_with_a_filter_need():
    for name in ("001_tables.sql", "procedures.sql"):
        assert ALL[name].batches[0] == (Option("ANSI_NULLS"), Option("QUOTED_IDENTIFIER")), name


def test_scripts_are_plain_ascii_for_any_schema():
    text = "".join(installation("etl_log").values())
    assert text.isascii()
    assert "{" not in text.replace("{schema}", "").replace('[{"', "").replace('is {"', "")
    assert "[etl_log].[run]" in text
    assert "control]" not in text.replace("control catalog", "")


@pytest.mark.parametrize("name", ["", "a]b", "a'b", "1a", "a b", "a;b", "x" * 129])
def test_a_name_that_cannot_be_a_schema_is_refused(name):
    with pytest.raises(ControlError, match="cannot be the control catalog's schema"):
        installation(name)


def test_an_upgrade_runs_what_is_missing_and_the_procedures():
    assert list(installation(since=0)) == ["001_tables.sql", "procedures.sql", "version.sql"]
    assert list(installation(since=1)) == ["procedures.sql", "version.sql"]
    assert tuple(sorted(scripts.TABLES)) == scripts.TABLES


def test_a_version_is_never_changed():
    assert max(DIGESTS) == VERSION
    assert hashlib.sha256("".join(installation("control").values()).encode()).hexdigest()[:16] == DIGESTS[VERSION]


def test_the_page_for_data_engineers_names_every_parameter_and_every_answer():
    page = (Path(__file__).parents[2] / "docs" / "control_catalog.md").read_text()
    rows = {
        line.split("`")[1]: line for line in page.splitlines() if line.startswith("| `Log") or "Parameter` | `@" in line
    }
    rows["ResetExecutionStatus"] = next(line for line in page.splitlines() if line.startswith("| `Reset"))
    for name in FOR_ORCHESTRATORS:
        _, _, parameters, answer, _ = rows[name].split("|")
        for parameter in PROCEDURES[name].parameters:
            optional = f"[`@{parameter.name}`]" in parameters
            assert parameter.name in ("RaiseError", "Now") or f"`@{parameter.name}`" in parameters, (
                name,
                parameter.name,
            )
            assert optional == (parameter.default is not None) or parameter.name in ("RaiseError", "Now"), (
                parameter.name
            )
        (told,) = [columns for columns in answers(name) if columns != ["ErrorNumber", "Message"]]
        assert list(answer.split("`")[1::2]) == told, name
    for table in columns():
        assert f"`{table}`" in page, table


def answers(name):
    """The columns of each result set that a procedure itself may answer with."""
    for statement in every(PROCEDURES[name].body):
        if (
            isinstance(statement, Sql)
            and isinstance(statement.tree, exp.Select)
            and not translated(statement.tree).assigns
        ):
            yield [column.alias_or_name for column in statement.tree.expressions]
