"""T-SQL scripts as values: batches, procedures, parameters and statements, with sqlglot for all but the control flow.

Rule: only what the control catalog's scripts use is understood; anything else is an error, so that what is run in tests stays
what a reader of the script sees. Conditions are followed by BEGIN … END, and every statement ends with a semicolon.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache

from sqlglot import exp, parse_one
from sqlglot.dialects import TSQL
from sqlglot.tokens import Token, TokenType

from lakehouse.control.sql_server.script import batches


class Plain(TSQL):
    """T-SQL whose functions keep their names and are not translated, and whose words are all tokens."""

    class Tokenizer(TSQL.Tokenizer):
        COMMANDS = set()

    class Parser(TSQL.Parser):
        FUNCTIONS = {}


@dataclass(frozen=True)
class Type:
    """A declared type, such as ``NVARCHAR(4000)``; ``size`` 0 for MAX."""

    name: str
    size: int = 0

    def __str__(self) -> str:
        return f"{self.name}({self.size})" if self.size else self.name


@dataclass(frozen=True)
class Parameter:
    """A parameter of a procedure; ``default`` is None where it has to be given."""

    name: str
    type: Type
    default: exp.Expression | None = None
    output: bool = False


@dataclass(frozen=True)
class Variable:
    name: str
    type: Type
    value: exp.Expression | None


@dataclass(frozen=True)
class Declare:
    variables: tuple[Variable, ...]


@dataclass(frozen=True)
class Assign:
    name: str
    value: exp.Expression


@dataclass(frozen=True)
class Option:
    """``SET option ON``."""

    name: str


@dataclass(frozen=True)
class Sql:
    """INSERT, UPDATE, DELETE, SELECT, CREATE TABLE, INDEX or VIEW; ``text`` is as it was written."""

    tree: exp.Expression
    text: str


@dataclass(frozen=True)
class If:
    condition: exp.Expression
    body: tuple[Statement, ...]
    otherwise: tuple[Statement, ...] = ()


@dataclass(frozen=True)
class While:
    condition: exp.Expression
    body: tuple[Statement, ...]


@dataclass(frozen=True)
class Argument:
    name: str
    value: exp.Expression
    output: bool


@dataclass(frozen=True)
class Call:
    """EXEC of a procedure; ``result`` takes its return code."""

    procedure: str
    arguments: tuple[Argument, ...]
    result: str | None = None


@dataclass(frozen=True)
class ExecuteText:
    """EXEC of a constant text."""

    text: str


@dataclass(frozen=True)
class Throw:
    parts: tuple[exp.Expression, ...]


@dataclass(frozen=True)
class Word:
    """BEGIN TRANSACTION, COMMIT TRANSACTION, ROLLBACK TRANSACTION or RETURN."""

    text: str


Statement = Declare | Assign | Option | Sql | If | While | Call | ExecuteText | Throw | Word


@dataclass(frozen=True)
class Procedure:
    name: str
    parameters: tuple[Parameter, ...]
    body: tuple[Statement, ...]

    def parameter(self, name: str) -> Parameter | None:
        return next((parameter for parameter in self.parameters if parameter.name == name), None)


@dataclass
class Script:
    """What a script holds, in order."""

    batches: list[Procedure | tuple[Statement, ...]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    """Every statement as it was written, and every condition as a SELECT, except control flow."""

    @property
    def procedures(self) -> dict[str, Procedure]:
        return {batch.name: batch for batch in self.batches if isinstance(batch, Procedure)}


@cache
def read_script(text: str) -> Script:
    """A script as values."""
    script = Script()
    for batch in batches(text):
        script.batches.append(_Reader(batch, script.texts).batch())
    return script


def every(statements: Sequence[Statement]) -> Iterator[Statement]:
    """All statements, those inside blocks too."""
    for statement in statements:
        yield statement
        if isinstance(statement, If):
            yield from every(statement.body)
            yield from every(statement.otherwise)
        if isinstance(statement, While):
            yield from every(statement.body)


def expressions(statement: Statement) -> tuple[exp.Expression, ...]:
    """The expressions of a statement itself, not of the statements in it."""
    if isinstance(statement, Sql):
        return (statement.tree,)
    if isinstance(statement, If | While):
        return (statement.condition,)
    if isinstance(statement, Call):
        return tuple(argument.value for argument in statement.arguments)
    if isinstance(statement, Throw):
        return statement.parts
    if isinstance(statement, Declare):
        return tuple(variable.value for variable in statement.variables if variable.value is not None)
    return (statement.value,) if isinstance(statement, Assign) else ()


class _Reader:
    """Reads one batch from left to right."""

    def __init__(self, text: str, texts: list[str]) -> None:
        self._text = text
        self._texts = texts
        self._tokens: list[Token] = Plain().tokenize(text)
        self._place = 0

    def batch(self) -> Procedure | tuple[Statement, ...]:
        if self._words(0, 4) == "CREATE OR ALTER PROCEDURE":
            return self._procedure()
        statements = []
        while self._place < len(self._tokens):
            statements.append(self._statement())
        return tuple(statements)

    def _procedure(self) -> Procedure:
        self._place += 4
        name = self._name()
        parameters = []
        while not self._at("AS"):
            parameters.append(self._parameter())
            if not self._at("AS"):
                self._take(",")
        self._take("AS")
        body = self._block()
        self._take(";")
        assert self._place == len(self._tokens), f"{name}: something follows its END;"
        return Procedure(name, tuple(parameters), body)

    def _parameter(self) -> Parameter:
        name, kind = self._variable(), self._type()
        default = None
        if self._maybe("="):
            token = self._tokens[self._place]
            self._place += 1
            default = parse_one(self._slice(token, token), dialect=Plain)
            assert isinstance(default, exp.Literal | exp.National | exp.Null), f"{name}: a default is a constant"
        return Parameter(name, kind, default, output=self._maybe("OUTPUT"))

    def _block(self) -> tuple[Statement, ...]:
        self._take("BEGIN")
        statements = []
        while not self._at("END"):
            statements.append(self._statement())
        self._take("END")
        return tuple(statements)

    def _statement(self) -> Statement:
        word = self._tokens[self._place].text.upper()
        if word in ("IF", "WHILE"):
            return self._branch(word)
        start = self._place
        end = self._end_of_statement()
        self._place = end + 1
        text = self._slice(self._tokens[start], self._tokens[end - 1])
        self._texts.append(text)
        return _Reader(text, self._texts).simple(word)

    def _branch(self, word: str) -> If | While:
        self._place += 1
        text = f"SELECT CASE WHEN {self._until('BEGIN')} THEN 1 ELSE 0 END"
        self._texts.append(text)
        condition = parse_one(text, dialect=Plain).expressions[0]
        body = self._block()
        if word == "WHILE":
            self._take(";")
            return While(condition, body)
        otherwise = self._block() if self._maybe("ELSE") else ()
        self._take(";")
        return If(condition, body, otherwise)

    def simple(self, word: str) -> Statement:
        """The one statement that this reader's text is, without its semicolon."""
        if word in ("BEGIN", "COMMIT", "ROLLBACK", "RETURN"):
            assert self._text.upper() in (
                "BEGIN TRANSACTION",
                "COMMIT TRANSACTION",
                "ROLLBACK TRANSACTION",
                "RETURN",
            ), self._text
            return Word(self._text.upper())
        readers = {"DECLARE": self._declare, "SET": self._set, "EXEC": self._exec, "THROW": self._throw}
        if word in readers:
            self._place = 1
            return readers[word]()
        assert word in ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE"), self._text
        return Sql(parse_one(self._text, dialect=Plain), self._text)

    def _declare(self) -> Statement:
        variables = []
        while True:
            name, kind = self._variable(), self._type()
            value = _expression(self._until(",", None)) if self._maybe("=") else None
            variables.append(Variable(name, kind, value))
            if not self._maybe(","):
                return Declare(tuple(variables))

    def _set(self) -> Statement:
        if self._tokens[self._place].token_type != TokenType.PARAMETER:
            name = self._tokens[self._place].text.upper()
            assert self._words(self._place + 1, 1) == "ON", self._text
            return Option(name)
        name = self._variable()
        self._take("=")
        return Assign(name, _expression(self._until(None)))

    def _exec(self) -> Statement:
        if self._maybe("("):
            return ExecuteText(self._tokens[self._place].text)
        result = None
        if self._tokens[self._place].token_type == TokenType.PARAMETER:
            result = self._variable()
            self._take("=")
        procedure, arguments = self._name(), []
        while self._place < len(self._tokens):
            arguments.append(self._argument())
            if self._place < len(self._tokens):
                self._take(",")
        return Call(procedure, tuple(arguments), result)

    def _argument(self) -> Argument:
        name = self._variable()
        self._take("=")
        first = self._place
        self._place += 2 if self._tokens[first].token_type == TokenType.PARAMETER else 1
        value = _expression(self._slice(self._tokens[first], self._tokens[self._place - 1]))
        return Argument(name, value, self._maybe("OUTPUT"))

    def _throw(self) -> Statement:
        parts = []
        while True:
            parts.append(_expression(self._until(",", None)))
            if not self._maybe(","):
                break
        assert len(parts) == 3, self._text
        return Throw(tuple(parts))

    def _type(self) -> Type:
        name = self._tokens[self._place].text.upper()
        self._place += 1
        if not self._maybe("("):
            return Type(name)
        size = self._tokens[self._place].text
        self._place += 1
        self._take(")")
        return Type(name, 0 if size.upper() == "MAX" else int(size))

    def _variable(self) -> str:
        assert self._tokens[self._place].token_type == TokenType.PARAMETER, self._rest()
        self._place += 2
        return self._tokens[self._place - 1].text

    def _name(self) -> str:
        """The last part of a qualified name; parts are brackets or words."""
        name = self._tokens[self._place].text
        self._place += 1
        while self._maybe("."):
            name = self._tokens[self._place].text
            self._place += 1
        return name

    def _until(self, *words: str | None) -> str:
        """The text up to one of the words, outside of brackets; None: up to the end."""
        start, depth = self._place, 0
        while self._place < len(self._tokens):
            text = self._tokens[self._place].text.upper()
            if depth == 0 and text in words and self._place > start:
                break
            depth += {"(": 1, ")": -1}.get(text, 0)
            self._place += 1
        assert self._place < len(self._tokens) or None in words, self._text
        return self._slice(self._tokens[start], self._tokens[self._place - 1])

    def _end_of_statement(self) -> int:
        for place in range(self._place, len(self._tokens)):
            if self._tokens[place].token_type == TokenType.SEMICOLON:
                return place
        raise AssertionError(f"no semicolon after: {self._rest()}")

    def _at(self, word: str) -> bool:
        return self._place < len(self._tokens) and self._tokens[self._place].text.upper() == word

    def _maybe(self, word: str) -> bool:
        found = self._at(word)
        self._place += found
        return found

    def _take(self, word: str) -> None:
        assert self._maybe(word), f"{word} expected at: {self._rest()}"

    def _words(self, place: int, count: int) -> str:
        return " ".join(token.text.upper() for token in self._tokens[place : place + count])

    def _slice(self, first: Token, last: Token) -> str:
        return self._text[first.start : last.end + 1]

    def _rest(self) -> str:
        return self._text[self._tokens[min(self._place, len(self._tokens) - 1)].start :][:120]


def _expression(text: str) -> exp.Expression:
    return parse_one(f"SELECT {text}", dialect=Plain).expressions[0]
