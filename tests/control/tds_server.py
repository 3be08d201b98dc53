"""A small SQL Server for tests: pre-login, TLS inside pre-login packets, login, RPC and batches with canned answers.

Rule: it speaks only as much TDS as python-tds needs, and writes down whatever it is told.
Source: MS-TDS (packets 2.2.3, PRELOGIN 2.2.6.5, LOGIN7 2.2.6.4, RPC 2.2.6.6, tokens 2.2.7).
"""

from __future__ import annotations

import ipaddress
import socket
import ssl
import struct
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

BATCH, RPC, REPLY, ATTENTION, LOGIN, PRELOGIN = 1, 3, 4, 6, 16, 18
OFF, ON, NOT_SUPPORTED = 0, 1, 2
COLLATION = bytes.fromhex("0904d00034")


class Authority:
    """A certificate authority of one test run."""

    def __init__(self, folder: Path, name: str) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self._name, self._key.public_key(), (), authority=True)
        self.cafile = str(folder / f"{name}.pem")
        Path(self.cafile).write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def server_context(self, *hosts: str, common_name: str = "server", expired: bool = False) -> ssl.SSLContext:
        """TLS of a server with a certificate for these hosts; none of them means: only a common name."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        certificate = self._sign(subject, key.public_key(), hosts, expired=expired)
        path = self._folder / f"server-{certificate.serial_number}.pem"
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + private)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(path)
        return context

    def _sign(
        self,
        subject: x509.Name,
        public: ec.EllipticCurvePublicKey,
        hosts: Sequence[str],
        *,
        authority: bool = False,
        expired: bool = False,
    ) -> x509.Certificate:
        now = datetime.now(timezone.utc) - timedelta(days=400 if expired else 1)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + timedelta(days=30))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if hosts:
            builder = builder.add_extension(x509.SubjectAlternativeName([_general(host) for host in hosts]), False)
        return builder.sign(self._key, hashes.SHA256())


def _general(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


@dataclass(frozen=True)
class Rows:
    """A result set; text, whole numbers and NULL."""

    names: Sequence[str]
    rows: Sequence[Sequence[object]]


@dataclass(frozen=True)
class Refused:
    """An error of the server, after some result sets if any."""

    number: int
    text: str
    procedure: str = ""
    after: Rows | None = None
    severity: int = 16


@dataclass(frozen=True)
class Route:
    """Sends a login on to another server; port 0 is the server itself."""

    host: str
    port: int


class Drop:
    """Hangs up instead of an answer."""


class DropAfter(Drop):
    """Answers, then hangs up."""


class Silence:
    """Says nothing at all."""


@dataclass(frozen=True)
class Trickle:
    """Sends one byte of an answer now and then, and never the end."""

    seconds: float


Answer = Rows | Refused | Route | Drop | Silence | Trickle | Sequence[Rows]


@dataclass(frozen=True)
class Request:
    """What a client asked: a batch, or a procedure with its parameters."""

    text: str = ""
    procedure: str = ""
    parameters: Mapping[str, object] = field(default_factory=dict)
    types: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Login:
    """A login as it arrived, and whether it was encrypted."""

    user: str
    password: str
    database: str
    server: str
    application: str
    encrypted: bool


class TdsServer:
    """Listens on a port of its own until it is closed; answers are taken in order, then everything is answered alike."""

    def __init__(
        self,
        context: ssl.SSLContext | None,
        *,
        encryption: int = ON,
        logins: Iterable[Answer | None] = (),
        answers: Iterable[Answer] = (),
        always: Callable[[Request], Answer] | None = None,
    ) -> None:
        self._context = context
        self._encryption = encryption
        self._login_answers = deque(logins)
        self._answers = deque(answers)
        self._always = always or (lambda request: Rows(("answer",), [(1,)]))
        self.logins: list[Login] = []
        self.requests: list[Request] = []
        self.raw = bytearray()
        """Everything that came in, as it was on the line."""
        self.connections = 0
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def __enter__(self) -> TdsServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()
        self._thread.join(5)

    def hang_up(self) -> None:
        """Closes every open connection."""
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        self._open.clear()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(sock)
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with suppress(OSError, EOFError, ssl.SSLError, struct.error):
            _Talk(self, sock).run()
        with suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        sock.close()

    def login_answer(self) -> Answer | None:
        """How the next login is answered; None lets it in."""
        return self._login_answers.popleft() if self._login_answers else None

    def answer(self, request: Request) -> Answer:
        """How the next request is answered."""
        self.requests.append(request)
        return self._answers.popleft() if self._answers else self._always(request)

    @property
    def context(self) -> ssl.SSLContext | None:
        """The server's side of TLS."""
        return self._context

    @property
    def encryption(self) -> int:
        """What the server says of encryption in its pre-login answer."""
        return self._encryption

    def wait(self, seconds: float) -> bool:
        """Waits; true once the server is being closed."""
        return self._stopped.wait(seconds)


class _Talk:
    """One connection of the server."""

    def __init__(self, server: TdsServer, sock: socket.socket) -> None:
        self._server = server
        self._sock = sock
        self._tls: ssl.SSLObject | None = None
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()

    def run(self) -> None:
        kind, _ = self._packet()
        assert kind == PRELOGIN
        self._send(_prelogin(self._server.encryption))
        if self._server.encryption != NOT_SUPPORTED:
            self._shake_hands()
        _, login = self._packet()
        self._server.logins.append(_login(login, encrypted=self._tls is not None))
        if self._server.encryption == OFF:
            self._tls = None
        answer = self._server.login_answer()
        if answer is not None and not isinstance(answer, Route):
            self._answer(answer, rpc=False)
            return
        if isinstance(answer, Route):
            answer = Route(answer.host, answer.port or self._server.port)
        self._send(_welcome(self._server.logins[-1].database, answer))
        while self._turn():
            pass

    def _turn(self) -> bool:
        kind, payload = self._packet()
        if kind == ATTENTION:
            self._send(_done(0xFD, 0x20))
            return True
        request = _rpc(payload) if kind == RPC else Request(text=_after_headers(payload).decode("utf-16-le"))
        return self._answer(self._server.answer(request), rpc=kind == RPC)

    def _answer(self, answer: Answer, *, rpc: bool) -> bool:
        """Answers; whether the connection goes on."""
        if isinstance(answer, Silence):
            self._server.wait(30)
        if isinstance(answer, Trickle):
            self._raw(struct.pack(">BBHHBB", REPLY, 1, 4096, 0, 0, 0))
            while not self._server.wait(answer.seconds):
                self._raw(b"\xab")
        if isinstance(answer, Drop | Silence | Trickle) and not isinstance(answer, DropAfter):
            return False
        last = 0xFE if rpc else 0xFD
        if isinstance(answer, Refused):
            before = _rows(answer.after, rpc) if answer.after else b""
            self._send(before + _error(answer) + _done(last, 0x02))
        else:
            sets = [answer] if isinstance(answer, Rows) else answer if isinstance(answer, list) else []
            status = b"\x79" + struct.pack("<i", 0) if rpc else b""
            self._send(b"".join(_rows(rows, rpc) for rows in sets) + status + _done(last, 0))
        return not isinstance(answer, DropAfter)

    def _shake_hands(self) -> None:
        assert self._server.context is not None
        tls = self._server.context.wrap_bio(self._in, self._out, server_side=True)
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush_handshake()
                self._in.write(self._packet()[1])
        self._flush_handshake()
        self._tls = tls

    def _flush_handshake(self) -> None:
        if self._out.pending:
            self._sock.sendall(_packed(PRELOGIN, self._out.read()))

    def _packet(self) -> tuple[int, bytes]:
        """The next message, put together from its packets."""
        payload = b""
        while True:
            kind, last, size = struct.unpack(">BBH", self._read(8)[:4])
            payload += self._read(size - 8)
            if last & 1:
                return kind, payload

    def _read(self, size: int) -> bytes:
        found = b""
        while len(found) < size:
            part = self._read_some(size - len(found))
            if not part:
                raise EOFError
            found += part
        return found

    def _read_some(self, size: int) -> bytes:
        if self._tls is None:
            return self._receive(size)
        while True:
            try:
                return self._tls.read(size)
            except ssl.SSLWantReadError:
                self._in.write(self._receive(65536) or b"")
                if not self._in.pending:
                    raise EOFError from None

    def _receive(self, size: int) -> bytes:
        part = self._sock.recv(size)
        self._server.raw += part
        return part

    def _send(self, tokens: bytes) -> None:
        self._raw(_packed(REPLY, tokens))

    def _raw(self, part: bytes) -> None:
        if self._tls is not None:
            self._tls.write(part)
            part = self._out.read()
        self._sock.sendall(part)


def _packed(kind: int, payload: bytes) -> bytes:
    parts = [payload[start : start + 4088] for start in range(0, len(payload), 4088)] or [b""]
    heads = [
        struct.pack(">BBHHBB", kind, number == len(parts), len(part) + 8, 51, number % 256, 0)
        for number, part in enumerate(parts, start=1)
    ]
    return b"".join(head + part for head, part in zip(heads, parts, strict=True))


def _prelogin(encryption: int) -> bytes:
    fields = {0: struct.pack(">IH", 0x10000FA0, 0), 1: bytes([encryption]), 4: b"\0"}
    place, head, body = 5 * len(fields) + 1, b"", b""
    for token, value in fields.items():
        head += struct.pack(">BHH", token, place + len(body), len(value))
        body += value
    return head + b"\xff" + body


def _login(payload: bytes, *, encrypted: bool) -> Login:
    def text(place: int) -> bytes:
        start, units = struct.unpack_from("<HH", payload, place)
        return payload[start : start + 2 * units]

    password = bytes((((byte ^ 0xA5) << 4) | ((byte ^ 0xA5) >> 4)) & 0xFF for byte in text(44))
    words = [part.decode("utf-16-le") for part in (text(40), password, text(68), text(52), text(48))]
    return Login(words[0], words[1], words[2], words[3], words[4], encrypted)


def _b(text: str) -> bytes:
    return bytes([len(text)]) + text.encode("utf-16-le")


def _environment(kind: int, new: bytes) -> bytes:
    body = bytes([kind]) + new
    return b"\xe3" + struct.pack("<H", len(body)) + body


def _welcome(database: str, route: Route | None) -> bytes:
    acknowledged = b"\x01" + struct.pack(">I", 0x74000004) + _b("Microsoft SQL Server") + b"\x10\x00\x0f\xa0"
    tokens = _environment(1, _b(database) + _b("master"))
    tokens += _environment(7, bytes([5]) + COLLATION + b"\0")
    tokens += _environment(4, _b("4096") + _b("4096"))
    tokens += b"\xad" + struct.pack("<H", len(acknowledged)) + acknowledged
    if route is not None:
        to = struct.pack("<BHH", 0, route.port, len(route.host)) + route.host.encode("utf-16-le")
        tokens += _environment(20, struct.pack("<H", len(to)) + to + b"\0\0")
    return tokens + _done(0xFD, 0)


def _done(token: int, status: int, rows: int = 0) -> bytes:
    return struct.pack("<BHHQ", token, status, 0, rows)


def _error(answer: Refused) -> bytes:
    text = answer.text.encode("utf-16-le")
    body = struct.pack("<iBB", answer.number, 1, answer.severity) + struct.pack("<H", len(answer.text)) + text
    body += _b("server") + _b(answer.procedure) + struct.pack("<i", 7)
    return b"\xaa" + struct.pack("<H", len(body)) + body


def _rows(rows: Rows, rpc: bool) -> bytes:
    tokens = b"\x81" + struct.pack("<H", len(rows.names))
    numbers = [any(isinstance(row[place], int) for row in rows.rows) for place in range(len(rows.names))]
    for name, number in zip(rows.names, numbers, strict=True):
        kind = b"\x26\x08" if number else b"\xe7" + struct.pack("<H", 8000) + COLLATION
        tokens += struct.pack("<IH", 0, 1) + kind + _b(name)
    for row in rows.rows:
        tokens += b"\xd1" + b"".join(_cell(value, number) for value, number in zip(row, numbers, strict=True))
    return tokens + _done(0xFF if rpc else 0xFD, 0x11, len(rows.rows))


def _cell(value: object, number: bool) -> bytes:
    if number:
        return b"\0" if value is None else b"\x08" + struct.pack("<q", value)
    if value is None:
        return b"\xff\xff"
    text = str(value).encode("utf-16-le")
    return struct.pack("<H", len(text)) + text


def _after_headers(payload: bytes) -> bytes:
    return payload[struct.unpack_from("<I", payload)[0] :]


class _Reader:
    """Reads a remote procedure call from left to right."""

    def __init__(self, payload: bytes) -> None:
        self._payload = payload
        self._place = 0

    def take(self, size: int) -> bytes:
        self._place += size
        return self._payload[self._place - size : self._place]

    def number(self, form: str) -> int:
        return int(struct.unpack(form, self.take(struct.calcsize(form)))[0])

    def more(self) -> bool:
        return self._place < len(self._payload)


def _rpc(payload: bytes) -> Request:
    reader = _Reader(_after_headers(payload))
    procedure = reader.take(2 * reader.number("<H")).decode("utf-16-le")
    reader.number("<H")
    values: dict[str, object] = {}
    types: dict[str, int] = {}
    while reader.more():
        name = reader.take(2 * reader.number("<B")).decode("utf-16-le")
        reader.number("<B")
        types[name], values[name] = _parameter(reader)
    return Request(procedure=procedure, parameters=values, types=types)


def _parameter(reader: _Reader) -> tuple[int, object]:
    """Type and value of a parameter; of dates and times only the bytes."""
    kind = reader.number("<B")
    if kind == 0xE7:
        return kind, _text(reader)
    if kind == 0xA5:
        reader.take(2)
        size = reader.number("<H")
        return kind, None if size == 0xFFFF else reader.take(size)
    if kind in (0x6A, 0x6C):
        _, _, scale = reader.take(3)
        body = reader.take(reader.number("<B"))
        return kind, int.from_bytes(body[1:], "little") * (1 if body[0] else -1) / 10**scale
    if kind != 0x28:
        reader.take(1)
    body = reader.take(reader.number("<B"))
    if kind in (0x26, 0x68):
        return kind, int.from_bytes(body, "little", signed=kind == 0x26) if body else None
    return kind, struct.unpack("<d", body)[0] if kind == 0x6D else body


def _text(reader: _Reader) -> str | None:
    size = reader.number("<H")
    reader.take(5)
    if size != 0xFFFF:
        used = reader.number("<H")
        return None if used == 0xFFFF else reader.take(used).decode("utf-16-le")
    if reader.number("<Q") == 0xFFFFFFFFFFFFFFFF:
        return None
    text = b""
    while chunk := reader.number("<I"):
        text += reader.take(chunk)
    return text.decode("utf-16-le")
