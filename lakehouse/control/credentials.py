"""The secret of a SQL Server as JSON or as an ODBC connection string, read without an ODBC driver.

Rule: a message names the key and where the secret came from, never a part of the secret; an unknown key of a connection
string is told by its place, because it may be the end of a password whose semicolon was not put in braces.
Source: MS-ODBCSTR (braces, ``}}``); ODBC SQLDriverConnect (of a repeated keyword the first one counts).
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any, Literal, NoReturn

from lakehouse.errors import ControlError

Key = Literal[
    "server", "database", "user", "password", "port", "instance", "encrypt", "trust_server_certificate", "cafile",
    "certificate_host", "login_timeout", "query_timeout", "application", "authentication", "integrated",
]  # fmt: skip

SYNONYMS: Mapping[Key, tuple[str, ...]] = {
    "server": ("Server", "Address", "Addr", "Data Source", "Network Address", "Host", "Host Name"),
    "database": ("Database", "Initial Catalog", "Database Name", "Db"),
    "user": ("Uid", "User ID", "User", "User Name"),
    "password": ("Pwd", "Password"),
    "port": ("Port",),
    "instance": ("Instance", "Instance Name"),
    "encrypt": ("Encrypt",),
    "trust_server_certificate": ("TrustServerCertificate",),
    "cafile": ("CaFile",),
    "certificate_host": ("HostnameInCertificate", "Certificate Host"),
    "login_timeout": ("Connection Timeout", "Connect Timeout", "Timeout", "Login Timeout"),
    "query_timeout": ("Query Timeout", "Command Timeout"),
    "application": ("App", "Application", "Application Name"),
    "authentication": ("Authentication",),
    "integrated": ("Trusted_Connection", "Integrated Security"),
}
"""The keys that count; upper case, blanks, hyphens and underscores do not matter."""

ELSEWHERE: Mapping[str, str] = {
    "DSN": "a data source of this machine is not read; give Server, Database, Uid and Pwd",
    "FileDSN": "a file data source is not read; give Server, Database, Uid and Pwd",
    "ServerCertificate": "it belongs to Encrypt=strict; give the authority's certificate as cafile",
    "ClientCertificate": "only a SQL Server login with user and password is supported",
    "ClientKey": "only a SQL Server login with user and password is supported",
    "AccessToken": "only a SQL Server login with user and password is supported",
}
"""Keys that say something that is not supported, and what to do instead."""

IGNORED = (
    "Driver", "Provider", "Description", "AnsiNPW", "ApplicationIntent", "AttachDBFileName", "AutoTranslate",
    "ColumnEncryption", "ConcatNullYieldsNull", "ConnectRetryCount", "ConnectRetryInterval", "Failover_Partner",
    "FailoverPartner", "FailoverPartnerSPN", "GetDataExtensions", "IpAddressPreference", "KeepAlive",
    "KeepAliveInterval", "Language", "Current Language", "LongAsMax", "MARS_Connection", "MultipleActiveResultSets",
    "MultiSubnetFailover", "Network", "Net", "Network Library", "PacketSize", "Persist Security Info", "Pooling",
    "Max Pool Size", "Min Pool Size", "QueryLog_On", "QueryLogFile", "QueryLogTime", "QuotedId", "Regional",
    "Replication", "RetryExec", "SaveFile", "ServerSPN", "StatsLog_On", "StatsLogFile",
    "TransparentNetworkIPResolution", "UseFMTONLY", "WSID", "Workstation ID", "VectorTypeSupport",
)  # fmt: skip
"""Keys of ODBC and ADO.NET that a driver needs and the control catalog does not."""

REQUIRED: tuple[Key, ...] = ("server", "database", "user", "password")
ONLY_SQL_LOGIN = "only a SQL Server login with user and password is supported, no Windows and no Entra ID login"
BRACES = "a value with ; or { stands in braces, and a } in it is doubled: Pwd={…}"
LONGEST = 128
"""UTF-16 units of a name or password that a login can carry."""
YES_NO = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
ENCRYPT = {**YES_NO, "mandatory": True, "optional": False}
SERVICES = {"ms-sql-s": 1433, "ms-sql-m": 1434}
THIS_MACHINE = frozenset({".", "(local)", "localhost"})


_ATTRIBUTE = re.compile(r"[\s;]*(?P<key>[^=;]*)(?P<equals>=?)")
_BRACED = re.compile(r"\s*\{(?P<value>(?:[^}]|\}\})*)\}\s*(?:;|\Z)")
_CLOSED = re.compile(r"\s*\{(?:[^}]|\}\})*\}(?!\})")
_NOT_DOUBLED = re.compile(r"\s*\{(?P<value>.*?\})\}\s*(?:;|\Z)", re.DOTALL)
_PROTOCOL = re.compile(r"(tcp|np|lpc|via|admin)\s*:\s*", re.IGNORECASE)
_HOST = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]{0,251}[a-z0-9_.])?", re.IGNORECASE)
_INSTANCE = re.compile(r"[a-z_][a-z0-9_$#]{0,15}", re.IGNORECASE)


@dataclass(frozen=True)
class SqlServerLogin:
    """Where a SQL Server is and who logs in to it. Its text never holds the password."""

    server: str
    """Host name or address."""
    database: str
    user: str
    password: str = field(repr=False)
    port: int = 1433
    instance: str | None = None
    """A named instance; SQL Server Browser is asked for its port. None where the port is known."""
    encrypt: bool = True
    """Whether all traffic is encrypted; otherwise only the login is. A password never goes in the clear."""
    trust_server_certificate: bool = False
    """Whether any certificate will do: encrypted, but nobody knows with whom."""
    cafile: str | None = None
    """PEM file of the authorities to trust; those of certifi if left out."""
    certificate_host: str | None = None
    """The name that the certificate is for, where it is not the server's."""
    login_timeout: float | None = 15
    """Seconds until a connection must be there; None waits for ever."""
    query_timeout: float | None = 60
    """Seconds until a call must be answered; None waits for ever."""
    application: str = "lakehouse"

    @property
    def address(self) -> str:
        """The server as people write it: ``host,port`` or ``host\\instance``."""
        return f"{self.server}\\{self.instance}" if self.instance else f"{self.server},{self.port}"


def parse_secret(text: str, *, origin: str) -> SqlServerLogin:
    """The login that a secret describes; ``origin`` says in messages where the secret came from.

    Where a repeated key of a connection string has two values, the first one counts; JSON may say a thing only once.
    A braced value that ends in a brace nobody doubled, such as ``Pwd={p;w}};``, is read as its writer meant it (``p;w}``),
    if it cannot be read otherwise.

    Raises:
        ControlError: the secret cannot be read; the message names the key.

    >>> parse_secret("Server=tcp:host,1433;Database=control;Uid=loader;Pwd={p;w}", origin="variable X")
    SqlServerLogin(server='host', database='control', user='loader', port=1433, instance=None, encrypt=True, \
trust_server_certificate=False, cafile=None, certificate_host=None, login_timeout=15, query_timeout=60, \
application='lakehouse')
    """
    try:
        return _login(_settings(text.strip().lstrip("\ufeff").strip()))
    except _SecretError as error:
        problem = str(error)
    # Raised out here, so that the error carries neither a cause nor a context that holds the text.
    raise ControlError(f"{origin}: {problem}")


class _SecretError(Exception):
    """What is wrong with a secret, in words without any part of it."""


@dataclass(frozen=True)
class _Settings:
    """The keys of a secret, each as it was written, with their values."""

    given: Mapping[Key, tuple[str, object]]
    json: bool

    def name(self, key: Key) -> str:
        """The key as it was written, or as one would write it."""
        return self.given[key][0] if key in self.given else (key if self.json else SYNONYMS[key][0])

    def refuse(self, key: Key, problem: str) -> NoReturn:
        """Refuses what was given for a key."""
        raise _SecretError(f"{self.name(key)}: {problem}.")

    def text(self, key: Key) -> str | None:
        """The text of a key; None if it was not given or is blank."""
        value = self.given.get(key, ("", None))[1]
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            self.refuse(key, "it must be text")
        return value

    def needed(self, key: Key) -> str:
        """The text of a key that must be there."""
        value = self.text(key)
        if value is None:
            names = ", ".join(self.name(required) for required in REQUIRED)
            self.refuse(key, f"it is {'empty' if key in self.given else 'missing'}; needed are {names}")
        try:
            units = len(value.encode("utf-16-le")) // 2
        except UnicodeEncodeError:
            self.refuse(key, "it holds half a character (a lone surrogate), which cannot be sent")
        if units > LONGEST:
            self.refuse(key, f"it is longer than the {LONGEST} characters that a login can carry")
        return value

    def flag(self, key: Key, words: Mapping[str, bool] = YES_NO) -> bool | None:
        """Yes or no; None if it was not given."""
        value = self.given.get(key, ("", None))[1]
        if value is None or value == "" or isinstance(value, bool):
            return value if isinstance(value, bool) else None
        if not isinstance(value, str) or value.lower() not in words:
            self.refuse(key, f"it must be one of {', '.join(word for word in words if not word.isdigit())}")
        return words[value.lower()]

    def number(self, key: Key, *, least: int, most: int) -> int | None:
        """A whole number within bounds; None if it was not given."""
        value = self.given.get(key, ("", None))[1]
        if value is None or value == "":
            return None
        found = whole_number(value)
        if found is None or not least <= found <= most:
            self.refuse(key, f"it must be a whole number from {least} to {most}")
        return found


def whole_number(value: object) -> int | None:
    """A whole number given as such or as digits; None for anything else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,9}", value.strip()):
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _settings(text: str) -> _Settings:
    if not text:
        raise _SecretError("the secret is empty.")
    if text.startswith("{"):
        return _Settings(_from_json(text), json=True)
    if re.match(r"jdbc:|[a-z+]+://", text, re.IGNORECASE):
        raise _SecretError("a JDBC or other URL is not read; give JSON or an ODBC connection string.")
    if "=" not in text:
        raise _SecretError(
            "it is neither a JSON object nor an ODBC connection string (Server=…;Database=…;Uid=…;Pwd=…)."
        )
    return _Settings(_from_odbc(text), json=False)


def _from_json(text: str) -> dict[Key, tuple[str, object]]:
    pairs = _json_pairs(text)
    given: dict[Key, tuple[str, object]] = {}
    for place, (name, value) in enumerate(pairs, start=1):
        key = _known(name, f"key {place}")
        if key is None or value is None:
            continue
        if key in given:
            raise _SecretError(f"{given[key][0]} and {name} say the same; keep one of them.")
        given[key] = (name, value)
    return given


def _json_pairs(text: str) -> Sequence[tuple[str, object]]:
    place = ""
    try:
        pairs: Sequence[tuple[str, object]] = json.loads(text, object_pairs_hook=list)
        return pairs
    except json.JSONDecodeError as error:
        place = f" (line {error.lineno}, character {error.colno})"
    except (ValueError, RecursionError):
        pass
    raise _SecretError(f"it begins like JSON and is not: quotes, commas, escapes{place}.")


def _from_odbc(text: str) -> dict[Key, tuple[str, object]]:
    given: dict[Key, tuple[str, object]] = {}
    for place, name, value in _attributes(text):
        key = _known(name, f"attribute {place}")
        if key is not None:
            given.setdefault(key, (name, value))
    return given


def _attributes(text: str) -> Iterator[tuple[int, str, str]]:
    """The attributes of a connection string: place, keyword, value."""
    position, place = 0, 0
    while position < len(text):
        place += 1
        head = _ATTRIBUTE.match(text, position)
        assert head is not None
        name = head["key"].strip()
        if not name and not head["equals"]:
            return
        if not name or not head["equals"]:
            raise _SecretError(f"attribute {place} is not written as keyword=value; {BRACES}.")
        value, position = _value(text, head.end(), name if _is_word(name) else f"attribute {place}")
        yield place, name, value


def _value(text: str, position: int, name: str) -> tuple[str, int]:
    """The value that begins at a position, and where the next attribute begins."""
    if not text[position:].lstrip().startswith("{"):
        end = text.find(";", position)
        end = len(text) if end < 0 else end
        return text[position:end].strip(), end + 1
    braced = _BRACED.match(text, position)
    if braced is None and _CLOSED.match(text, position):
        raise _SecretError(f"{name}: something follows its closing brace; {BRACES}.")
    braced = braced or _NOT_DOUBLED.match(text, position)
    if braced is None:
        raise _SecretError(f"{name}: its brace is not closed; {BRACES}.")
    return braced["value"].replace("}}", "}"), braced.end()


def _known(name: str, place: str) -> Key | None:
    """The key that a name stands for, None for one that does not matter here; refuses any other."""
    normal = _normal(name)
    for word, instead in ELSEWHERE.items():
        if normal == _normal(word):
            raise _SecretError(f"{word}: {instead}.")
    if not _is_word(name):
        near = get_close_matches(normal, _KEYS, n=1, cutoff=0.6)
        known = ", ".join(words[0] for words in SYNONYMS.values())
        raise _SecretError(
            f"{place} is not known. Known: {known}.{f' Did you mean {_KEYS[near[0]]}?' if near else ''} {BRACES}"
        )
    return _KEYS.get(normal)


def _is_word(name: str) -> bool:
    return _normal(name) in _KEYS or _normal(name) in _UNUSED


def _login(settings: _Settings) -> SqlServerLogin:
    _check_way_in(settings)
    host, instance, port = _server(settings)
    return SqlServerLogin(
        server=host,
        database=settings.needed("database"),
        user=settings.needed("user"),
        password=settings.needed("password"),
        port=port or 1433,
        instance=None if port else instance,
        **_options(settings),
    )


def _options(settings: _Settings) -> dict[str, Any]:
    """What may be left out, if it was given."""
    if str(settings.given.get("encrypt", ("", ""))[1]).lower() == "strict":
        settings.refuse(
            "encrypt", "strict (TDS 8.0) is not supported; mandatory encrypts everything after the first packet"
        )
    options: dict[str, Any] = {
        "encrypt": settings.flag("encrypt", ENCRYPT),
        "trust_server_certificate": settings.flag("trust_server_certificate"),
        "cafile": settings.text("cafile"),
        "certificate_host": settings.text("certificate_host"),
        "application": settings.text("application"),
    }
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("login_timeout", "query_timeout"):
        seconds = settings.number(name, least=0, most=86400)
        given.update({} if seconds is None else {name: seconds or None})
    return given


def _check_way_in(settings: _Settings) -> None:
    """Refuses every login but one with user and password."""
    way = settings.text("authentication")
    if way is not None and _normal(way) != "sqlpassword":
        settings.refuse("authentication", ONLY_SQL_LOGIN)
    if settings.flag("integrated", {**YES_NO, "sspi": True}):
        settings.refuse("integrated", ONLY_SQL_LOGIN)


def _server(settings: _Settings) -> tuple[str, str | None, int | None]:
    """Host, named instance and port, as far as they are given."""
    text = settings.needed("server").strip()
    protocol = _PROTOCOL.match(text)
    if (protocol and protocol[1].lower() != "tcp") or text.startswith("\\"):
        settings.refuse("server", "a SQL Server is reached over TCP only (tcp:host,port); no pipe, no shared memory")
    place, _, port_text = text[protocol.end() if protocol else 0 :].partition(",")
    name, _, instance = (part.strip() for part in place.partition("\\"))
    port = _port(settings, port_text.strip() if "," in text else None)
    host = _host(settings, name)
    instance = instance or settings.text("instance") or ""
    if instance and not _INSTANCE.fullmatch(instance):
        settings.refuse("server" if "\\" in place else "instance", "this cannot be the name of an instance")
    return host, (None if instance.upper() in ("", "MSSQLSERVER") else instance), port


def _host(settings: _Settings, name: str) -> str:
    if name.lower() in THIS_MACHINE:
        return "localhost"
    if name.lower() == "(localdb)":
        settings.refuse("server", "LocalDB cannot be reached over TCP")
    try:
        return str(ipaddress.ip_address(name.removeprefix("[").removesuffix("]")))
    except ValueError:
        pass
    if name.count(":") == 1:
        settings.refuse("server", "the port stands behind a comma: host,1433")
    if not _HOST.fullmatch(name) or ".." in name:
        settings.refuse("server", "this cannot be the name of a host; it is written host, host,port or host\\instance")
    return name


def _port(settings: _Settings, after_comma: str | None) -> int | None:
    """The port of the server's text or of its own key; both must agree."""
    port = settings.number("port", least=1, most=65535)
    if after_comma is None:
        return port
    found = SERVICES.get(after_comma.lower(), whole_number(after_comma))
    if found is None or not 1 <= found <= 65535:
        settings.refuse("server", "its port must be a whole number from 1 to 65535")
    if port not in (None, found):
        settings.refuse("port", f"another port than the one in {settings.name('server')}")
    return found


def _normal(name: str) -> str:
    return re.sub(r"[\s_-]", "", name).lower()


_KEYS: Mapping[str, Key] = {_normal(word): key for key, words in SYNONYMS.items() for word in words}
_UNUSED = frozenset(_normal(word) for word in IGNORED)
