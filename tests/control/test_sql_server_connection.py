"""Sessions with a SQL Server, against a small server of our own that speaks TDS over TLS."""

from __future__ import annotations

import logging
import socket
import sys
import traceback
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest

from lakehouse.control import connection_test
from lakehouse.control.credentials import SqlServerLogin
from lakehouse.control.sql_server import connection, wire
from lakehouse.control.sql_server.connection import Session
from lakehouse.control.sql_server.failure import SqlServerError, server_failure, spelled, without
from lakehouse.control.sql_server.script import batches
from lakehouse.control.sql_server.tls import is_name_of
from lakehouse.errors import ControlError, SetupError
from tests.control.tds_server import (
    NOT_SUPPORTED,
    OFF,
    Authority,
    Drop,
    DropAfter,
    Refused,
    Route,
    Rows,
    Silence,
    TdsServer,
    Trickle,
)

SECRET = "Ge" + "heim"  # in two parts, because a traceback shows source lines
PASSWORD = f"{SECRET}-77;{{}}"
ONE = Rows(("run_id", "status"), [(7, "E"), (8, None)])


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"), "authority")


@pytest.fixture(scope="module")
def context(authority):
    return authority.server_context("localhost", "127.0.0.1")


@pytest.fixture
def pauses():
    return []


@pytest.fixture
def session(authority, pauses):
    """Makes sessions with a server, and closes them."""
    made = []

    def make(server, /, *, attempts=4, **changes):
        login = SqlServerLogin("localhost", "control", "loader", PASSWORD, server.port, cafile=authority.cafile)
        made.append(Session(replace(login, **changes), attempts=attempts, pause=pauses.append))
        return made[-1]

    yield make
    for one in made:
        one.close()


def refused(work) -> str:
    """The message of the error that the work ends with; nothing of a secret hangs on it."""
    with pytest.raises(SqlServerError) as error:
        work()
    assert error.value.__cause__ is None
    assert error.value.__context__ is None
    assert SECRET not in "".join(traceback.format_exception(error.value)) + repr(error.value)
    return str(error.value)


# Opening


def test_login_goes_through_tls_to_a_server_with_the_right_certificate(context, session):
    with TdsServer(context) as server:
        assert session(server).tls() == "TLSv1.2"

    (login,) = server.logins
    assert (login.user, login.password, login.database, login.server) == ("loader", PASSWORD, "control", "localhost")
    assert login.encrypted
    assert login.application == "lakehouse"


def test_nothing_that_matters_is_on_the_line_in_the_clear(context, session):
    with TdsServer(context) as server:
        session(server).call("ctl.start", {"batch": "nightly"})

    for word in (PASSWORD, "loader", "nightly", "ctl.start"):
        assert word.encode("utf-16-le") not in server.raw


def test_password_beyond_the_basic_plane_arrives_whole(context, session):
    with TdsServer(context) as server:
        session(server, password="geheim😀é", user="loader😀").tls()

    assert (server.logins[0].password, server.logins[0].user) == ("geheim😀é", "loader😀")


def test_certificate_of_an_unknown_authority_is_refused_before_the_login(tmp_path, context, session):
    other = Authority(tmp_path, "other")
    with TdsServer(context) as server:
        message = refused(session(server, cafile=other.cafile).tls)

    assert "the server's certificate is refused: the authority that issued it is not trusted" in message
    assert server.logins == []
    assert server.connections == 1


def test_authorities_of_certifi_are_trusted_without_a_cafile(context, session):
    with TdsServer(context) as server:
        message = refused(session(server, cafile=None).tls)

    assert "the authority that issued it is not trusted" in message


def test_certificate_of_another_host_is_refused_before_the_login(authority, session):
    with TdsServer(authority.server_context("sql.example.com", "*.example.net")) as server:
        message = refused(session(server).tls)

    assert "it is for sql.example.com, *.example.net, not for localhost" in message
    assert server.logins == []


def test_expired_certificate_is_refused(authority, session):
    with TdsServer(authority.server_context("localhost", expired=True)) as server:
        assert "it has expired" in refused(session(server).tls)


def test_certificate_is_compared_with_the_name_that_the_login_gives(authority, session):
    with TdsServer(authority.server_context("*.example.net")) as server:
        assert session(server, certificate_host="sql.example.net").tls() == "TLSv1.2"


def test_certificate_may_be_for_an_address_or_name_the_host_only_as_common_name(authority, context, session):
    with TdsServer(context) as server:
        assert session(server, server="127.0.0.1").tls() == "TLSv1.2"
    with TdsServer(authority.server_context(common_name="localhost")) as server:
        assert session(server).tls() == "TLSv1.2"


def test_any_certificate_will_do_where_the_login_says_so(tmp_path, session):
    context = Authority(tmp_path, "nobody").server_context("elsewhere")
    with TdsServer(context) as server:
        assert session(server, trust_server_certificate=True).tls() == "TLSv1.2"


@pytest.mark.parametrize("text", [None, "no certificate"], ids=["missing", "something else"])
def test_cafile_that_is_none_is_named(tmp_path, context, session, text):
    cafile = tmp_path / "ca.pem"
    if text is not None:
        cafile.write_text(text)
    with TdsServer(context) as server:
        message = refused(session(server, cafile=str(cafile)).tls)

    assert f"cafile {cafile}: it cannot be read or holds no certificates (PEM)" in message


def test_without_encryption_only_the_login_is_encrypted(context, session):
    with TdsServer(context, encryption=OFF) as server:
        rows = session(server, encrypt=False).call("ctl.start", {"batch": "nightly"})

    assert rows == [{"answer": 1}]
    assert server.logins[0].encrypted
    assert "nightly".encode("utf-16-le") in server.raw


@pytest.mark.parametrize(
    ("encrypt", "reason"),
    [
        (True, "You requested encryption but it is not supported"),
        (False, "the server offers no encryption; a password"),
    ],
    ids=["wanted", "not wanted"],
)
def test_password_is_never_sent_to_a_server_without_encryption(session, encrypt, reason):
    with TdsServer(None, encryption=NOT_SUPPORTED) as server:
        message = refused(session(server, encrypt=encrypt).tls)

    assert reason in message
    assert server.logins == []
    assert SECRET.encode("utf-16-le") not in server.raw


def test_login_that_fails_says_so_without_the_password_and_is_not_repeated(context, session, pauses):
    answer = Refused(18456, "Login failed for user 'loader'.", severity=14)
    with TdsServer(context, logins=[answer]) as server:
        message = refused(session(server).tls)

    assert message == (
        f"SQL Server localhost,{server.port}, database control, login: error 18456 (login failed: unknown user, wrong password "
        "or no access): Login failed for user 'loader'."
    )
    assert pauses == []


def test_database_that_wakes_up_is_waited_for(context, session, pauses):
    asleep = Refused(40613, "Database 'control' on server 'x' is not currently available.")
    with TdsServer(context, logins=[asleep, Drop(), None]) as server:
        assert session(server).call("ctl.start", {}) == [{"answer": 1}]

    assert len(pauses) == 2
    assert 0.5 <= pauses[0] <= 1 <= pauses[1] <= 2


def test_pauses_grow_and_end(context, session, pauses):
    with TdsServer(context, logins=[Drop()] * 9) as server:
        message = refused(lambda: session(server, attempts=7).call("ctl.start", {}))

    assert message.endswith("the connection was lost: the server closed the connection. Tried 7 times.")
    assert [pause > 2**n / 2 - 0.01 for n, pause in enumerate(pauses)] == [True] * 5 + [False]
    assert max(pauses) <= 16


def test_login_that_is_not_answered_ends_and_is_repeated(context, session, pauses):
    with TdsServer(context, logins=[Silence()]) as server:
        assert session(server, login_timeout=1).tls() == "TLSv1.2"

    assert len(pauses) == 1


def test_port_that_nobody_listens_on_is_tried_again_and_named(context, session, pauses):
    with TdsServer(context) as server:
        pass
    message = refused(lambda: session(server, server="127.0.0.1", attempts=2).call("ctl.start", {}))

    assert f"127.0.0.1,{server.port} cannot be reached: Connection refused. Tried 2 times." in message
    assert len(pauses) == 1


def test_host_without_a_name_is_named(monkeypatch, context, session, pauses):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", unknown)
    with TdsServer(context) as server:
        message = refused(session(server, server="nohost").tls)

    assert f"the name of nohost,{server.port} cannot be resolved" in message
    assert pauses == []


def test_login_is_sent_on_and_the_next_server_is_checked_too(authority, context, session):
    own = authority.server_context("127.0.0.1")
    for names in (own, context):
        with TdsServer(names) as worker, TdsServer(context, logins=[Route("127.0.0.1", worker.port)]) as gateway:
            assert session(gateway).call("ctl.start", {}) == [{"answer": 1}]
        assert len(worker.requests) == 1

    elsewhere = authority.server_context("worker.example.com")
    with TdsServer(elsewhere) as worker, TdsServer(context, logins=[Route("127.0.0.1", worker.port)]) as gateway:
        assert "it is for worker.example.com, not for localhost or 127.0.0.1" in refused(session(gateway).tls)
    assert worker.logins == []


def test_login_that_is_sent_round_in_circles_ends(context, session):
    with TdsServer(context, logins=[Route("localhost", 0)] * 9) as server:
        message = refused(session(server).tls)

    assert "from one server to the next" in message
    assert server.connections == 3


def test_port_of_a_named_instance_is_asked_for(monkeypatch, context, session):
    asked = []
    with TdsServer(context) as server:
        monkeypatch.setattr(
            wire, "resolve_instance_port", lambda host, port, name, timeout: asked.append((host, name)) or server.port
        )
        assert session(server, port=1, instance="sales").tls() == "TLSv1.2"

    assert asked == [("localhost", "SALES")]


def test_instance_that_nobody_knows_is_named(monkeypatch, context, session):
    def silent(*_, **__):
        raise TimeoutError

    monkeypatch.setattr(wire, "resolve_instance_port", silent)
    with TdsServer(context) as server:
        message = refused(session(server, instance="SALES", attempts=1).tls)

    assert message.startswith("SQL Server localhost\\SALES, database control, login: SQL Server Browser (UDP 1434)")


def test_missing_driver_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "lakehouse.control.sql_server.wire")
    monkeypatch.setitem(sys.modules, "pytds", None)

    with pytest.raises(SetupError, match=r"^pytds is missing; .*pip install 'lakehouse\[databricks\]'"):
        Session(SqlServerLogin("localhost", "control", "loader", PASSWORD)).call("ctl.start", {})


# Calling


def test_rows_of_the_first_result_set_come_back_as_mappings(context, session):
    with TdsServer(context, answers=[[ONE, Rows(("x",), [(1,)])], [], Rows(("x",), [])]) as server:
        one = session(server)
        assert one.call("ctl.start", {}) == [{"run_id": 7, "status": "E"}, {"run_id": 8, "status": None}]
        assert one.call("ctl.end", {}) == []
        assert one.call("ctl.none", {}) == []
        assert server.connections == 1


def test_many_rows_come_back_whole(context, session):
    rows = [(number, "x" * 50) for number in range(500)]
    with TdsServer(context, answers=[Rows(("n", "text"), rows)]) as server:
        assert [(row["n"], row["text"]) for row in session(server).call("ctl.rows", {})] == rows


def test_parameters_are_sent_as_typed_parameters_and_not_as_text(context, session):
    values = {
        "text": "'; DROP TABLE run; -- é😀", "@number": 5, "large": 2**40, "flag": True, "nothing": None,
        "amount": Decimal("12.5"), "ratio": 0.25, "hash": b"\x00\xff", "long": "x" * 9000,
        "key": UUID(int=1), "at": datetime(2024, 1, 2), "day": datetime(2024, 1, 2).date(),
    }  # fmt: skip
    with TdsServer(context) as server:
        session(server).call("ctl.LogRowCount", values)

    (request,) = server.requests
    assert (request.procedure, request.text) == ("ctl.LogRowCount", "")
    sent = dict(request.parameters)
    assert sent.pop("@key") and sent.pop("@at") and sent.pop("@day")
    assert sent == {
        "@text": "'; DROP TABLE run; -- é😀", "@number": 5, "@large": 2**40, "@flag": 1, "@nothing": None,
        "@amount": 12.5, "@ratio": 0.25, "@hash": b"\x00\xff", "@long": "x" * 9000,
    }  # fmt: skip


def test_time_with_a_zone_is_sent_in_utc(context, session):
    noon = datetime(2024, 1, 2, 12, tzinfo=timezone.utc)
    with TdsServer(context) as server:
        session(server).call("ctl.at", {"utc": noon, "zone": noon.astimezone(timezone(timedelta(hours=2)))})

    (request,) = server.requests
    assert request.parameters["@utc"] == request.parameters["@zone"]


def test_value_of_a_type_that_cannot_be_sent_is_named_by_parameter_and_type(context, session, pauses):
    with TdsServer(context) as server:
        message = refused(lambda: session(server).call("ctl.start", {"batch": [SECRET]}))

    assert message.endswith("procedure ctl.start: parameter @batch is a list, which cannot be sent.")
    assert (server.requests, pauses) == ([], [])


def test_text_that_cannot_be_sent_is_refused_without_it(context, session):
    with TdsServer(context) as server:
        message = refused(lambda: session(server).call("ctl.start", {"batch": f"{SECRET}\ud800"}))

    assert "python-tds does not understand the server or the call (UnicodeEncodeError)" in message


def test_error_names_server_database_and_procedure_and_no_value(context, session):
    answer = Refused(50001, "Batch 'nightly load' is running since run 4711.", "LogExecutionStart")
    with TdsServer(context, answers=[answer]) as server:
        one = session(server)
        with pytest.raises(SqlServerError) as error:
            one.call("ctl.LogExecutionStart", {"batch": "nightly load", "run": 4711})
        assert one.call("ctl.next", {}) == [{"answer": 1}]

    assert str(error.value) == (
        f"SQL Server localhost,{server.port}, database control, procedure ctl.LogExecutionStart: error 50001, "
        "LogExecutionStart line 7: Batch '…' is running since run …."
    )
    assert error.value.numbers == (50001,)
    assert isinstance(error.value, ControlError)


def test_error_behind_a_result_set_is_an_error(context, session):
    with TdsServer(context, answers=[Refused(50002, "too late", after=ONE)]) as server:
        assert "error 50002: too late" in refused(lambda: session(server).call("ctl.start", {}))


def test_call_that_is_not_answered_in_time_ends_and_is_not_repeated(context, session, pauses):
    with TdsServer(context, answers=[Silence()]) as server:
        one = session(server, query_timeout=0.5)
        message = refused(lambda: one.call("ctl.slow", {}, repeatable=True))
        assert one.call("ctl.next", {}) == [{"answer": 1}]

    assert message.endswith(
        "procedure ctl.slow: no answer within 0.5 s. Nobody knows whether the server carried it out."
    )
    assert pauses == []
    assert server.connections == 2


def test_answer_that_trickles_does_not_outlive_the_time_out(context, session):
    with TdsServer(context, answers=[Trickle(0.02)]) as server:
        assert "no answer within 0.3 s" in refused(lambda: session(server, query_timeout=0.3).call("ctl.slow", {}))


def test_lost_call_is_repeated_if_it_may_be(context, session, pauses):
    with TdsServer(context, answers=[ONE, Drop(), Drop(), ONE]) as server:
        one = session(server)
        one.call("ctl.first", {})
        assert one.call("ctl.beat", {"run": 7}, repeatable=True)[0]["run_id"] == 7

    assert [request.procedure for request in server.requests] == ["ctl.first", "ctl.beat", "ctl.beat", "ctl.beat"]
    assert (server.connections, len(pauses)) == (3, 2)


def test_lost_call_is_not_repeated_if_it_may_not_be(context, session, pauses):
    with TdsServer(context, answers=[Drop()]) as server:
        one = session(server)
        message = refused(lambda: one.call("ctl.start", {"batch": "nightly"}))
        assert one.call("ctl.next", {}) == [{"answer": 1}]

    assert "procedure ctl.start: the connection was lost" in message
    assert message.endswith("Nobody knows whether the server carried it out.")
    assert [request.procedure for request in server.requests] == ["ctl.start", "ctl.next"]
    assert pauses == []


def test_connection_that_was_closed_meanwhile_is_opened_anew_for_any_call(context, session, pauses):
    with TdsServer(context, answers=[DropAfter(), ONE]) as server:
        one = session(server)
        one.call("ctl.first", {})
        server.hang_up()
        assert one.call("ctl.start", {}) == [{"run_id": 7, "status": "E"}, {"run_id": 8, "status": None}]

    assert (server.connections, pauses) == (2, [])


def test_connection_that_was_idle_for_long_is_asked_first(monkeypatch, context, session):
    monkeypatch.setattr(connection, "IDLE_SECONDS", -1.0)
    with TdsServer(context, answers=[ONE, ONE, ONE, Silence()]) as server:
        one = session(server, login_timeout=1)
        one.call("ctl.first", {})
        one.call("ctl.second", {})
        one.call("ctl.third", {})

    asked = [request.procedure or request.text for request in server.requests]
    assert asked == ["ctl.first", "SELECT 1", "ctl.second", "SELECT 1", "ctl.third"]
    assert server.connections == 2


@pytest.mark.parametrize("number", [10928, 10929, 40501, 49918, 49920], ids=str)
def test_call_that_the_server_was_too_busy_for_is_repeated(context, session, pauses, number):
    with TdsServer(context, answers=[Refused(number, "busy"), ONE]) as server:
        assert session(server).call("ctl.start", {})[0]["run_id"] == 7

    assert len(pauses) == 1


def test_deadlock_victim_is_repeated_because_it_is_one_transaction(context, session, pauses):
    with TdsServer(context, answers=[Refused(1205, "deadlocked"), ONE]) as server:
        assert session(server).call("ctl.start", {})[0]["run_id"] == 7

    assert len(pauses) == 1


def test_deadlock_victim_in_a_script_is_repeated_only_if_it_may_be(context, session):
    with TdsServer(context, answers=[Refused(1205, "deadlocked"), Refused(1205, "deadlocked"), ONE]) as server:
        one = session(server)
        assert "batch 1 of 1: error 1205 (deadlock victim): deadlocked." in refused(
            lambda: one.execute("CREATE TABLE a")
        )
        one.execute("CREATE TABLE a", repeatable=True)

    assert len(server.requests) == 3


def test_failover_during_a_call_leaves_doubt(context, session):
    with TdsServer(context, answers=[Refused(40197, "the service has encountered an error")]) as server:
        message = refused(lambda: session(server).call("ctl.start", {}))

    assert message.endswith("Nobody knows whether the server carried it out.")


def test_interrupted_call_closes_the_connection(monkeypatch, context, session):
    def interrupted(*_):
        raise KeyboardInterrupt

    with TdsServer(context) as server:
        one = session(server)
        one.call("ctl.first", {})
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(wire, "_first_rows", interrupted)
            one.call("ctl.second", {})
        one.call("ctl.third", {})

    assert server.connections == 2


def test_script_is_run_batch_by_batch_and_the_batch_that_fails_is_named(context, session):
    script = "CREATE SCHEMA ctl\nGO\nCREATE TABLE ctl.run (id int)\nGO\nSELECT 1\n"
    with TdsServer(context, answers=[[], Refused(2714, "There is already an object named 'run'.")]) as server:
        message = refused(lambda: session(server).execute(script))

    assert "batch 2 of 3: error 2714: There is already an object named 'run'." in message
    assert [request.text for request in server.requests] == ["CREATE SCHEMA ctl\n", "CREATE TABLE ctl.run (id int)\n"]


def test_nothing_secret_is_logged(context, session, caplog):
    caplog.set_level(logging.DEBUG)
    with TdsServer(context, logins=[Drop()], answers=[Drop(), Refused(50001, "no")]) as server:
        one = session(server)
        refused(lambda: one.call("ctl.start", {"batch": SECRET}, repeatable=True))

    assert "attempt 1 failed, again in" in caplog.text
    assert SECRET not in caplog.text


def test_threads_share_a_session_and_take_turns(context, session):
    with TdsServer(context, always=lambda request: Rows(("n",), [(request.parameters["@n"],)])) as server:
        one = session(server)
        with ThreadPoolExecutor(8) as threads:
            answers = list(threads.map(lambda n: one.call("ctl.echo", {"n": n})[0]["n"], range(40)))

    assert answers == list(range(40))
    assert server.connections == 1


# Scripts, names, words


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        ("a\nGO\nb", ("a\n", "b")),
        ("a\r\n go \r\nb\nGo", ("a\r\n", "b\n")),
        ("GO\n\nGO\na\nGO\nGO", ("a\n",)),
        ("a\nGO 2\nb", ("a\n", "a\n", "b")),
        ("a\nGO -- done\nb", ("a\n", "b")),
        ("a\nGOTO x\nCATEGO\nlet GO\n", ("a\nGOTO x\nCATEGO\nlet GO\n",)),
        ("'\nGO\n'", ("'\nGO\n'",)),
        ("'it''s\nGO\n'\nGO\nb", ("'it''s\nGO\n'\n", "b")),
        ('"\nGO\n"', ('"\nGO\n"',)),
        ("[a]]\nGO\n]", ("[a]]\nGO\n]",)),
        ("/* /* */\nGO\n*/\nGO\nb", ("/* /* */\nGO\n*/\n", "b")),
        ("a -- it's\nGO\nb", ("a -- it's\n", "b")),
        ("'a -- b'\nGO\nc", ("'a -- b'\n", "c")),
        ("'/*'\nGO\nc", ("'/*'\n", "c")),
        ("", ()),
    ],
    ids=["plain", "carriage returns", "blank batches", "count", "comment", "other words", "string", "quote in a string",
         "quoted name", "bracketed name", "nested comments", "quote in a comment", "comment in a string",
         "comment mark in a string", "nothing"],
)  # fmt: skip
def test_batch_ends_at_a_line_that_says_go(script, expected):
    assert batches(script) == expected


@pytest.mark.parametrize(
    ("name", "host", "expected"),
    [
        ("sql.example.com", "SQL.Example.com", True),
        ("sql.example.com.", "sql.example.com", True),
        ("*.example.com", "sql.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.sql.example.com", False),
        ("*.com", "example.com", False),
        ("*", "host", False),
        ("s*.example.com", "sql.example.com", False),
        ("*.0.0.1", "127.0.0.1", False),
        ("DNS.example.com", ".example.com", False),
    ],
)
def test_name_in_a_certificate(name, host, expected):
    assert is_name_of(name, host) == expected


@pytest.mark.parametrize(
    ("text", "values", "expected"),
    [
        ("Run 7 of 77 failed.", (7,), "Run … of 77 failed."),
        ("Invalid value 'abcdefg'.", ("abcdefghij",), "Invalid value '…'."),
        ("Invalid value ABCDEF.", ("abcdef",), "Invalid value …."),
        ("at 2024-01-02 03:04:05", (datetime(2024, 1, 2, 3, 4, 5),), "at …"),
        ("Invalid object name 'run'.", ("nightly", None, True, ""), "Invalid object name 'run'."),
        ("0x00ff", (b"\x00\xff",), "0x…"),
    ],
)
def test_values_of_a_call_are_taken_out_of_the_servers_text(text, values, expected):
    assert without(text, spelled(values)) == expected


def test_text_that_quotes_values_of_rows_is_not_shown():
    message = {"msgno": 2627, "message": "The duplicate key value is (Huber).", "proc_name": "", "line_number": 1}

    assert server_failure([message], ()).text == "error 2627; its text is not shown because it quotes values"


# Connection test


def answers(request):
    if "ORIGINAL_LOGIN" in request.text:
        return Rows(("login", "database", "version", "edition"), [("loader", "control", "16.0.4000", "Developer")])
    return Rows(("schema", "procedures"), [("ctl", 7)])


def test_connection_test_tells_every_step(authority, context):
    with TdsServer(context, always=answers) as server:
        login = SqlServerLogin("localhost", "control", "loader", PASSWORD, server.port, cafile=authority.cafile)
        told = connection_test.test_sql_server(login)

    assert [line.partition(":")[0] for line in told] == ["name", "port", "encryption", "login", "server", "catalog"]
    assert told[2:] == [
        "encryption: TLSv1.2 for everything; certificate good for localhost",
        "login: loader in database control",
        "server: SQL Server 16.0.4000, Developer",
        "catalog: schema ctl with 7 procedures",
    ]


def test_connection_test_ends_at_the_first_thing_that_fails(authority, context):
    login = SqlServerLogin("localhost", "control", "loader", PASSWORD, cafile=authority.cafile)
    answer = Refused(18456, "Login failed for user 'loader'.")
    with TdsServer(context, logins=[answer]) as server, pytest.raises(ControlError) as error:
        connection_test.test_sql_server(replace(login, port=server.port))
    lines = str(error.value).splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["name", "port"]
    assert "error 18456" in lines[2]
    assert len(lines) == 3

    with pytest.raises(ControlError, match=r"^name: .*\nport: localhost,\d+ cannot be reached: Connection refused"):
        connection_test.test_sql_server(replace(login, port=server.port))
