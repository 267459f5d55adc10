"""Connecting: TLS, proxies and happy eyeballs; and what the errors say."""

from __future__ import annotations

import asyncio
import datetime as dt
import errno
import math
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import attrs
import pytest
import trustme

from htx_async.errors import InvalidInputError
from htx_async.transports import connect
from htx_async.transports.http_errors import ExchangeError
from htx_async.transports.http_pool import Timeouts
from htx_async.validation import Origin
from tests.transports.http_bytes import JSON, response, with_length
from tests.transports.raw_server import (
    NO_TIMEOUTS,
    TARGET,
    Handler,
    LoopFactory,
    Peer,
    Server,
    answering,
    each_event_loop,
    get,
    open_pool,
    repeating,
    run,
    serve,
    silent,
    until,
)
from tests.virtual import VirtualClock, VirtualLoop

pytestmark = pytest.mark.slow
HANDLER = repeating(with_length(JSON))
HTX = "htx.test"
"""A host that only a proxy can reach."""


@attrs.frozen
class Certificates:
    """Contexts of servers, and the file of a CA that trusts some of them."""

    file: Path
    pem: Path
    good: ssl.SSLContext
    expired: ssl.SSLContext
    other_host: ssl.SSLContext
    other_address: ssl.SSLContext
    unknown: ssl.SSLContext
    self_signed: ssl.SSLContext


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Create the certificates once."""
    authority, other = trustme.CA(), trustme.CA()
    path = tmp_path_factory.mktemp("certificates")
    authority.cert_pem.write_to_path(path / "ca.pem")
    good = authority.issue_cert("localhost", "127.0.0.1", HTX)
    good.private_key_and_cert_chain_pem.write_to_path(path / "server.pem")
    past = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    return Certificates(
        path / "ca.pem",
        path / "server.pem",
        _context(good),
        _context(authority.issue_cert("localhost", not_after=past)),
        _context(authority.issue_cert("example.org")),
        _context(authority.issue_cert("10.0.0.1")),
        _context(other.issue_cert("localhost")),
        _self_signed(other),
    )


def _context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def _self_signed(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    with authority.private_key_pem.tempfile() as key, authority.cert_pem.tempfile() as certificate:
        context.load_cert_chain(certificate, key)
    return context


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch, certificates: Certificates) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.file))


async def failure_of(origin: Origin, timeouts: Timeouts = NO_TIMEOUTS) -> ExchangeError:
    """Return the error of an exchange with *origin*, and check what is true of each of them."""
    async with open_pool(origin) as pool:
        with pytest.raises(ExchangeError) as caught:
            await get(pool, timeouts)
        assert pool.open_connections == 0
    error = caught.value
    assert not error.is_sent
    assert error.__context__ is None
    assert f"{origin.scheme}://{origin.host}:{origin.port}" in str(error)
    assert str(error).endswith(".")
    assert error.to_transport_error(origin).retryable is error.retryable
    return error


# TLS


@each_event_loop
def test_exchanges_go_over_tls(certificates: Certificates, loop_factory: LoopFactory) -> None:
    """Several on one connection, also large ones; closed without an error on either side."""

    async def main() -> None:
        large = b"x" * 700_000
        ends: list[bytes] = []

        async def handle(peer: Peer) -> None:
            await answering(with_length(JSON), with_length(large), response(body=JSON))(peer)

        async def read_end(peer: Peer) -> None:
            await answering(with_length(JSON))(peer)
            ends.append(await peer.reader.read())

        async with serve(handle, read_end, context=certificates.good) as server:
            async with open_pool(server.origin, max_body=10**6) as pool:
                for body in (JSON, large, JSON, JSON):
                    assert (await get(pool)).body == body
            await until(lambda: ends == [b""])
            assert [len(peer.requests) for peer in server.peers] == [3, 1]

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize("is_cut", [True, False])
def test_end_of_stream_must_be_authentic_over_tls(
    is_cut: bool, certificates: Certificates, loop_factory: LoopFactory
) -> None:
    """Anybody on the way can end the TCP connection, and so cut a response without a length."""
    listener = socket.create_server(("127.0.0.1", 0))

    def respond() -> None:
        with certificates.good.wrap_socket(listener.accept()[0], server_side=True) as tls:
            tls.recv(10_000)
            tls.sendall(response(body=JSON))
            if is_cut:
                socket.socket.shutdown(tls, socket.SHUT_WR)
                while socket.socket.recv(tls, 10_000):
                    pass
            else:
                tls.unwrap()

    async def main() -> None:
        serving = asyncio.get_running_loop().run_in_executor(None, respond)
        origin = Origin("https", "localhost", listener.getsockname()[1])
        async with open_pool(origin) as pool:
            if is_cut:
                with pytest.raises(ExchangeError, match="before the response was complete"):
                    await get(pool)
            else:
                assert (await get(pool)).body == JSON
        with suppress(OSError):
            await serving

    with listener:
        run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("expired", "certificate expired. Check the clock of this machine."),
        ("other_host", "certificate is for another host. Check the URL and DNS."),
        ("other_address", "certificate is for another host. Check the URL and DNS."),
        ("unknown", "certificate not trusted (unknown CA). Set SSL_CERT_FILE to your CA bundle."),
        ("self_signed", "certificate not trusted (self-signed). Set SSL_CERT_FILE to your CA"),
    ],
)
def test_wrong_certificate_is_permanent(
    name: str, problem: str, certificates: Certificates, loop_factory: LoopFactory
) -> None:
    """Nothing is sent, not even the path."""

    async def main() -> None:
        context: ssl.SSLContext = getattr(certificates, name)
        async with serve(HANDLER, context=context) as server:
            error = await failure_of(server.origin)
            assert problem in str(error)
            assert (error.kind, error.retryable) == ("ConnectError", False)
            assert server.requests == []

    run(loop_factory, main())


@each_event_loop
def test_wrong_address_in_certificate_is_permanent(
    certificates: Certificates, loop_factory: LoopFactory
) -> None:
    """As for names."""

    async def main() -> None:
        async with serve(HANDLER, context=certificates.other_address) as server:
            error = await failure_of(with_host(server, host="127.0.0.1"))
            assert "certificate is for another IP address" in str(error)

    run(loop_factory, main())


def with_host(server: Server, *, host: str) -> Origin:
    """Return the origin of *server* under another name."""
    return Origin(server.origin.scheme, host, server.origin.port)


async def _greet(peer: Peer) -> None:
    peer.writer.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    await silent(peer)


async def _answer_plainly(peer: Peer) -> None:
    await peer.reader.read(1)
    peer.writer.write(response(b"Connection: close", status=b"HTTP/1.1 400 Bad Request"))


async def _close(peer: Peer) -> None:
    await peer.reader.read(1)


async def _close_at_once(peer: Peer) -> None:
    del peer


async def _reset(peer: Peer) -> None:
    await peer.reader.read(1)
    peer.reset()


@each_event_loop
@pytest.mark.parametrize("handler", [_greet, _answer_plainly])
def test_server_without_tls_is_permanent(handler: Handler, loop_factory: LoopFactory) -> None:
    """Whether it speaks first or answers."""

    async def main() -> None:
        async with serve(handler, scheme="https") as server:
            error = await failure_of(server.origin)
            assert "the server does not speak TLS on this port" in str(error)
            assert (error.kind, error.retryable) == ("ConnectError", False)

    run(loop_factory, main())


@each_event_loop
@pytest.mark.parametrize("handler", [_close, _close_at_once, _reset])
def test_connection_closed_during_handshake_is_retryable(
    handler: Handler, loop_factory: LoopFactory
) -> None:
    """A busy load balancer does so."""

    async def main() -> None:
        async with serve(handler, scheme="https") as server:
            error = await failure_of(server.origin)
            assert "the connection was closed during the TLS handshake" in str(error)
            assert (error.kind, error.retryable) == ("ConnectError", True)

    run(loop_factory, main())


@each_event_loop
def test_failed_handshake_names_the_reason(loop_factory: LoopFactory) -> None:
    """For example, that there is no common protocol version."""

    async def main() -> None:
        async def alert(peer: Peer) -> None:
            await peer.reader.read(1)
            peer.writer.write(b"\x15\x03\x03\x00\x02\x02\x28")  # handshake_failure

        async with serve(alert, scheme="https") as server:
            error = await failure_of(server.origin)
            assert "the TLS handshake failed (" in str(error)
            assert "HANDSHAKE_FAILURE" in str(error)
            assert error.retryable

    run(loop_factory, main())


# The network


@each_event_loop
def test_refused_connection_is_retryable(loop_factory: LoopFactory) -> None:
    """The server may be starting."""

    async def main() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            error = await failure_of(Origin("http", "127.0.0.1", bound.getsockname()[1]))
        assert "connection refused. Check host and port" in str(error)
        assert (error.kind, error.retryable) == ("ConnectError", True)

    run(loop_factory, main())


@pytest.mark.parametrize(
    ("cause", "problem"),
    [
        (OSError(errno.ENETUNREACH, "x"), "network unreachable. Check the network connection."),
        (TimeoutError(errno.ETIMEDOUT, "x"), "no connection in time. Check the network."),
        (
            OSError(errno.EMFILE, "Too many open files"),
            "too many open files. Raise the limit of open files",
        ),
        (ConnectionAbortedError(), "ConnectionAbortedError. Check the network."),
    ],
)
async def test_network_error_is_retryable(
    cause: OSError, problem: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be over soon."""

    async def fail(_: object) -> socket.socket:
        raise cause

    monkeypatch.setattr(connect, "_connect_socket", fail)
    error = await failure_of(Origin("http", "127.0.0.1", 1))
    assert problem in str(error)
    assert error.retryable


async def test_name_that_cannot_be_resolved_is_retryable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name server may be down."""

    async def fail(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    error = await failure_of(Origin("http", "localhost", 1))
    assert "the name could not be resolved (Name or service not known). Check the" in str(error)
    assert error.retryable


async def test_name_that_is_invalid_cannot_be_resolved() -> None:
    """As its encoding is part of resolving it."""
    error = await failure_of(Origin("http", f"{'x' * 70}.localhost", 1))
    assert "the name could not be resolved (" in str(error)


@pytest.mark.parametrize(
    ("timeouts", "total", "seconds"),
    [
        (Timeouts(), math.inf, 10.0),
        (Timeouts(connect=3.0), math.inf, 3.0),
        (Timeouts(connect=3.0), 2.0, 2.0),
    ],
)
def test_connecting_times_out(
    timeouts: Timeouts, total: float, seconds: float, virtual_time: VirtualClock
) -> None:
    """TLS included; the server accepts and says nothing here."""

    async def main() -> None:
        async with (
            serve(silent, scheme="https") as server,
            open_pool(with_host(server, host="127.0.0.1"), clock=virtual_time) as pool,
        ):
            await pool.prepare()
            with pytest.raises(ExchangeError, match="no connection in time") as caught:
                await get(pool, timeouts, total=total)
            assert (caught.value.kind, caught.value.retryable) == ("ConnectTimeout", True)
            assert virtual_time.monotonic() == pytest.approx(seconds)

    run(VirtualLoop, main())


@each_event_loop
def test_socket_options_are_set(loop_factory: LoopFactory) -> None:
    """So that dead connections are noticed."""

    async def main() -> None:
        async with serve(HANDLER) as server, open_pool(server.origin) as pool:
            await get(pool)
            (connection,) = pool._connections
            sock = connection._socket
            assert sock is not None
            assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
            assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000

    run(loop_factory, main())


@pytest.mark.parametrize("loop_factory", [asyncio.SelectorEventLoop])
def test_connection_lost_during_handshake_is_noticed(
    loop_factory: LoopFactory, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no transport then: asyncio does not raise an error."""

    async def main() -> None:
        async def start_tls(transport: asyncio.Transport, *_: object, **__: object) -> None:
            transport.abort()

        monkeypatch.setattr(asyncio.get_running_loop(), "start_tls", start_tls)
        async with serve(HANDLER, context=certificates.good) as server:
            error = await failure_of(server.origin)
            assert "the connection was closed during the TLS handshake" in str(error)

    run(loop_factory, main())


@each_event_loop
def test_aclose_interrupts_handshake(loop_factory: LoopFactory) -> None:
    """Whatever the server does."""

    async def main() -> None:
        async with serve(silent, scheme="https") as server:
            async with open_pool(server.origin) as pool:
                task = asyncio.create_task(get(pool))
                await until(lambda: len(server.peers) == 1)
            with pytest.raises(ExchangeError) as caught:
                await task
            assert caught.value.kind in {"ConnectTimeout", "ConnectError"}
            await until(lambda: server.peers[0].is_over)

    run(loop_factory, main())


# Happy eyeballs


@attrs.define
class Addresses:
    """Fake addresses of a host: when each connects, or the error."""

    outcomes: dict[str, float | OSError]
    families: dict[str, int]
    started: dict[str, float] = attrs.field(factory=dict)
    sockets: list[socket.socket] = attrs.field(factory=list)

    async def resolve(self, *_: object, **__: object) -> list[tuple[int, int, int, str, str]]:
        return [(self.families[name], 0, 0, "", name) for name in self.outcomes]

    async def connect(self, address: tuple[int, int, int, str, str]) -> socket.socket:
        name = address[-1]
        self.started[name] = asyncio.get_running_loop().time()
        outcome = self.outcomes[name]
        if isinstance(outcome, OSError):
            raise outcome
        sock = socket.socket()
        self.sockets.append(sock)
        try:
            await asyncio.sleep(outcome)
        except BaseException:
            sock.close()
            raise
        return sock


@pytest.mark.parametrize(
    ("outcomes", "winner", "started"),
    [
        ({"a6": 99.0, "b6": 99.0, "c4": 1.0}, 1.25, {"a6": 0.0, "c4": 0.25, "b6": 0.5}),
        ({"a6": 0.1, "b4": 0.0}, 0.1, {"a6": 0.0}),
        ({"a6": 0.3, "b4": 0.05}, 0.3, {"a6": 0.0, "b4": 0.25}),
        ({"a6": 1.0, "b4": OSError()}, 1.0, {"a6": 0.0, "b4": 0.25}),
        ({"a6": OSError(), "b4": 1.0, "c4": 9.0}, 1.0, {"a6": 0.0, "b4": 0.0, "c4": 0.25}),
    ],
)
async def test_happy_eyeballs(
    outcomes: dict[str, float | OSError],
    winner: float,
    started: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    virtual_time: VirtualClock,
) -> None:
    """Families take turns, 250 ms apart or as soon as one fails; the first connection wins."""
    families = {"6": socket.AF_INET6, "4": socket.AF_INET}
    addresses = Addresses(outcomes, {name: families[name[-1]] for name in outcomes})
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses.resolve)
    monkeypatch.setattr(connect, "_connect_socket", addresses.connect)
    sock = await connect._open_socket("htx.test", 443, virtual_time)
    assert virtual_time.monotonic() == pytest.approx(winner)
    assert addresses.started == pytest.approx(started)
    await asyncio.sleep(0.01)
    assert [other for other in addresses.sockets if other.fileno() != -1] == [sock]
    sock.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_happy_eyeballs_closes_second_winner(
    monkeypatch: pytest.MonkeyPatch, virtual_time: VirtualClock
) -> None:
    """Two may connect at the same time, or one while the call is cancelled."""
    outcomes: dict[str, float | OSError] = {"a": 0.25 + 1e-9, "b": 0.0}
    addresses = Addresses(outcomes, dict.fromkeys(outcomes, socket.AF_INET))
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses.resolve)
    monkeypatch.setattr(connect, "_connect_socket", addresses.connect)
    task = asyncio.create_task(connect._open_socket("htx.test", 443, virtual_time))
    await asyncio.sleep(0.25)
    while not all(name in addresses.started for name in outcomes):  # noqa: ASYNC110 - two turns
        await asyncio.sleep(0)
    await asyncio.sleep(1)
    sock = await task
    assert [other for other in addresses.sockets if other.fileno() != -1] == [sock]
    sock.close()


async def test_happy_eyeballs_reports_the_first_error(
    monkeypatch: pytest.MonkeyPatch, virtual_time: VirtualClock
) -> None:
    """That of the preferred address."""
    outcomes: dict[str, float | OSError] = {"a": OSError(1, "a"), "b": OSError(2, "b")}
    addresses = Addresses(outcomes, dict.fromkeys(outcomes, socket.AF_INET))
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", addresses.resolve)
    monkeypatch.setattr(connect, "_connect_socket", addresses.connect)
    with pytest.raises(OSError, match="a"):
        await connect._open_socket("htx.test", 443, virtual_time)
    addresses.outcomes.clear()
    with pytest.raises(OSError, match="no address"):
        await connect._open_socket("htx.test", 443, virtual_time)


# Proxies


@attrs.frozen
class ProxyProcess:
    """A running proxy."""

    port: int
    process: subprocess.Popen[str]

    def head(self) -> str:
        """Return the head of its next request."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()


@pytest.fixture(scope="module")
def proxies(certificates: Certificates) -> Iterator[dict[str, ProxyProcess]]:
    """Run a proxy for each scheme; both expect a password."""
    with ExitStack() as stack:
        running = {}
        for scheme, arguments in (("http", ()), ("https", (str(certificates.pem),))):
            command = [sys.executable, "-m", "tests.transports.connect_proxy", "user:p4ss"]
            process = stack.enter_context(
                subprocess.Popen(
                    [*command, *arguments],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            running[scheme] = process
        yield {
            scheme: ProxyProcess(int(process.stdout.readline()), process)
            for scheme, process in running.items()
            if process.stdout is not None
        }
        for process in running.values():
            process.kill()


@each_event_loop
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_exchanges_go_through_proxy(
    scheme: str,
    certificates: Certificates,
    proxies: dict[str, ProxyProcess],
    monkeypatch: pytest.MonkeyPatch,
    loop_factory: LoopFactory,
) -> None:
    """It sees the host and its own password, and neither path nor key."""
    proxy = proxies[scheme]
    monkeypatch.setenv("HTTPS_PROXY", f"{scheme}://user:p4ss@127.0.0.1:{proxy.port}")

    async def main() -> None:
        async with serve(HANDLER, context=certificates.good) as server:
            async with open_pool(with_host(server, host=HTX)) as pool:
                for _ in range(3):
                    assert (await get(pool)).body == JSON
            assert len(server.peers) == 1
            host = f"{HTX}:{server.origin.port}"
            authorization = "Proxy-Authorization: Basic dXNlcjpwNHNz"
            expected = f"CONNECT {host} HTTP/1.1\r\nHost: {host}\r\n{authorization}\r\n\r\n"
            assert proxy.head() == f"{expected.encode()!r}\n"

    run(loop_factory, main())


@each_event_loop
def test_proxy_without_password_is_permanent(
    proxies: dict[str, ProxyProcess], monkeypatch: pytest.MonkeyPatch, loop_factory: LoopFactory
) -> None:
    """The error names the variable."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:wr0ng@127.0.0.1:{proxies['http'].port}")

    async def main() -> None:
        error = await failure_of(Origin("https", HTX, 443))
        through = f"through the proxy 127.0.0.1:{proxies['http'].port}: the proxy returned 407."
        fix = "Put user and password into HTTPS_PROXY: http://user:password@host:port."
        assert f"{through} {fix}" in str(error)
        assert (error.kind, error.retryable) == ("ProxyError", False)
        assert "wr0ng" not in f"{error!r}"

    run(loop_factory, main())
    proxies["http"].head()


@each_event_loop
@pytest.mark.parametrize(
    ("stream", "problem", "retryable"),
    [
        (response(status=b"HTTP/1.1 403 Forbidden"), "returned 403. It does not allow", False),
        (response(status=b"HTTP/1.1 404 Not Found"), "returned 404. Check its log", False),
        (response(status=b"HTTP/1.1 302 Found"), "returned 302", False),
        (response(status=b"HTTP/1.1 429 Slow Down"), "returned 429", True),
        (with_length(JSON, status=b"HTTP/1.1 502 Bad Gateway"), "returned 502", True),
        (response(body=b"surplus"), "sent data before the TLS handshake", False),
        (b"SSH-2.0\r\n", "the response is not HTTP", False),
        (b"HTTP/1.1 200", "closed before the response was complete", True),
        (b"", "closed without a response", True),
    ],
)
def test_proxy_errors(
    stream: bytes,
    problem: str,
    retryable: bool,
    monkeypatch: pytest.MonkeyPatch,
    loop_factory: LoopFactory,
) -> None:
    """Of the proxy itself; nothing has reached HTX."""

    async def main() -> None:
        async with serve(answering(stream)) as proxy:
            monkeypatch.setenv("HTTPS_PROXY", f"127.0.0.1:{proxy.origin.port}")
            error = await failure_of(Origin("https", HTX, 443))
            assert problem in str(error)
            assert f"through the proxy 127.0.0.1:{proxy.origin.port}: " in str(error)
            assert (error.kind, error.retryable) == ("ProxyError", retryable)

    run(loop_factory, main())


@each_event_loop
def test_proxy_that_cannot_be_reached_is_retryable(
    monkeypatch: pytest.MonkeyPatch, loop_factory: LoopFactory
) -> None:
    """The error says that it is the proxy, and where it was set."""

    async def main() -> None:
        with socket.socket() as bound:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{port}")
            error = await failure_of(Origin("https", HTX, 443))
        proxy = f"the proxy 127.0.0.1:{port} (HTTPS_PROXY) for https://htx.test:443"
        assert str(error).startswith(f"could not connect to {proxy}: connection refused.")
        assert (error.kind, error.retryable) == ("ConnectError", True)

    run(loop_factory, main())


@each_event_loop
def test_plain_http_is_forwarded_by_proxy(
    monkeypatch: pytest.MonkeyPatch, loop_factory: LoopFactory
) -> None:
    """Without a tunnel: many proxies allow tunnels to port 443 only."""

    async def main() -> None:
        async with serve(HANDLER) as proxy:
            monkeypatch.setenv("HTTP_PROXY", f"http://user:p4ss@127.0.0.1:{proxy.origin.port}")
            async with open_pool(Origin("http", HTX, 80)) as pool:
                assert (await get(pool)).body == JSON
            (head,) = proxy.requests
            assert head.startswith(b"GET http://htx.test:80" + TARGET + b" HTTP/1.1\r\n")
            assert b"\r\nProxy-Authorization: Basic dXNlcjpwNHNz\r\n" in head

    run(loop_factory, main())


@each_event_loop
def test_wrong_setting_is_invalid_input(
    monkeypatch: pytest.MonkeyPatch, loop_factory: LoopFactory
) -> None:
    """Each exchange says so; once it is right, exchanges work."""

    async def main() -> None:
        async with open_pool(Origin("https", HTX, 443)) as pool:
            monkeypatch.setenv("ALL_PROXY", "socks://localhost:1080")
            for call in (pool.prepare(), get(pool)):
                with pytest.raises(InvalidInputError, match="ALL_PROXY: SOCKS"):
                    await call
            monkeypatch.setenv("ALL_PROXY", "http://localhost:1080")
            environment = await pool.prepare()
            assert environment.proxy is not None
            assert await pool.prepare() is environment

    run(loop_factory, main())
