"""What can go wrong with a SQL Server, in words without secrets and without the values of a call.

Rule: an attempt is repeated if its cause passes by itself and the server cannot have done the work, or if the call is
repeatable. The server's own text is shown without every value that was sent.
Source: Microsoft, "Troubleshoot transient connection errors in SQL Database"; SQL Server, "Database engine events and errors".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime, time
from typing import Any

from lakehouse.errors import ControlError

REFUSED = frozenset({10928, 10929, 10936, 40501, 49918, 49919, 49920})
"""The server was too busy to begin."""
ROLLED_BACK = frozenset({1205, 3960})
"""Deadlock victim, snapshot conflict: the server undid the whole transaction."""
PASSES = REFUSED | ROLLED_BACK | frozenset({
    615, 921, 922, 926, 976, 978, 983, 4060, 4221, 6005, 17142, 18401, 40143, 40197, 40540, 40613, 42108, 42109,
})  # fmt: skip
"""Numbers that pass by themselves: failover, start, scaling, a paused database that wakes up."""
WITH_VALUES = frozenset({220, 232, 235, 241, 242, 244, 245, 248, 295, 2601, 2627, 2628, 8114, 8115, 9420, 9455, 13609})
"""Numbers whose text quotes values of rows: conversions, duplicate keys, truncations."""
MEANINGS = {
    1205: "deadlock victim",
    4060: "the database cannot be opened",
    18456: "login failed: unknown user, wrong password or no access",
    18470: "the login is disabled",
    18487: "the password has expired",
    18488: "the password must be changed",
    40613: "the database is not available at the moment",
    40615: "the server's firewall does not let this address in",
    2812: "there is no such procedure, or no right to it",
}
TERMINATED = 3621
"""Says only that the statement before was terminated."""


class SqlServerError(ControlError):
    """A SQL Server refused or could not be reached; ``numbers`` are the server's error numbers, the first one first."""

    def __init__(self, message: str, numbers: Sequence[int] = ()) -> None:
        self.numbers = tuple(numbers)
        super().__init__(message)


class Failure(Exception):  # noqa: N818 - an event of one attempt, not what the caller sees
    """Why one attempt failed."""

    def __init__(
        self,
        text: str,
        *,
        passes: bool = False,
        undone: bool = False,
        rolled_back: bool = False,
        numbers: Sequence[int] = (),
    ) -> None:
        super().__init__(text)
        self.text = text
        self.passes = passes
        """Whether it may go by itself."""
        self.undone = undone
        """Whether the server cannot have done anything."""
        self.rolled_back = rolled_back
        """Whether the server undid the transaction; a call that is one transaction is then undone."""
        self.numbers = tuple(numbers)


def server_failure(messages: Iterable[Mapping[str, Any]], hidden: Iterable[str]) -> Failure:
    """The failure that a server's error messages tell, without the hidden values."""
    errors = [message for message in messages if message["msgno"] != TERMINATED]
    numbers = [message["msgno"] for message in errors]
    texts = [_text(message, tuple(hidden)) for message in errors[:3]]
    return Failure(
        "; ".join(texts) or "the server refused without a reason",
        passes=not PASSES.isdisjoint(numbers),
        undone=not REFUSED.isdisjoint(numbers),
        rolled_back=not ROLLED_BACK.isdisjoint(numbers),
        numbers=numbers,
    )


def _text(message: Mapping[str, Any], hidden: Sequence[str]) -> str:
    number = message["msgno"]
    where = f", {message['proc_name']} line {message['line_number']}" if message["proc_name"] else ""
    meaning = f" ({MEANINGS[number]})" if number in MEANINGS else ""
    if number in WITH_VALUES:
        return f"error {number}{where}{meaning}; its text is not shown because it quotes values"
    text = without(str(message["message"]).strip(), hidden)
    return f"error {number}{where}{meaning}: {text}"


def without(text: str, hidden: Iterable[str]) -> str:
    """A server's text in which ``…`` stands for each hidden value, and for each quotation of a part of one.

    >>> without("Batch 'nightly' (7) is held by run 71.", ["nightly load", "7"])
    "Batch '…' (…) is held by run 71."
    """
    values = sorted({value for value in hidden if value}, key=len, reverse=True)
    for value in values:
        edge = "" if len(value) > 3 else r"(?<!\w)", "" if len(value) > 3 else r"(?!\w)"
        text = re.sub(edge[0] + re.escape(value) + edge[1], "…", text, flags=re.IGNORECASE)
    return re.sub(
        r"'([^']+)'",
        lambda quoted: "'…'" if any(quoted[1].lower() in value.lower() for value in values) else quoted[0],
        text,
    )


def spelled(values: Iterable[object]) -> tuple[str, ...]:
    """The ways in which a server may spell values that were sent to it."""
    found: list[str] = []
    for value in values:
        if isinstance(value, bytes):
            found.append(value.hex())
        elif isinstance(value, date | time):
            found += [str(value), value.isoformat()]
            found += [str(value.replace(tzinfo=None))] if isinstance(value, datetime) else []
        elif value is not None and not isinstance(value, bool):
            found.append(str(value))
    return tuple(found)
