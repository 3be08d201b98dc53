"""Runs the control catalog's T-SQL text on SQLite, for tests.

Rule: control flow, variables, transactions and calls are interpreted here, each query is translated by sqlglot, T-SQL's
functions are written in Python. This proves the logic of the procedures, not the server: locks, plans, permissions, implicit
conversions, collations and error texts of a real SQL Server are not looked at. It is stricter where that finds mistakes:
types and lengths are checked, a date-time is no text, a table may be touched only by who took its turn.
"""

from __future__ import annotations

import json
import math
import re
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta, timezone
from decimal import ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any

from sqlglot import exp
from sqlglot.dialects import SQLite

from lakehouse.control.sql_server.failure import SqlServerError
from tests.control.tsql_text import (
    Assign,
    Call,
    Declare,
    ExecuteText,
    If,
    Option,
    Procedure,
    Sql,
    Statement,
    Throw,
    Type,
    While,
    Word,
    read_script,
)

TIME, RAW = "\x02", "\x03"
"""What a date-time, and JSON inside JSON, begin with in SQLite, where both are text."""
SPAN = {"SECOND": timedelta(seconds=1), "DAY": timedelta(days=1), "MILLISECOND": timedelta(milliseconds=1)}
EPOCH = datetime(1, 1, 1)
WHOLE = {"BIT": (0, 1), "INT": (-(2**31), 2**31 - 1), "BIGINT": (-(2**63), 2**63 - 1)}


class Lite(SQLite):
    """SQLite with names in brackets: a name in double quotes that it does not know is a text to it."""

    class Tokenizer(SQLite.Tokenizer):
        IDENTIFIERS = [("[", "]"), '"', "`"]


# values ------------------------------------------------------------------------------------------------------------------


def moment(value: datetime) -> str:
    """A date-time as it is kept."""
    if value.tzinfo is not None:
        value = value.astimezone(timezone.utc).replace(tzinfo=None)
    return TIME + value.isoformat(sep=" ", timespec="microseconds")


def _datetime(value: str) -> datetime:
    assert value.startswith(TIME), f"{value!r} is no date-time"
    return datetime.fromisoformat(value[1:])


def cast(value: Any, kind: Type) -> Any:
    """A value as a type holds it.

    Raises:
        ValueError: it cannot be converted.
    """
    if value is None:
        return None
    if kind.name in ("NVARCHAR", "NCHAR"):
        assert not isinstance(value, float) and not str(value).startswith(TIME), f"{value!r} as text: say how (CONVERT)"
        return str(value)[: kind.size] if kind.size else str(value)
    if kind.name == "DATETIME2":
        return value if value.startswith(TIME) else moment(datetime.fromisoformat(value))
    if kind.name == "FLOAT":
        return _finite(float(value))
    if kind.name == "DECIMAL":
        return _decimal(value)
    return _whole(value, kind.name)


def _finite(value: float) -> float:
    if not math.isfinite(value):
        raise ValueError(f"{value} is no FLOAT")
    return value


def _whole(value: Any, kind: str) -> int:
    if kind == "BIT" and str(value).lower() in ("true", "false"):
        return int(str(value).lower() == "true")
    number = int(value or 0) if not isinstance(value, float) else math.trunc(value)
    number = int(number != 0) if kind == "BIT" else number
    low, high = WHOLE[kind]
    if not low <= number <= high:
        raise ValueError(f"{number} is no {kind}")
    return number


def _decimal(value: Any) -> str:
    """DECIMAL(38, 10) as a text that sorts like the number."""
    if "e" in str(value).lower():
        raise ValueError(f"{value} is no DECIMAL")
    try:
        number = Decimal(str(value).strip()).quantize(Decimal("1e-10"), ROUND_HALF_UP, Context(prec=38))
    except InvalidOperation as error:
        raise ValueError(f"{value} is no DECIMAL") from error
    return f"{int(number.scaleb(10, Context(prec=50))) + 10**38:040d}"


def _try_cast(value: Any, kind: str) -> Any:
    try:
        return cast(value, Type(kind))
    except ValueError:
        return None


def _convert(value: str | None, size: int, style: int) -> str | None:
    assert style == 126
    return None if value is None else _datetime(value).isoformat()[:size]


def _concat(*parts: Any) -> str:
    assert not any(isinstance(part, float) or str(part).startswith((TIME, RAW)) for part in parts), parts
    return "".join("" if part is None else str(part) for part in parts)


def _date_add(unit: str, number: int | None, value: str | None) -> str | None:
    return None if number is None or value is None else moment(_datetime(value) + number * SPAN[unit])


def _date_diff(unit: str, first: str | None, last: str | None) -> int | None:
    if first is None or last is None:
        return None
    return (_datetime(last) - EPOCH) // SPAN[unit] - (_datetime(first) - EPOCH) // SPAN[unit]


# JSON --------------------------------------------------------------------------------------------------------------------


def _at_path(value: Any, path: str) -> Any:
    """What stands at a path such as ``$.a.b``, as far as there is anything."""
    for name in path.split(".")[1:]:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _json_value(text: str | None, path: str) -> str | None:
    found = _at_path(json.loads(text), path) if text is not None else None
    return None if found is None or isinstance(found, dict | list) else _scalar(found)


def _scalar(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _json_query(text: str | None, path: str) -> str | None:
    found = _at_path(json.loads(text), path) if text is not None else None
    return json.dumps(found) if isinstance(found, dict | list) else None


def _is_json(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(isinstance(json.loads(text, parse_constant=int), dict | list))
    except ValueError:
        return 0


def _items(text: str | None, path: str) -> str:
    """The items that OPENJSON sees, each as the JSON of itself: those of an array, or the object alone."""
    found = _at_path(json.loads(text), path) if text is not None else None
    items = found if isinstance(found, list) else [found] if isinstance(found, dict) else []
    return json.dumps([json.dumps(item) for item in items])


def _item(text: str, path: str, kind: str, size: int, as_json: int) -> Any:
    """A column of OPENJSON … WITH."""
    found = _at_path(json.loads(text), path)
    if as_json:
        return json.dumps(found) if isinstance(found, dict | list) else None
    assert not isinstance(found, dict | list)
    return None if found is None else cast(_scalar(found), Type(kind, size))


def _json_row(with_nulls: int, *pairs: Any) -> str:
    cells = zip(pairs[::2], pairs[1::2], strict=True)
    return json.dumps({name: _json_cell(value) for name, value in cells if with_nulls or value is not None})


def _json_cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(RAW):
        return json.loads(value[1:])
    if isinstance(value, str) and value.startswith(TIME):
        text = _datetime(value).isoformat()
        return text.rstrip("0") if "." in text else text
    return value


class _JsonRows:
    """FOR JSON over rows: an array, or one object; nothing for no rows."""

    def __init__(self) -> None:
        self._rows: list[str] = []
        self._alone = self._inner = 0

    def step(self, row: str, alone: int, inner: int) -> None:
        self._rows.append(row)
        self._alone, self._inner = alone, inner

    def finalize(self) -> str | None:
        if not self._rows:
            return None
        assert not self._alone or len(self._rows) == 1
        text = self._rows[0] if self._alone else f"[{', '.join(self._rows)}]"
        return (RAW if self._inner else "") + text


# translation -------------------------------------------------------------------------------------------------------------


class Translated:
    """A statement in SQLite's words; ``assigns`` are the variables that a SELECT sets."""

    def __init__(self, tree: exp.Expression) -> None:
        tree = tree.copy()
        self.writes = isinstance(tree, exp.Insert | exp.Update | exp.Delete)
        self.query = isinstance(tree, exp.Select)
        self.assigns = _take_assigned(tree)
        self.tables = {table.name for table in tree.find_all(exp.Table) if table.db}
        tree = _translate(tree)
        self.names = tuple({place.name for place in tree.find_all(exp.Placeholder)})
        self.sql = tree.sql(Lite, identify=True)


_TRANSLATED: dict[int, tuple[exp.Expression, Translated]] = {}
"""By the identity of the tree, which is kept, too."""


def translated(tree: exp.Expression) -> Translated:
    """A statement or expression in SQLite's words."""
    if id(tree) not in _TRANSLATED:
        whole = isinstance(tree, exp.Select | exp.Insert | exp.Update | exp.Delete)
        _TRANSLATED[id(tree)] = tree, Translated(tree if whole else exp.select(tree.copy()))
    return _TRANSLATED[id(tree)][1]


def _take_assigned(tree: exp.Expression) -> tuple[str, ...]:
    """``SELECT @a = x``: takes the variables out of the select list."""
    if not isinstance(tree, exp.Select):
        return ()
    sets = [item for item in tree.expressions if isinstance(item, exp.EQ) and isinstance(item.this, exp.Parameter)]
    assert len(sets) in (0, len(tree.expressions)), "a SELECT sets variables or answers, not both"
    if sets:
        tree.set("expressions", [item.expression for item in sets])
    return tuple(item.this.name for item in sets)


def _translate(tree: exp.Expression) -> exp.Expression:
    for select in [node for node in tree.find_all(exp.Select) if node.args.get("for_")][::-1]:
        _aggregate_json(select)
    for node in [*tree.walk()][::-1]:
        new = _node(node)
        if node is tree:
            tree = new
        elif new is not node:
            node.replace(new)
    return tree


def _node(node: exp.Expression) -> exp.Expression:
    if isinstance(node, exp.Parameter):
        return exp.Placeholder(this=node.this.name)
    if isinstance(node, exp.National):
        return exp.Literal.string(node.this)
    if isinstance(node, exp.Collate):
        assert node.expression.name == "Latin1_General_100_BIN2"
        return node.this
    if isinstance(node, exp.Table) and node.db:
        node.set("db", None)
    if isinstance(node, exp.Table) and isinstance(node.this, exp.OpenJSON):
        return _open_json(node)
    if isinstance(node, exp.Convert):
        return exp.func("tsql_convert", node.expression, _size(node.this), node.args["style"])
    if isinstance(node, exp.Cast):
        name = "tsql_try_cast" if isinstance(node, exp.TryCast) else "tsql_cast"
        return exp.func(name, node.this, exp.Literal.string(_kind(node.to)))
    if isinstance(node, exp.Anonymous) and node.name.upper() in ("DATEADD", "DATEDIFF_BIG"):
        unit = exp.Literal.string(node.expressions[0].name)
        return exp.Anonymous(this=node.name, expressions=[unit, *node.expressions[1:]])
    if isinstance(node, exp.Anonymous) and node.name.upper() == "LEFT":
        return exp.Anonymous(this="tsql_left", expressions=node.expressions)
    return node


def _kind(kind: exp.DataType) -> str:
    name = kind.this.name
    return {"DATETIME2": "DATETIME2", "DOUBLE": "FLOAT"}.get(name, name)


def _size(kind: exp.DataType) -> exp.Literal:
    size = kind.expressions[0].name if kind.expressions else "0"
    return exp.Literal.number(0 if size.upper() == "MAX" else size)


def _open_json(table: exp.Table) -> exp.Expression:
    source = table.this
    path = source.args.get("path") or exp.Literal.string("$")
    columns = [
        exp.func(
            "tsql_item", exp.column("value", "item"), column.args["path"], exp.Literal.string(_kind(column.args["kind"])),
            _size(column.args["kind"]), exp.Literal.number(int(bool(column.args.get("as_json")))),
        ).as_(column.name)
        for column in source.expressions
    ]  # fmt: skip
    given = exp.func("tsql_items", source.this, path)
    items = exp.alias_(exp.Table(this=exp.Anonymous(this="json_each", expressions=[given])), "item", table=True)
    return exp.select(*columns).from_(items).subquery(table.alias)


def _aggregate_json(select: exp.Select) -> None:
    options = {option.name for option in select.args["for_"].expressions}
    assert options <= {"PATH", "INCLUDE_NULL_VALUES", "WITHOUT_ARRAY_WRAPPER"} and "PATH" in options
    inner = select.parent_select is not None and bool(select.parent_select.args.get("for_"))
    pairs: list[exp.Expression] = []
    for item in select.expressions:
        pairs += [exp.Literal.string(item.alias_or_name), item.unalias()]
    row = exp.func("tsql_json_row", exp.Literal.number(int("INCLUDE_NULL_VALUES" in options)), *pairs)
    alone = exp.Literal.number(int("WITHOUT_ARRAY_WRAPPER" in options))
    select.set("for_", None)
    select.set("expressions", [exp.func("tsql_json_rows", row, alone, exp.Literal.number(int(inner)))])


# the server --------------------------------------------------------------------------------------------------------------


class Server:
    """A database in memory; every thread may call."""

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self.db = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        self.procedures: dict[str, Procedure] = {}
        self.schemas: set[str] = set()
        self.turn = threading.Lock()
        self.statement = threading.RLock()
        """For one statement: SQLite and Python would wait for each other when two threads call functions of Python."""
        self.granted = 0
        """What sp_getapplock returns."""
        self.last_identity: int | None = None
        self.calls: list[str] = []
        """The procedures that were called from outside."""
        self._now = now or (lambda: datetime.now(timezone.utc))
        self._functions()

    def _functions(self) -> None:
        pure: dict[str, Callable[..., Any]] = {
            "tsql_cast": lambda value, kind: cast(value, Type(kind)), "tsql_try_cast": _try_cast, "tsql_convert": _convert,
            "tsql_left": lambda text, size: None if text is None else text[:size], "CONCAT": _concat,
            "DATEADD": _date_add, "DATEDIFF_BIG": _date_diff, "NCHAR": chr, "JSON_VALUE": _json_value,
            "JSON_QUERY": _json_query, "ISJSON": _is_json, "tsql_items": _items, "tsql_item": _item,
            "tsql_json_row": _json_row, "CHARINDEX": lambda part, text: text.find(part) + 1,
        }  # fmt: skip
        for name, function in pure.items():
            self.db.create_function(name, -1, function, deterministic=True)
        self.db.create_function("SYSUTCDATETIME", 0, lambda: moment(self._now()))
        self.db.create_function("SCOPE_IDENTITY", 0, lambda: self.last_identity)
        self.db.create_function("SCHEMA_ID", 1, lambda name: 1 if name in self.schemas else None)
        self.db.create_function("OBJECT_ID", 2, self._object_id)
        self.db.create_function("INDEXPROPERTY", 3, self._index_property)
        self.db.create_aggregate("tsql_json_rows", 3, _JsonRows)

    def _object_id(self, name: str, kind: str) -> int | None:
        schema, _, bare = (part.strip("[]") for part in name.partition("."))
        if schema not in self.schemas:
            return None
        if kind == "P":
            return 1 if bare in self.procedures else None
        found = self._catalog("SELECT rowid FROM sqlite_master WHERE type = 'table' AND name = ?", bare)
        return found[0] if found else None

    def _index_property(self, table: int | None, name: str, what: str) -> int | None:
        assert what == "IndexID"
        found = self._catalog("SELECT 1 FROM sqlite_master WHERE type = 'index' AND name = ?", name)
        return 1 if table is not None and found else None

    def _catalog(self, sql: str, *parameters: str) -> Any:
        return self.db.execute(sql, parameters).fetchone()

    def run_script(self, script: str) -> list[dict[str, object]]:
        """Runs a script; the rows of its last query."""
        rows: list[dict[str, object]] = []
        for batch in read_script(script).batches:
            if isinstance(batch, Procedure):
                self.procedures[batch.name] = batch
                continue
            run = Run(self, trusted=True)
            run.statements(batch)
            rows = run.results[-1] if run.results else rows
        return rows

    def call(self, procedure: str, parameters: Mapping[str, object]) -> list[dict[str, object]]:
        """Calls a procedure as a client does; the rows of its result set, of which there may be only one."""
        name = procedure.rpartition(".")[2].strip("[]")
        self.calls.append(name)
        run = Run(self)
        run.call(self.procedures[name], {key: _bound(value) for key, value in parameters.items()})
        assert run.depth == 0, f"{name} leaves a transaction open"
        assert len(run.results) <= 1, f"{name} answers with {len(run.results)} result sets"
        return run.results[0] if run.results else []

    def create(self, tree: exp.Create) -> None:
        """CREATE TABLE, INDEX or VIEW."""
        if tree.kind == "TABLE":
            self.db.execute(_table(tree))
        elif tree.kind == "VIEW":
            name = tree.this.name
            self.db.execute(f"DROP VIEW IF EXISTS [{name}]")
            self.db.execute(f"CREATE VIEW [{name}] AS {translated(tree.expression).sql}")
        else:
            assert tree.kind in ("INDEX", "CLUSTERED INDEX")
            self.db.execute(_translate(_plain_index(tree.copy())).sql(Lite, identify=True))


def _plain_index(tree: exp.Create) -> exp.Create:
    tree.set("kind", "INDEX")
    tree.this.args["params"].set("include", None)
    return tree


def _bound(value: object) -> Any:
    assert value is None or isinstance(value, str | int | float | datetime), f"{value!r} cannot be sent"
    return moment(value) if isinstance(value, datetime) else value


def _table(tree: exp.Create) -> str:
    """A table in SQLite, whose checks stand in for the types."""
    parts, keys = [], []
    for item in tree.this.expressions:
        if isinstance(item, exp.ColumnDef):
            parts.append(_column(item))
        else:
            keys.append(_constraint(item))
    identity = any("AUTOINCREMENT" in part for part in parts)
    keys = [key for key in keys if not (identity and key.startswith("PRIMARY KEY"))]
    return f"CREATE TABLE [{tree.this.this.name}] ({', '.join([*parts, *keys])})"


def _column(item: exp.ColumnDef) -> str:
    kind, size = _kind(item.args["kind"]), int(_size(item.args["kind"]).name)
    kinds = {type(constraint.kind): constraint.kind for constraint in item.constraints}
    if exp.GeneratedAsIdentityColumnConstraint in kinds:
        return f"[{item.name}] INTEGER PRIMARY KEY AUTOINCREMENT"
    null = kinds.get(exp.NotNullColumnConstraint)
    required = " NOT NULL" if null is not None and not null.args.get("allow_null") else ""
    default = kinds.get(exp.DefaultColumnConstraint)
    begins = f" DEFAULT {_translate(default.this.copy()).sql(Lite)}" if default else ""
    collated = exp.CollateColumnConstraint in kinds
    assert collated == kind.startswith("N"), f"{item.name}: a text compares by a collation of its own"
    return f"[{item.name}] {_affinity(kind)}{required}{begins} CHECK ({_check(item.name, kind, size)})"


def _affinity(kind: str) -> str:
    return {"FLOAT": "REAL", "NVARCHAR": "TEXT", "NCHAR": "TEXT", "DATETIME2": "TEXT"}.get(kind, "INTEGER")


def _check(name: str, kind: str, size: int) -> str:
    text = f"typeof([{name}]) = 'text' AND substr([{name}], 1, 1)"
    if kind == "DATETIME2":
        fits = f"{text} = char(2)"
    elif kind.startswith("N"):
        fits = f"{text} NOT IN (char(2), char(3))" + (f" AND length([{name}]) <= {size}" if size else "")
    elif kind == "FLOAT":
        fits = f"typeof([{name}]) = 'real'"
    else:
        fits = f"typeof([{name}]) = 'integer' AND [{name}] BETWEEN {WHOLE[kind][0]} AND {WHOLE[kind][1]}"
    return f"[{name}] IS NULL OR {fits}"


def _constraint(item: exp.Expression) -> str:
    assert isinstance(item, exp.Constraint)
    check = item.find(exp.CheckColumnConstraint)
    if check is not None:
        return f"CHECK ({_translate(check.this.copy()).sql(Lite, identify=True)})"
    columns = [f"[{column.name}]" for column in item.find_all(exp.Column, exp.Identifier) if column is not item.this]
    return f"PRIMARY KEY ({', '.join(dict.fromkeys(columns))})"


class _Return(Exception):  # noqa: N818 - no error
    pass


class _Frame:
    """The variables of a procedure that runs."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.types: dict[str, Type] = {}

    def declare(self, name: str, kind: Type) -> None:
        self.types[name] = kind
        self.values[name] = None

    def set(self, name: str, value: Any) -> None:
        self.values[name] = cast(value, self.types[name])


class Run:
    """A call from outside, or a batch of a script (``trusted``: it may touch tables without a turn)."""

    def __init__(self, server: Server, *, trusted: bool = False) -> None:
        self._server = server
        self._trusted = trusted
        self._frame = _Frame()
        self._row_count = 0
        self._abort = False
        self.depth = 0
        """Transactions that are open."""
        self._mode: str | None = None
        """The turn that was taken."""
        self.results: list[list[dict[str, object]]] = []

    def call(self, procedure: Procedure, given: Mapping[str, Any]) -> Mapping[str, Any]:
        """Runs a procedure; its variables afterwards."""
        outer, self._frame, depth = self._frame, _Frame(), self.depth
        try:
            self._bind(procedure, given)
            self.statements(procedure.body)
        except _Return:
            pass
        except BaseException:
            self._undo()
            raise
        finally:
            inner, self._frame = self._frame, outer
        assert self.depth == depth, f"{procedure.name}: transaction count after EXECUTE (266)"
        return inner.values

    def _bind(self, procedure: Procedure, given: Mapping[str, Any]) -> None:
        names = {name.lstrip("@"): value for name, value in given.items()}
        unknown = names.keys() - {parameter.name for parameter in procedure.parameters}
        assert not unknown, f"{procedure.name} has no parameter {unknown} (8145)"
        for parameter in procedure.parameters:
            self._frame.declare(parameter.name, parameter.type)
            if parameter.name in names:
                self._frame.set(parameter.name, names[parameter.name])
            else:
                assert parameter.default is not None, f"{procedure.name} expects @{parameter.name} (201)"
                self._frame.set(parameter.name, self._value(parameter.default))

    def statements(self, statements: Sequence[Statement]) -> None:
        for statement in statements:
            _RUN[type(statement)](self, statement)

    def declare(self, statement: Declare) -> None:
        for variable in statement.variables:
            self._frame.declare(variable.name, variable.type)
            if variable.value is not None:
                self._frame.set(variable.name, self._value(variable.value))

    def assign(self, statement: Assign) -> None:
        self._frame.set(statement.name, self._value(statement.value))

    def option(self, statement: Option) -> None:
        self._abort = self._abort or statement.name == "XACT_ABORT"

    def branch(self, statement: If) -> None:
        self.statements(statement.body if self._value(statement.condition) else statement.otherwise)

    def loop(self, statement: While) -> None:
        for _ in range(100_000):
            if not self._value(statement.condition):
                return
            self.statements(statement.body)
        raise AssertionError("a loop does not end")

    def word(self, statement: Word) -> None:
        if statement.text == "RETURN":
            raise _Return
        if statement.text == "BEGIN TRANSACTION":
            self.depth += 1
        elif statement.text == "COMMIT TRANSACTION":
            self._finish("COMMIT")
        else:
            assert self.depth, "ROLLBACK without a transaction"
            self._finish("ROLLBACK")

    def _finish(self, how: str) -> None:
        assert self.depth == 1
        self.depth = 0
        if self._mode is not None:
            with self._server.statement:
                self._server.db.execute(how)
            self._mode = None
            self._server.turn.release()

    def _undo(self) -> None:
        if self.depth:
            assert self._abort, "an error in a transaction without XACT_ABORT"
            self._finish("ROLLBACK")

    def throw(self, statement: Throw) -> None:
        number, text, _ = (self._value(part) for part in statement.parts)
        assert len(text) <= 2048
        raise SqlServerError(text.replace("%%", "%"), (number,))

    def execute_text(self, statement: ExecuteText) -> None:
        found = re.fullmatch(r"CREATE SCHEMA \[([^\]]+)\]", statement.text)
        assert found, statement.text
        self._server.schemas.add(found[1])

    def execute(self, statement: Call) -> None:
        given = {argument.name: self._value(argument.value) for argument in statement.arguments}
        if statement.procedure == "sp_getapplock":
            self._frame.set(str(statement.result), self._server.granted)
            if self._server.granted >= 0:
                self._take_turn(given)
            return
        values = self.call(self._server.procedures[statement.procedure], given)
        for argument in statement.arguments:
            if argument.output:
                self._frame.set(argument.value.name, values[argument.name])

    def _take_turn(self, given: Mapping[str, Any]) -> None:
        assert self.depth and given["LockOwner"] == "Transaction" and self._mode is None
        assert self._server.turn.acquire(timeout=given["LockTimeout"] / 1000)
        with self._server.statement:
            self._server.db.execute("BEGIN")
        self._mode = given["LockMode"]

    def sql(self, statement: Sql) -> None:
        if isinstance(statement.tree, exp.Create):
            self._server.create(statement.tree)
            return
        text = translated(statement.tree)
        self._check_turn(text)
        with self._server.statement:
            try:
                cursor = self._server.db.execute(text.sql, self._values(text))
            except sqlite3.IntegrityError as error:
                raise SqlServerError(str(error), (_number(str(error)),)) from error
            rows = cursor.fetchall()
        self._row_count = len(rows) if text.query else cursor.rowcount
        if isinstance(statement.tree, exp.Insert):
            self._server.last_identity = cursor.lastrowid
        if text.assigns:
            for name, value in zip(text.assigns, rows[-1] if rows else (), strict=bool(rows)):
                self._frame.set(name, value)
        elif text.query:
            names = [column[0] for column in cursor.description]
            self.results.append([dict(zip(names, map(_answered, row), strict=True)) for row in rows])

    def _check_turn(self, text: Translated) -> None:
        touched = text.tables - {"catalog_version"}
        assert self._trusted or not touched or self._mode, f"{touched} is touched without a turn"
        assert self._trusted or not text.writes or self._mode == "Exclusive", f"{text.sql} in a shared turn"

    def _value(self, tree: exp.Expression) -> Any:
        text = translated(tree)
        self._check_turn(text)
        with self._server.statement:
            return self._server.db.execute(text.sql, self._values(text)).fetchone()[0]

    def _values(self, text: Translated) -> dict[str, Any]:
        return {name: self._row_count if name == "ROWCOUNT" else self._frame.values[name] for name in text.names}


_RUN: dict[type, Callable[[Run, Any], None]] = {
    Declare: Run.declare, Assign: Run.assign, Option: Run.option, If: Run.branch, While: Run.loop, Word: Run.word,
    Throw: Run.throw, ExecuteText: Run.execute_text, Call: Run.execute, Sql: Run.sql,
}  # fmt: skip


def _number(text: str) -> int:
    return 2627 if text.startswith("UNIQUE") else 515 if text.startswith("NOT NULL") else 547


def _answered(value: Any) -> object:
    return _datetime(value) if isinstance(value, str) and value.startswith(TIME) else value


class FakeSession:
    """In place of a session with a SQL Server."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def call(
        self, procedure: str, parameters: Mapping[str, object], *, repeatable: bool = False
    ) -> list[dict[str, object]]:
        return self._server.call(procedure, parameters)

    def query(self, statement: str) -> list[dict[str, object]]:
        return self._server.run_script(statement)

    def execute(self, batch: str, *, repeatable: bool = False) -> None:
        self._server.run_script(batch)

    def close(self) -> None:
        pass
