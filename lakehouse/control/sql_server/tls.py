"""TLS to a SQL Server: whom to trust, and whether a certificate is the server's.

Rule: chain and host name are checked during the handshake, before the login is sent. python-tds has a host name check of its
own that fails with pyOpenSSL 26.2 and later and reads some names wrongly; it stays switched off.
Source: RFC 6125 (host names in certificates), MS-TDS 2.2.6.5 (TLS inside the pre-login packets, so TLS 1.2 at most).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import certifi
from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

PROBLEMS = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is signed by itself only",
    19: "its chain ends in an authority that is not trusted",
    20: "the authority that issued it is not trusted",
    21: "the authority that issued it is not trusted",
}
"""OpenSSL's verification errors that people meet."""


@dataclass
class Handshake:
    """What the server's certificate is checked against, and what became of it."""

    hosts: Sequence[str]
    """The certificate must be for one of these; a server that a login was sent on to has its own name too."""
    trust_any: bool = False
    problem: str = ""
    connection: SSL.Connection | None = None

    def check(self, connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, good: int) -> bool:
        """OpenSSL's question for each certificate of the chain, the server's own one last."""
        self.connection = connection
        if self.trust_any:
            return True
        if not good:
            self.problem = f"the server's certificate is refused: {PROBLEMS.get(error, f'OpenSSL error {error}')}"
            return False
        names = names_of(certificate.to_cryptography()) if depth == 0 else ()
        if depth == 0 and not any(is_name_of(name, host) for name in names for host in self.hosts):
            shown = ", ".join(names[:5]) or "nobody"
            self.problem = f"the server's certificate is refused: it is for {shown}, not for {' or '.join(self.hosts)}"
        return not self.problem

    @property
    def version(self) -> str:
        """The protocol that was agreed on, such as ``TLSv1.2``; blank without TLS."""
        return self.connection.get_protocol_version_name() if self.connection else ""


def tls_context(handshake: Handshake, cafile: str | None) -> SSL.Context:
    """TLS 1.2 with every certificate put to ``handshake``; trusts ``cafile`` or the authorities of certifi.

    Raises:
        OSError: ``cafile`` cannot be read, or holds no certificate.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_max_proto_version(SSL.TLS1_2_VERSION)
    try:
        context.load_verify_locations(cafile or certifi.where())
    except SSL.Error:
        raise OSError("it cannot be read or holds no certificates (PEM)") from None
    context.set_verify(SSL.VERIFY_PEER, handshake.check)
    return context


def names_of(certificate: x509.Certificate) -> tuple[str, ...]:
    """The hosts that a certificate is for: its alternative names, or, where it has none, its common name."""
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return tuple(str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
    addresses = names.get_values_for_type(x509.IPAddress)
    return (*names.get_values_for_type(x509.DNSName), *map(str, addresses))


def is_name_of(name: str, host: str) -> bool:
    """Whether a name of a certificate stands for a host; a leading ``*`` is exactly one label.

    >>> is_name_of("*.database.windows.net", "Sales.database.windows.net"), is_name_of("*.net", "a.b.net")
    (True, False)
    """
    name, host = name.lower().rstrip("."), host.lower().rstrip(".")
    if name == host:
        return True
    first, _, rest = host.partition(".")
    return bool(first and "." in rest and name == f"*.{rest}" and not _is_address(host))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
