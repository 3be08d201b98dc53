"""One connection to a SQL Server through python-tds: opened, asked, closed.

Rule: the password leaves only inside TLS; parameters travel as typed RPC parameters, never in text; every wait has one
deadline, however many reads it takes. python-tds' public ``connect`` is not used: it sleeps out the whole login time-out after
each failure, hides its cause, and can neither check a host name nor accept a server's own certificate.
"""

from __future__ import annotations

import errno
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timezone
from datetime import time as time_of_day
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytds
from OpenSSL import SSL
from pytds import lcid
from pytds.connection import NonMarsConnection
from pytds.instance_browser_client import resolve_instance_port
from pytds.tds_base import TDS_ERROR_TOKEN, TDS_ODBC_ON, PacketType, PreLoginEnc, _TdsLogin
from pytds.tds_socket import _TdsSocket

from lakehouse.control.credentials import SqlServerLogin
from lakehouse.control.sql_server.failure import Failure, server_failure, spelled, without
from lakehouse.control.sql_server.tls import Handshake, tls_context

Row = dict[str, object]
SENDABLE = (bool, int, float, Decimal, str, bytes, date, datetime, time_of_day, UUID)
HOPS = 3
"""How often a server may send a login on to another one (Azure SQL does it once)."""
KEEP_ALIVE_SECONDS = 30


class Line:
    """The socket under a connection, as python-tds sees it."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._deadline: float | None = None
        self.waiting = False
        """Whether the request was sent, so that the server may be at work."""

    def begin(self, seconds: float | None) -> None:
        """Begins a request, which must be answered within ``seconds``."""
        self._deadline = None if seconds is None else time.monotonic() + seconds
        self.waiting = False

    def settimeout(self, timeout: float | None) -> None:
        """Leaves the deadline as it is: python-tds would count from each read anew."""

    def gettimeout(self) -> float | None:
        """None: python-tds sets back what it reads here."""
        return None

    def sendall(self, data: bytes | bytearray, flags: int = 0) -> None:
        """Sends, unless it is a login in the clear."""
        if data[:1] == bytes([PacketType.LOGIN]):
            raise Failure("the server offers no encryption; a password is not sent in the clear")
        self._socket.settimeout(self._left())
        self._socket.sendall(data, flags)

    def recv(self, size: int) -> bytes:
        """Receives up to ``size`` bytes."""
        self.waiting = True
        self._socket.settimeout(self._left())
        return self._socket.recv(size)

    def recv_into(self, buffer: bytearray | memoryview, size: int = 0, flags: int = 0) -> int:
        """Receives into a buffer."""
        self.waiting = True
        self._socket.settimeout(self._left())
        return self._socket.recv_into(buffer, size, flags)

    def close(self) -> None:
        """Closes the socket."""
        self._socket.close()

    def hung_up(self) -> bool:
        """Whether the other side closed the line, as far as is known here; nobody speaks between two requests."""
        try:
            self._socket.settimeout(0)
            self._socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def _left(self) -> float | None:
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left


class Wire:
    """An open connection. Not for two threads at a time."""

    def __init__(self, login: SqlServerLogin, line: Line, tds: _TdsSocket, tls: str) -> None:
        self._login = login
        self._line = line
        self._tds = tds
        self._connection = NonMarsConnection(pooling=False, key=(), tds_socket=tds)
        self.tls = tls
        """The protocol that encrypts it, such as ``TLSv1.2``."""

    def call(self, procedure: str, parameters: Mapping[str, object]) -> list[Row]:
        """Calls a stored procedure; the rows of its first result set."""
        bound = {name: _sendable(name, value) for name, value in parameters.items()}
        timeout = self._login.query_timeout
        return self._ask(lambda cursor: cursor.callproc(procedure, bound), timeout, bound.values())

    def run(self, batch: str) -> list[Row]:
        """Runs a batch; the rows of its first result set."""
        return self._ask(lambda cursor: cursor.execute(batch), self._login.query_timeout)

    def answers(self) -> bool:
        """Whether the server still answers, asked in as much time as a login may take."""
        try:
            self._ask(lambda cursor: cursor.execute("SELECT 1"), self._login.login_timeout)
        except Failure:
            return False
        return True

    def hung_up(self) -> bool:
        """Whether the server is known to have closed the connection."""
        return self._line.hung_up()

    def close(self) -> None:
        """Closes the connection; what the server was at is rolled back."""
        self._line.close()

    def _ask(self, send: Callable[[Any], object], seconds: float | None, values: Iterable[object] = ()) -> list[Row]:
        self._line.begin(seconds)
        try:
            cursor = self._connection.cursor()
            send(cursor)
            return _first_rows(cursor)
        except Exception as error:
            hidden = (self._login.password, *spelled(values))
            raise _failure(error, self._tds, self._line, seconds, hidden) from None


def open_wire(login: SqlServerLogin) -> Wire:
    """Opens a connection and logs in; follows a server that sends the login on.

    Raises:
        Failure: the server cannot be reached, is not the right one, or refuses.
    """
    deadline = None if login.login_timeout is None else time.monotonic() + login.login_timeout
    host, port = login.server, _port(login)
    for _ in range(HOPS):
        line = _line(host, port, deadline, login)
        try:
            wire, route = _log_in(login, line, host)
        except BaseException:
            line.close()
            raise
        if route is None:
            return wire
        line.close()
        host, port = str(route["server"]).partition("\\")[0], int(route["port"])
    raise Failure("the server sends the login from one server to the next", undone=True)


def _port(login: SqlServerLogin) -> int:
    if login.instance is None:
        return login.port
    try:
        return int(resolve_instance_port(login.server, None, login.instance.upper(), timeout=login.login_timeout or 5))
    except Exception:
        raise Failure(
            "SQL Server Browser (UDP 1434) knows no such instance or does not answer; give the port instead",
            passes=True,
            undone=True,
        ) from None


def _line(host: str, port: int, deadline: float | None, login: SqlServerLogin) -> Line:
    left = None if deadline is None else max(0.001, deadline - time.monotonic())
    try:
        sock = socket.create_connection((host, port), left)
    except OSError as error:
        raise _not_reached(error, login.login_timeout, f"{host},{port}") from None
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEP_ALIVE_SECONDS)
    line = Line(sock)
    line.begin(left)
    return line


def _log_in(login: SqlServerLogin, line: Line, host: str) -> tuple[Wire, Mapping[str, Any] | None]:
    """Logs in over an open line; the connection, and where the server sends the login on to."""
    meant = login.certificate_host or login.server
    hosts = (meant,) if host == login.server else (meant, host)
    handshake = Handshake(hosts, trust_any=login.trust_server_certificate)
    tds = None
    try:
        words = _login_words(login, host, handshake)
        tds = _TdsSocket(sock=line, login=words, row_strategy=pytds.dict_row_strategy, autocommit=True)
        route = tds.login()
        return Wire(login, line, tds, handshake.version), route
    except Exception as error:
        failure = _failure(error, tds, line, login.login_timeout, (login.password,))
        passes = failure.passes or isinstance(error, TimeoutError)
    text = handshake.problem or failure.text
    raise Failure(text, passes=passes and not handshake.problem, undone=True, numbers=failure.numbers)


def _login_words(login: SqlServerLogin, host: str, handshake: Handshake) -> _TdsLogin:
    words = _TdsLogin()
    words.server_name = host
    words.client_host_name = socket.gethostname()[:128]
    words.library = "python-tds"
    words.user_name = _Utf16(login.user)
    words.password = _Utf16(login.password)
    words.database = _Utf16(login.database)
    words.app_name = login.application[:64]
    words.client_lcid = lcid.LANGID_ENGLISH_US
    words.pid = os.getpid()
    words.option_flag2 = TDS_ODBC_ON
    words.bytes_to_unicode = True
    words.validate_host = False
    words.tls_ctx = _context(handshake, login.cafile)
    words.enc_flag = PreLoginEnc.ENCRYPT_ON if login.encrypt else PreLoginEnc.ENCRYPT_OFF
    return words


def _context(handshake: Handshake, cafile: str | None) -> SSL.Context:
    try:
        return tls_context(handshake, cafile)
    except OSError as error:
        raise Failure(f"cafile {cafile}: {error.strerror or error}", undone=True) from None


class _Utf16(str):
    """A text whose length is that of its UTF-16, which is what python-tds should write into a login."""

    def __len__(self) -> int:
        return len(self.encode("utf-16-le")) // 2


def _sendable(name: str, value: object) -> object:
    if value is not None and not isinstance(value, SENDABLE):
        raise Failure(f"parameter {name} is a {type(value).__name__}, which cannot be sent", undone=True)
    if isinstance(value, datetime) and value.tzinfo is not None:
        return value.astimezone(timezone.utc)
    return pytds.Binary(value) if isinstance(value, bytes) else value


def _first_rows(cursor: Any) -> list[Row]:
    """The rows of the first result set; all others are read too, because an error may stand behind them."""
    rows: list[Row] | None = None
    while True:
        if rows is None and cursor.description is not None:
            rows = cursor.fetchall()
        if not cursor.nextset():
            return rows or []


def _failure(
    error: Exception, tds: _TdsSocket | None, line: Line, seconds: float | None, hidden: Iterable[str]
) -> Failure:
    """What an exception of python-tds, of the socket or of TLS means."""
    undone = not line.waiting
    if isinstance(error, Failure):
        return error
    if isinstance(error, pytds.DatabaseError) and tds is not None:
        messages = [message for message in tds.main_session.messages if message["marker"] == TDS_ERROR_TOKEN]
        return server_failure(messages, hidden)
    if isinstance(error, TimeoutError):
        return Failure(f"no answer within {seconds or 0:g} s", passes=undone, undone=undone)
    if isinstance(error, SSL.Error) and not isinstance(error, (SSL.ZeroReturnError, SSL.SysCallError)):
        return Failure(f"TLS failed: {_tls_reason(error)}", undone=undone)
    if isinstance(error, (OSError, pytds.ClosedConnectionError, SSL.Error)):
        reason = getattr(error, "strerror", None) or "the server closed the connection"
        return Failure(f"the connection was lost: {reason}", passes=True, undone=undone)
    if type(error) in (pytds.Error, pytds.InterfaceError):
        return Failure(f"python-tds refuses: {without(str(error), hidden)}", undone=undone)
    return Failure(f"python-tds does not understand the server or the call ({type(error).__name__})", undone=undone)


def _tls_reason(error: SSL.Error) -> str:
    reasons = error.args[0] if error.args and isinstance(error.args[0], list) else []
    return "; ".join(str(reason[-1]) for reason in reasons) or "no reason given"


def _not_reached(error: OSError, seconds: float | None, place: str) -> Failure:
    if isinstance(error, socket.gaierror):
        passes = error.errno == socket.EAI_AGAIN
        return Failure(f"the name of {place} cannot be resolved", passes=passes, undone=True)
    if isinstance(error, TimeoutError) or error.errno == errno.ETIMEDOUT:
        return Failure(f"{place} does not answer within {seconds or 0:g} s", passes=True, undone=True)
    return Failure(f"{place} cannot be reached: {error.strerror or type(error).__name__}", passes=True, undone=True)
