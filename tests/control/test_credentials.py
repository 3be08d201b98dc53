"""The secret of a SQL Server: what is read, what is refused, and that nothing of it ever shows."""

from __future__ import annotations

import json
import traceback
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lakehouse.control import credentials
from lakehouse.control.credentials import SqlServerLogin, parse_secret
from lakehouse.errors import ControlError

ORIGIN = "environment variable CONTROL"
REST = "Database=control;Uid=loader;Pwd=Geheim-77"
BASE = {"server": "host", "database": "control", "user": "loader", "password": "Geheim-77"}


def as_json(**changes: object) -> str:
    return json.dumps({**BASE, **changes})


PLAIN = dict(BASE)
GOOD = [
    ("json", as_json(), PLAIN),
    ("json with port", as_json(port=1434), {**PLAIN, "port": 1434}),
    ("json with port as text", as_json(port="14330"), {**PLAIN, "port": 14330}),
    ("json with synonyms", '{"host":"host","db":"control","uid":"loader","pwd":"Geheim-77"}', PLAIN),
    ("json with other case", '{"Host-Name":"host","Initial Catalog":"control","USERNAME":"loader","Pwd":"Geheim-77"}', PLAIN),
    ("json over lines, with mark", "\ufeff\n" + json.dumps(BASE, indent=2) + "\n", PLAIN),
    ("json with options", as_json(encrypt=False, trust_server_certificate=True, cafile="/ca.pem", login_timeout=5, query_timeout=9,
                                  application="nightly", certificate_host="sql.local"),
     {**PLAIN, "encrypt": False, "trust_server_certificate": True, "cafile": "/ca.pem", "login_timeout": 5, "query_timeout": 9,
      "application": "nightly", "certificate_host": "sql.local"}),
    ("json with null", as_json(port=None, instance=None), PLAIN),
    ("json with server,port", as_json(server="tcp:host,1500"), {**PLAIN, "port": 1500}),
    ("json with the same port twice", as_json(server="host,1500", port=1500), {**PLAIN, "port": 1500}),
    ("json with an instance", as_json(server="host\\SALES"), {**PLAIN, "instance": "SALES"}),
    ("json with an instance of its own key", as_json(instance="SALES"), {**PLAIN, "instance": "SALES"}),
    ("json with escapes in the password", as_json(password='a"b\\c;{}=\u00e9\n'), {**PLAIN, "password": 'a"b\\c;{}=\u00e9\n'}),
    ("odbc, the reference's example",
     "Driver={ODBC Driver 18 for SQL Server};Server=tcp:host,1433;Database=control;Uid=loader;Pwd={p;w}};Encrypt=yes;"
     "TrustServerCertificate=no;Connection Timeout=30;",
     {**PLAIN, "password": "p;w}", "login_timeout": 30}),
    ("odbc, the same well escaped", "Server=host;Database=control;Uid=loader;Pwd={p;w}}};Encrypt=yes", {**PLAIN, "password": "p;w}"}),
    ("odbc, brace at the end without semicolon", "Server=host;Database=control;Uid=loader;Pwd={p;w}}", {**PLAIN, "password": "p;w}"}),
    ("odbc, only braces", "Server=host;Database=control;Uid=loader;Pwd={}}}}};", {**PLAIN, "password": "}}"}),
    ("odbc, opening brace inside", "Server=host;Database=control;Uid=loader;Pwd={a{b}", {**PLAIN, "password": "a{b"}),
    ("odbc, brace in a plain value", "Server=host;Database=control;Uid=loader;Pwd=a{b}c", {**PLAIN, "password": "a{b}c"}),
    ("odbc, equals in a plain value", "Server=host;Database=control;Uid=loader;Pwd=a=b==", {**PLAIN, "password": "a=b=="}),
    ("odbc, quotes are part of it", "Server=host;Database=control;Uid=loader;Pwd=\"a'b\"", {**PLAIN, "password": "\"a'b\""}),
    ("odbc, blanks in braces stay", "Server=host;Database=control;Uid=loader;Pwd={ a b }", {**PLAIN, "password": " a b "}),
    ("odbc, blanks around", " Server = host ;\n Database = control ; Uid= loader; Pwd = {Geheim-77}  ; ", PLAIN),
    ("odbc, other case", "SERVER=host;database=control;uID=loader;pWD=Geheim-77", PLAIN),
    ("odbc, ADO.NET words",
     "Data Source=tcp:host,1433;Initial Catalog=control;User ID=loader;Password=Geheim-77;Persist Security Info=False;"
     "MultipleActiveResultSets=False;Encrypt=True;TrustServerCertificate=False;Connect Timeout=20;Command Timeout=90;",
     {**PLAIN, "login_timeout": 20, "query_timeout": 90}),
    ("odbc, Address", f"Address=host;{REST}", PLAIN),
    ("odbc, Addr", f"Addr=host;{REST}", PLAIN),
    ("odbc, Network  Address", f"Network  Address=host;{REST}", PLAIN),
    ("odbc, empty attributes", f";;Server=host;;;{REST};;", PLAIN),
    ("odbc, the first of two counts", f"Server=host;Server=other;{REST};Password=another", PLAIN),
    ("odbc, the first of two synonyms counts", f"Data Source=host;Server=other;{REST}", PLAIN),
    ("odbc, Port", f"Server=host;Port=1500;{REST}", {**PLAIN, "port": 1500}),
    ("odbc, blanks at the comma", f"Server=tcp: host , 1500;{REST}", {**PLAIN, "port": 1500}),
    ("odbc, named service as port", f"Server=host,ms-sql-s;{REST}", PLAIN),
    ("odbc, instance", f"Server=host\\Sales$1;{REST}", {**PLAIN, "instance": "Sales$1"}),
    ("odbc, default instance", f"Server=host\\MSSQLSERVER;{REST}", PLAIN),
    ("odbc, a port beats an instance", f"Server=tcp:host\\SALES,1500;{REST}", {**PLAIN, "port": 1500}),
    ("odbc, (local)", f"Server=(local);{REST}", {**PLAIN, "server": "localhost"}),
    ("odbc, dot", f"Server=.;{REST}", {**PLAIN, "server": "localhost"}),
    ("odbc, dot with instance", f"Server=.\\SQLEXPRESS;{REST}", {**PLAIN, "server": "localhost", "instance": "SQLEXPRESS"}),
    ("odbc, localhost", f"Server=LOCALHOST,1500;{REST}", {**PLAIN, "server": "localhost", "port": 1500}),
    ("odbc, Azure", f"Server=tcp:sales-1.database.windows.net,1433;{REST}", {**PLAIN, "server": "sales-1.database.windows.net"}),
    ("odbc, address v4", f"Server=10.0.0.4;{REST}", {**PLAIN, "server": "10.0.0.4"}),
    ("odbc, address v6", f"Server=tcp:[fd00::12],1500;{REST}", {**PLAIN, "server": "fd00::12", "port": 1500}),
    ("odbc, Encrypt mandatory", f"Server=host;{REST};Encrypt=Mandatory", PLAIN),
    ("odbc, Encrypt optional", f"Server=host;{REST};Encrypt=optional", {**PLAIN, "encrypt": False}),
    ("odbc, Encrypt no", f"Server=host;{REST};Encrypt=no", {**PLAIN, "encrypt": False}),
    ("odbc, Encrypt empty", f"Server=host;{REST};Encrypt=", PLAIN),
    ("odbc, trusting", f"Server=host;{REST};TrustServerCertificate=YES", {**PLAIN, "trust_server_certificate": True}),
    ("odbc, name in the certificate", f"Server=host;{REST};HostnameInCertificate=*.x.net", {**PLAIN, "certificate_host": "*.x.net"}),
    ("odbc, no limit of time", f"Server=host;{REST};Timeout=0;Query Timeout=0", {**PLAIN, "login_timeout": None, "query_timeout": None}),
    ("odbc, SqlPassword", f"Server=host;{REST};Authentication=SqlPassword;Trusted_Connection=no", PLAIN),
    ("odbc, application", f"Server=host;{REST};App=nightly", {**PLAIN, "application": "nightly"}),
    ("odbc, keys without meaning here", f"Server=host;{REST};MultiSubnetFailover=Yes;WSID=pc;Description={{a;b}}", PLAIN),
    ("odbc, unicode and blanks in names", "Server=host;Database=Größe 1;Uid=loader@host;Pwd=Geheim-77",
     {**PLAIN, "database": "Größe 1", "user": "loader@host"}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), [case[1:] for case in GOOD], ids=[case[0] for case in GOOD])
def test_secret_that_is_read(text, expected):
    assert parse_secret(text, origin=ORIGIN) == SqlServerLogin(**expected)


BAD = [
    ("empty", "", "the secret is empty"),
    ("blank", " \n\t ", "the secret is empty"),
    ("only a password", "Geheim-77", "neither a JSON object nor an ODBC connection string"),
    ("a url", "mssql://loader:Geheim-77@host/control", "URL is not read"),
    ("a jdbc url", "jdbc:sqlserver://host:1433;user=loader;password=Geheim-77", "URL is not read"),
    ("a json list", '["host", "Geheim-77"]', "neither a JSON object"),
    ("broken json", '{"server": "host", "password": "Geheim-77}', "begins like JSON and is not"),
    ("json with a comma too many", '{"server": "host",}', "begins like JSON and is not"),
    ("json and more", as_json() + as_json(), "begins like JSON and is not"),
    ("json with an unknown key", '{"sever":"host","database":"d","user":"u","password":"Geheim-77"}', "key 1 is not known.*Did you mean server?"),
    ("json with key and value swapped", '{"Geheim-77":"password"}', "key 1 is not known"),
    ("json with a key twice", '{"user":"u","user":"Geheim-77"}', "user and user say the same"),
    ("json with synonyms for one thing", '{"server":"a","host":"Geheim-77"}', "server and host say the same"),
    ("json without server", '{"database":"d","user":"u","password":"Geheim-77"}', "server: it is missing; needed are server, database, user, password"),
    ("json without password", '{"server":"h","database":"d","user":"u"}', "password: it is missing"),
    ("json with an empty password", as_json(password=""), "password: it is empty"),
    ("json with a number as password", as_json(password=771177), "password: it must be text"),
    ("json with a list as user", as_json(user=["Geheim-77"]), "user: it must be text"),
    ("json with an object as server", as_json(server={"host": "Geheim-77"}), "server: it must be text"),
    ("json with a bad port", as_json(port="Geheim-77"), "port: it must be a whole number from 1 to 65535"),
    ("json with port 0", as_json(port=0), "port: it must be a whole number from 1 to 65535"),
    ("json with port 65536", as_json(port=65536), "port: it must be a whole number"),
    ("json with a true port", as_json(port=True), "port: it must be a whole number"),
    ("json with half a port", as_json(port=1433.5), "port: it must be a whole number"),
    ("json with two ports", as_json(server="host,1500", port=1501), "port: another port than the one in server"),
    ("json with a bad flag", as_json(encrypt="Geheim-77"), "encrypt: it must be one of yes, true, no, false, mandatory, optional"),
    ("json with half a character", '{"server":"h","database":"d","user":"u","password":"Geheim-77\\ud800"}', "password: it holds half a character"),
    ("json with a long password", as_json(password="Geheim-77" * 20), "password: it is longer than the 128 characters"),
    ("odbc, misspelt key", "Server=host;Database=control;Uid=loader;Passwort=Geheim-77", "attribute 4 is not known.*Did you mean password?"),
    ("odbc, semicolon in the password", "Server=host;Database=control;Uid=loader;Pwd=Geheim;77", "attribute 5 is not written as keyword=value; a value with ;"),
    ("odbc, semicolon and equals in the password", "Server=host;Database=control;Uid=loader;Pwd=Geheim;Teil=77", "attribute 5 is not known"),
    ("odbc, no keyword", "Server=host;=Geheim-77", "attribute 2 is not written as keyword=value"),
    ("odbc, brace not closed", "Server=host;Database=control;Uid=loader;Pwd={Geheim-77", "Pwd: its brace is not closed"),
    ("odbc, something behind the brace", "Server=host;Database=control;Uid=loader;Pwd={Geheim}-77;", "Pwd: something follows its closing brace"),
    ("odbc, semicolon, equals and brace in the password", "Server=host;Database=control;Uid=loader;Pwd=Geheim;Geheim77={x",
     "attribute 5: its brace is not closed"),
    ("odbc, no server", REST, "Server: it is missing; needed are Server, Database, Uid, Pwd"),
    ("odbc, no database", "Server=host;Uid=loader;Pwd=Geheim-77", "Database: it is missing"),
    ("odbc, no user", "Server=host;Database=control;Pwd=Geheim-77", "Uid: it is missing"),
    ("odbc, no password", "Server=host;Database=control;Uid=loader", "Pwd: it is missing"),
    ("odbc, empty password", "Server=host;Database=control;Uid=loader;Password=;", "Password: it is empty"),
    ("odbc, empty first of two", "Server=;Server=host;" + REST, "Server: it is empty"),
    ("odbc, pipe", f"Server=np:\\\\host\\pipe\\sql;{REST}", "Server: a SQL Server is reached over TCP only"),
    ("odbc, pipe without protocol", f"Server=\\\\.\\pipe\\sql\\query;{REST}", "Server: a SQL Server is reached over TCP only"),
    ("odbc, shared memory", f"Server=lpc:host;{REST}", "Server: a SQL Server is reached over TCP only"),
    ("odbc, LocalDB", f"Server=(localdb)\\v11;{REST}", "Server: LocalDB cannot be reached over TCP"),
    ("odbc, port behind a colon", f"Server=host:1433;{REST}", "Server: the port stands behind a comma: host,1433"),
    ("odbc, bad port", f"Server=host,Geheim-77;{REST}", "Server: its port must be a whole number from 1 to 65535"),
    ("odbc, empty port", f"Server=host,;{REST}", "Server: its port must be a whole number"),
    ("odbc, port too large", f"Server=host,99999;{REST}", "Server: its port must be a whole number"),
    ("odbc, lost semicolon", "Server=hostPwd=Geheim-77;Database=control;Uid=loader", "Server: this cannot be the name of a host"),
    ("odbc, bad instance", f"Server=host\\a b;{REST}", "Server: this cannot be the name of an instance"),
    ("odbc, Windows login", "Server=host;Database=control;Trusted_Connection=Yes", "Trusted_Connection: only a SQL Server login with user and password"),
    ("odbc, SSPI", "Server=host;Database=control;Integrated Security=SSPI", "Integrated Security: only a SQL Server login"),
    ("odbc, Entra ID password", f"Server=host;{REST};Authentication=ActiveDirectoryPassword", "Authentication: only a SQL Server login.*no Entra ID login"),
    ("odbc, managed identity", "Server=host;Database=control;Authentication=ActiveDirectoryMsi", "Authentication: only a SQL Server login"),
    ("odbc, DSN", "DSN=prod;Uid=loader;Pwd=Geheim-77", "DSN: a data source of this machine is not read"),
    ("odbc, Encrypt strict", f"Server=host;{REST};Encrypt=strict", "Encrypt: strict .TDS 8.0. is not supported"),
    ("odbc, Encrypt bad", f"Server=host;{REST};Encrypt=Geheim-77", "Encrypt: it must be one of"),
    ("odbc, bad time-out", f"Server=host;{REST};Connection Timeout=-Geheim-77", "Connection Timeout: it must be a whole number from 0 to 86400"),
    ("odbc, certificate of the server", f"Server=host;{REST};ServerCertificate=/a.pem", "ServerCertificate: it belongs to Encrypt=strict"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_secret_that_is_refused(text, message):
    with pytest.raises(ControlError, match=message) as refused:
        parse_secret(text, origin=ORIGIN)

    assert str(refused.value).startswith(f"{ORIGIN}: ")
    shown = everything_shown(refused.value)
    assert not any(part in shown for part in ("Geheim", "77", "loader"))


def everything_shown(error: BaseException) -> str:
    """All that anybody prints of an error; nothing may hang on it either."""
    assert error.__cause__ is None
    assert error.__context__ is None
    lines = traceback.format_exception(error)
    return "\n".join([str(error), repr(error), repr(error.args), lines[-1]])


def test_text_of_a_login_never_holds_the_password():
    login = parse_secret(as_json(password="Geheim-77"), origin=ORIGIN)

    assert "Geheim" not in f"{login} {login!r} {[login]}"
    assert "Geheim" not in traceback.format_exception_only(ValueError(login))[0]


@pytest.mark.parametrize(
    ("login", "address"),
    [(SqlServerLogin("h", "d", "u", "p", 1500), "h,1500"), (SqlServerLogin("h", "d", "u", "p", instance="I"), "h\\I")],
    ids=["port", "instance"],
)
def test_address_is_written_as_people_write_it(login, address):
    assert login.address == address


FIXED_WORDS = Path(credentials.__file__).read_text(encoding="utf-8") + Path(__file__).read_text(encoding="utf-8")
CHARACTERS = st.sampled_from(";{}='\"\\ ,:[]()@\n\té😀") | st.characters(exclude_categories=["Cs"])
PASSWORDS = st.text(CHARACTERS, min_size=1, max_size=40)
LONG_PASSWORDS = st.text(CHARACTERS, min_size=6, max_size=40) | st.from_regex(r"[A-Za-z0-9;={}]{6,40}", fullmatch=True)
FORMS = st.sampled_from(["odbc", "odbc first", "json", "json ascii"])


def secret_text(password: str, form: str) -> str:
    """A secret with this password; without braces it is well written only for a harmless one."""
    braced = "{" + password.replace("}", "}}") + "}"
    if form == "odbc":
        return f"Driver={{ODBC Driver 18}};Server=tcp:host,1433;Database=control;Uid=loader;Pwd={braced};Encrypt=yes;"
    if form == "odbc without braces":
        return f"Server=host;Database=control;Uid=loader;Pwd={password};Encrypt=yes"
    if form == "odbc first":
        return f"Pwd={braced};Uid=loader;Server=host;Database={{control}}"
    return json.dumps({**BASE, "password": password}, ensure_ascii=form == "json ascii")


@settings(max_examples=300, deadline=None)
@given(PASSWORDS, FORMS)
def test_every_password_comes_back(password, form):
    login = parse_secret(secret_text(password, form), origin=ORIGIN)

    assert login == SqlServerLogin("host", "control", "loader", password)


@st.composite
def damages(draw):
    """A password and a secret with it in which something was lost, put in, doubled or cut off."""
    password = draw(LONG_PASSWORDS)
    text = secret_text(password, draw(FORMS | st.just("odbc without braces")))
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 12)))
        inserted = draw(st.sampled_from(["", text[start:end] * 2]) | st.text(CHARACTERS, max_size=3))
        text = draw(st.sampled_from([text[:start] + inserted + text[end:], text[:start]]))
    return password, text


@settings(max_examples=600, deadline=None)
@given(damages())
def test_no_part_of_a_password_shows_when_the_secret_is_damaged(damage):
    password, text = damage
    parts = [password[start : start + 6] for start in range(len(password) - 5)]
    assume(not any(part in FIXED_WORDS for part in parts))
    try:
        shown = repr(parse_secret(text, origin=ORIGIN))
        parts = [password]
    except ControlError as error:
        shown = everything_shown(error)

    assert not any(part in shown for part in parts)
