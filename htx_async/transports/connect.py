"""Opens connections: name resolution, happy eyeballs, proxies and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import itertools
import socket
import ssl
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from htx_async.clock import Clock
from htx_async.redaction import one_line
from htx_async.transports.environment import Environment, Proxy
from htx_async.transports.http_connection import HTTPConnection
from htx_async.transports.http_errors import ExchangeError, FailureKind
from htx_async.transports.http_parser import ResponseParser
from htx_async.validation import Origin

ATTEMPT_DELAY = 0.25
"""Seconds after which the next address is tried, too (RFC 8305, happy eyeballs)."""

_SOCKET_OPTIONS = [
    (getattr(socket, name), value)
    for name, value in (
        ("TCP_NODELAY", 1),
        ("TCP_KEEPIDLE", 15),
        ("TCP_KEEPINTVL", 5),
        ("TCP_KEEPCNT", 3),
        ("TCP_USER_TIMEOUT", 20_000),  # milliseconds without an acknowledgement
    )
    if hasattr(socket, name)
]
_UNTRUSTED = "Set SSL_CERT_FILE to your CA bundle"
_CERTIFICATE_PROBLEMS = {  # by OpenSSL's X509_V_ERR code
    9: "certificate not valid yet. Check the clock of this machine",
    10: "certificate expired. Check the clock of this machine",
    18: f"certificate not trusted (self-signed). {_UNTRUSTED}",
    19: f"certificate not trusted (self-signed CA). {_UNTRUSTED}",
    20: f"certificate not trusted (unknown CA). {_UNTRUSTED}",
    62: "certificate is for another host. Check the URL and DNS",
    64: "certificate is for another IP address. Check the URL",
}
_NOT_TLS = {
    "HTTPS_PROXY_REQUEST",
    "HTTP_REQUEST",
    "PACKET_LENGTH_TOO_LONG",
    "RECORD_LAYER_FAILURE",
    "UNKNOWN_PROTOCOL",
    "WRONG_VERSION_NUMBER",
}
_PROXY_PROBLEMS = {
    403: "It does not allow this host: contact its operator, or add the host to NO_PROXY",
    407: "Put user and password into {setting}: http://user:password@host:port",
}
_ERROR_STATUS, _TOO_MANY_REQUESTS, _SERVER_ERROR = 300, 429, 500
_UNREACHABLE = {errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL}

_Address: TypeAlias = "tuple[int, int, int, str, Any]"
_Problem: TypeAlias = "tuple[str, bool]"
"""What is wrong and what to do about it; and whether another attempt may help."""


async def connect(
    connection: HTTPConnection,
    origin: Origin,
    environment: Environment,
    clock: Clock,
    limit: asyncio.Timeout,
) -> None:
    """
    Connect *connection* to *origin*, within *limit*.

    Raises:
        ExchangeError: The reason and the fix are in its text. Nothing was sent to the origin.
    """
    proxy, context = environment.proxy, environment.context
    peer = proxy or origin
    name = describe(origin)
    step = name if proxy is None else f"the proxy {proxy} ({proxy.setting}) for {name}"
    kind: FailureKind = "ConnectError"
    try:
        async with limit:
            await connection.attach(await _open_socket(peer.host, peer.port, clock))
            if proxy is not None:
                if context is not None and proxy.is_tls:
                    await connection.start_tls(context, proxy.host)
                step = f"{name} through the proxy {proxy}"
                if origin.scheme == "https":
                    await _open_tunnel(connection, origin, proxy)
            if context is not None and origin.scheme == "https":
                await connection.start_tls(context, origin.host)
    except TimeoutError:
        kind, problem = "ConnectTimeout", ("no connection in time. Check the network", True)
    except ExchangeError as error:
        is_http = error.kind != "RemoteProtocolError"
        kind, problem = "ProxyError", (str(error), error.retryable and is_http)
    except (OSError, UnicodeError) as error:
        problem = _explain(error, connection)
    except BaseException:
        connection.discard()
        raise
    else:
        return
    connection.discard()
    # Raised outside of `except`: the library's error is not chained.
    text, retryable = problem
    text = f"could not connect to {step}: {text}."
    raise ExchangeError(text, kind, retryable=retryable)


async def _open_tunnel(connection: HTTPConnection, origin: Origin, proxy: Proxy) -> None:
    """Send `CONNECT` to the proxy, and read its response."""
    parser = ResponseParser(max_body=0, has_no_body=True)
    await connection.exchange(_connect_request(origin, proxy), parser)
    status = parser.response().status
    if status >= _ERROR_STATUS:
        fix = _PROXY_PROBLEMS.get(status, "Check its log").format(setting=proxy.setting)
        retryable = status >= _SERVER_ERROR or status == _TOO_MANY_REQUESTS
        text = f"the proxy returned {status}. {fix}"
        raise ExchangeError(text, "ProxyError", retryable=retryable)
    if parser.has_surplus:
        text = "the proxy sent data before the TLS handshake"
        raise ExchangeError(text, "ProxyError", retryable=False)


def _connect_request(origin: Origin, proxy: Proxy) -> bytes:
    host = _authority(origin)
    return f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{proxy.header}\r\n".encode()


async def _open_socket(host: str, port: int, clock: Clock) -> socket.socket:
    """Return a socket that is connected to the first address of *host* that accepts."""
    loop = asyncio.get_running_loop()
    kind = socket.SOCK_STREAM
    try:  # an address needs no thread
        addresses = socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        addresses = await loop.getaddrinfo(host, port, type=kind)
    if len(addresses) == 1:
        return await _connect_socket(addresses[0])
    waiting = deque(_interleave(addresses))
    tasks: set[asyncio.Task[socket.socket]] = set()
    error: BaseException | None = None
    try:
        while waiting or tasks:
            if waiting:
                tasks.add(asyncio.create_task(_connect_socket(waiting.popleft())))
            with contextlib.suppress(TimeoutError):
                async with clock.timeout(ATTEMPT_DELAY if waiting else None):
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in [task for task in tasks if task.done()]:
                tasks.discard(task)
                if task.exception() is None:
                    return task.result()
                error = error or task.exception()
    finally:
        for task in tasks:
            task.cancel()
            task.add_done_callback(_close_socket)
    raise error or OSError(errno.EADDRNOTAVAIL, "no address")


async def _connect_socket(address: _Address) -> socket.socket:
    family, kind, protocol, _, sockaddr = address
    sock = socket.socket(family, kind, protocol)
    try:
        sock.settimeout(0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _SOCKET_OPTIONS:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
        await asyncio.get_running_loop().sock_connect(sock, sockaddr)
    except BaseException:
        sock.close()
        raise
    return sock


def _close_socket(task: asyncio.Task[socket.socket]) -> None:
    """Close the socket of an attempt that succeeded after another one."""
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _interleave(addresses: Iterable[_Address]) -> Iterator[_Address]:
    """Yield addresses of both families in turn, beginning with that of the first one."""
    families: dict[int, list[_Address]] = {}
    for address in addresses:
        families.setdefault(address[0], []).append(address)
    for group in itertools.zip_longest(*families.values()):
        yield from filter(None, group)


def _explain(error: OSError | UnicodeError, connection: HTTPConnection) -> _Problem:
    """Return the reason, the fix, and whether another attempt may help."""
    if isinstance(error, socket.gaierror | UnicodeError):
        reason = error.strerror if isinstance(error, OSError) else "invalid name"
        return f"the name could not be resolved ({reason}). Check the host name and DNS", True
    if connection.was_attached:
        return _explain_tls(error, connection)
    if isinstance(error, ConnectionRefusedError):
        return "connection refused. Check host and port, and that nothing blocks it", True
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "too many open files. Raise the limit of open files (ulimit -n)", True
    if error.errno in _UNREACHABLE:
        return "network unreachable. Check the network connection", True
    return f"{one_line(error.strerror or type(error).__name__)}. Check the network", True


def _explain_tls(error: OSError, connection: HTTPConnection) -> _Problem:
    if isinstance(error, ssl.SSLCertVerificationError):
        return explain_certificate(error), False
    reason = getattr(error, "reason", None) or str(error)
    if reason in _NOT_TLS or connection.received_unrequested:
        return "the server does not speak TLS on this port. Check scheme and port", False
    if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLEOFError):
        return f"the TLS handshake failed ({one_line(reason)})", True
    return "the connection was closed during the TLS handshake", True


def explain_certificate(error: ssl.SSLCertVerificationError) -> str:
    """Return what is wrong with a certificate, and the fix."""
    text = f"certificate not trusted ({one_line(error.verify_message)}). {_UNTRUSTED}"
    return _CERTIFICATE_PROBLEMS.get(error.verify_code, text)


def describe(origin: Origin) -> str:
    """Return the URL of *origin* with its port, even if that is the default."""
    return f"{origin.scheme}://{_authority(origin)}"


def _authority(origin: Origin) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    return f"{host}:{origin.port}"
