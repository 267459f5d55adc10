"""The client over its own connections: what is sent, which response a call gets, and errors."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, unquote

import httpx
import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st

from htx_async import (
    NO_RETRY,
    AccountBalance,
    APIError,
    ClientClosedError,
    ConnectError,
    Credentials,
    DeadlineExceededError,
    DecodeError,
    Event,
    EventLoopError,
    HTTPTransport,
    HTXClient,
    HTXError,
    InvalidInputError,
    NoResponseError,
    RateLimiter,
    RetryPolicy,
)
from htx_async.clock import Clock
from htx_async.middleware import parsing
from htx_async.middleware.signing import sign_request
from htx_async.ratelimit.slots import ConnectionSlots
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request
from htx_async.transports.adapter import PoolAdapter
from htx_async.transports.http_response import HTTPResponse
from htx_async.validation import parse_base_url
from tests.error_text import full_text
from tests.transports.http_bytes import response, with_chunks, with_length
from tests.transports.raw_server import (
    Handler,
    LoopFactory,
    Peer,
    Server,
    answering,
    each_event_loop,
    repeating,
    run,
    serve,
    silent,
    until,
)
from tests.transports.signed_target import SIGNED_AT, check_signed_target
from tests.virtual import VirtualClock, VirtualLoop

ACCESS_KEY = "vf25treb80-1a2b3c4d-5e6f7a8b-9c0d1"
SECRET_KEY = "b0c1d2e3-f4a5b6c7-d8e9f0a1-b2c3d"
KEYS = Credentials(ACCESS_KEY, SECRET_KEY)
ENDPOINT = Endpoint("/v2/point/account", RateLimit(2, per=1.0), bytes)
FAST = RetryPolicy(attempts=3, initial_delay=0.01, max_delay=0.01)


def balance_of(account_id: int) -> bytes:
    """Return the response with the balance of an account, which holds as many USDT as its id."""
    row = {"currency": "usdt", "type": "trade", "balance": str(account_id)}
    data = {"id": account_id, "type": "spot", "state": "working", "list": [row]}
    return with_length(json.dumps({"status": "ok", "data": data}).encode())


async def right_balance(peer: Peer) -> None:
    """Answer each request with the balance of the account that it names."""
    while True:
        request = await peer.request()
        peer.writer.write(balance_of(int(request.split(b"/")[4])))


class Recorder:
    """Counts the events of a client."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()

    def __call__(self, event: Event) -> None:
        self.kinds[event.kind] += 1


def client_of(server: Server, **options: Any) -> HTXClient:
    """Return a client of *server*."""
    return HTXClient(KEYS, base_url=str(server.origin), **{"retry": FAST, **options})


def amount(balance: AccountBalance) -> int:
    return int(balance["usdt"].trade)


# What is sent


@pytest.mark.slow
@each_event_loop
def test_bytes_on_the_socket_equal_signed_bytes(loop_factory: LoopFactory) -> None:
    """The request line has the signed query; there is no body, no cookie, and one `Host`."""

    async def main() -> None:
        async with serve(right_balance) as server, client_of(server) as htx:
            await htx.accounts.balance(7)
        (head,) = server.requests
        line, *headers = head.decode("ascii").removesuffix("\r\n\r\n").split("\r\n")
        method, target, version = line.split(" ")
        path, _, query = target.partition("?")
        assert (method, version) == ("GET", "HTTP/1.1")
        assert path == "/v1/account/accounts/7/balance"
        assert [name for name, _ in parse_qsl(query)] == [
            *("AccessKeyId", "SignatureMethod", "SignatureVersion", "Timestamp", "Signature")
        ]
        names = [header.partition(":")[0].lower() for header in headers]
        assert sorted(names) == ["accept", "accept-encoding", "host", "user-agent"]
        assert f"Host: {str(server.origin).removeprefix('http://')}" in headers

    run(loop_factory, main())


texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)


@given(st.lists(st.tuples(texts, texts), max_size=4))
def test_sent_target_equals_signed_target(params: list[tuple[str, str]]) -> None:
    """The query is sent byte for byte for any parameters, and parses back to the same form."""
    targets: list[bytes] = []

    class Pool:
        slots = ConnectionSlots(1)

        async def prepare(self) -> None:
            pass

        async def exchange(self, method: str, target: bytes, *_: object, **__: Any) -> HTTPResponse:
            assert method == "GET"
            targets.append(target)
            return HTTPResponse(200, [], b"{}", 0.0)

    pool: Any = Pool()
    adapter = PoolAdapter(
        lambda: pool,
        parse_base_url("https://api.huobi.pro"),
        Clock(),
        max_connections=1,
        max_body=10,
        owns_pool=False,
    )
    request = Request(ENDPOINT, ENDPOINT.path, tuple(params))
    signed = sign_request(request, KEYS, "api.huobi.pro", SIGNED_AT)
    asyncio.run(adapter.prepare())
    asyncio.run(adapter(signed))
    check_signed_target(targets[0], signed, KEYS)


@pytest.mark.slow
async def test_redirects_are_not_followed() -> None:
    """A redirect is a response without data."""
    async with serve(silent) as other:
        moved = with_length(b"", b"Location: %b/" % str(other.origin).encode(), status=_MOVED)
        async with serve(repeating(moved)) as server, client_of(server) as htx:
            with pytest.raises(APIError) as caught:
                await htx.accounts.list()
    assert caught.value.http_status == 302
    assert (len(server.requests), len(other.peers)) == (1, 0)


_MOVED = b"HTTP/1.1 302 Found"


# Which response a call gets


@pytest.mark.slow
@each_event_loop
@pytest.mark.parametrize("when", ["same packet", "while idle"])
def test_surplus_response_is_never_that_of_the_next_call(
    when: str, loop_factory: LoopFactory
) -> None:
    """A connection with a surplus response is closed; the next call has a new one."""

    async def surplus(peer: Peer) -> None:
        await peer.request()
        both = balance_of(1), balance_of(2)
        if when == "same packet":
            peer.writer.write(b"".join(both))
        else:
            peer.writer.write(both[0])
            await sent.wait()
            peer.writer.write(both[1])
        await silent(peer)

    sent = asyncio.Event()

    async def main() -> None:
        async with serve(surplus, right_balance) as server, client_of(server) as htx:
            assert amount(await htx.accounts.balance(1)) == 1
            sent.set()
            await until(lambda: server.peers[0].is_over)
            assert amount(await htx.accounts.balance(2)) == 2
            assert len(server.peers) == 2

    run(loop_factory, main())


@pytest.mark.slow
@each_event_loop
def test_balance_of_another_account_is_a_decode_error(loop_factory: LoopFactory) -> None:
    """It closes the connection: the next response on it would be wrong, too."""

    async def main() -> None:
        async with (
            serve(repeating(balance_of(2)), right_balance) as server,
            client_of(server) as htx,
        ):
            with pytest.raises(DecodeError, match=r"data\.id is that of another account") as caught:
                await htx.accounts.balance(1)
            assert caught.value.path == "data.id"
            assert caught.value.delivery == "answered"
            assert amount(await htx.accounts.balance(1)) == 1
            assert len(server.peers) == 2

    run(loop_factory, main())


@pytest.mark.slow
@each_event_loop
def test_connection_with_a_large_balance_of_another_account_is_not_reused(
    loop_factory: LoopFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call behind it must wait until the caller has decoded the response."""
    monkeypatch.setattr(parsing, "LARGE_BODY", 0)

    async def main() -> None:
        async with (
            serve(repeating(balance_of(2)), right_balance) as server,
            client_of(server, max_connections=1) as htx,
        ):
            first, second = await asyncio.gather(
                htx.accounts.balance(1), htx.accounts.balance(2), return_exceptions=True
            )
            assert isinstance(first, DecodeError)
            assert isinstance(second, AccountBalance)
            assert amount(second) == 2
            assert [len(peer.requests) for peer in server.peers] == [1, 1]

    run(loop_factory, main())


@pytest.mark.slow
@each_event_loop
@pytest.mark.parametrize("end", ["FIN", "RST"])
def test_connection_lost_while_sending_is_replaced(end: str, loop_factory: LoopFactory) -> None:
    """The keep-alive race: the retry is an attempt with a token of its own."""

    async def lost(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(balance_of(1))
        await peer.request()
        if end == "RST":
            peer.reset()

    async def main() -> None:
        events = Recorder()
        async with (
            serve(lost, right_balance) as server,
            client_of(server, on_event=events) as htx,
        ):
            await htx.accounts.balance(1)
            assert amount(await htx.accounts.balance(2)) == 2
            assert len(server.requests) == 3
        assert (events.kinds["acquired"], events.kinds["sent"], events.kinds["failed"]) == (3, 3, 1)

    run(loop_factory, main())


# How long an attempt takes


def once_then_silent(account_id: int) -> Handler:
    """Return a handler that answers one request, and is silent from then on."""
    return answering(balance_of(account_id), then=silent)


@pytest.mark.slow
def test_silent_connection_costs_a_third_of_the_time(virtual_time: VirtualClock) -> None:
    """The attempt on the connection that was used before is repeated on a new one."""

    async def main() -> None:
        async with (
            serve(once_then_silent(1), once_then_silent(1), right_balance) as server,
            client_of(server, timeout=5.0, clock=virtual_time) as htx,
        ):
            one_each = htx.with_options(coalesce=False)
            await asyncio.gather(one_each.accounts.balance(1), one_each.accounts.balance(1))
            since = virtual_time.monotonic()
            assert amount(await htx.accounts.balance(7)) == 7
            assert 5 / 3 <= virtual_time.monotonic() - since < 2.0
            assert len(server.peers) == 3

    run(VirtualLoop, main())


@pytest.mark.slow
def test_slow_response_on_a_reused_connection_is_accepted(virtual_time: VirtualClock) -> None:
    """Half a second is not long, even with a short `timeout`."""

    async def slow(peer: Peer) -> None:
        await peer.request()
        peer.writer.write(balance_of(1))
        await peer.request()
        await asyncio.sleep(0.49)
        peer.writer.write(balance_of(2))

    async def main() -> None:
        async with serve(slow) as server, client_of(server, clock=virtual_time) as htx:
            await htx.accounts.balance(1)
            fast = htx.with_options(timeout=0.6, retry=NO_RETRY)
            assert amount(await fast.accounts.balance(2)) == 2

    run(VirtualLoop, main())


@pytest.mark.slow
def test_silent_connection_without_a_retry_is_no_response_error(virtual_time: VirtualClock) -> None:
    """`NO_RETRY` means one attempt."""

    async def main() -> None:
        async with (
            serve(once_then_silent(1), right_balance) as server,
            client_of(server, timeout=5.0, clock=virtual_time, retry=NO_RETRY) as htx,
        ):
            await htx.accounts.balance(1)
            with pytest.raises(NoResponseError, match="no response in time") as caught:
                await htx.accounts.balance(7)
            assert caught.value.delivery == "unknown"
            assert len(server.peers) == 1
            assert amount(await htx.accounts.balance(7)) == 7

    run(VirtualLoop, main())


@pytest.mark.slow
@pytest.mark.parametrize("sent", [b"", balance_of(7)[:50]], ids=["silent", "in the middle"])
def test_attempt_timeout_bounds_an_attempt(sent: bytes, virtual_time: VirtualClock) -> None:
    """On a new connection it is the limit, also for a response that has begun."""
    events = Recorder()

    async def main() -> None:
        async with (
            serve(answering(sent, then=silent), right_balance) as server,
            client_of(server, attempt_timeout=3.0, clock=virtual_time, on_event=events) as htx,
        ):
            assert amount(await htx.accounts.balance(7)) == 7
            assert 3.0 <= virtual_time.monotonic() < 3.1
            for htx_slow in (htx, htx.with_options(attempt_timeout=9.0)):
                assert amount(await htx_slow.accounts.balance(8)) == 8

    run(VirtualLoop, main())
    assert events.kinds["acquired"] == events.kinds["sent"] == 4


@pytest.mark.slow
def test_attempt_ends_at_the_deadline(virtual_time: VirtualClock) -> None:
    """`timeout` bounds the call, and the attempt with it."""

    async def main() -> None:
        async with (
            serve(silent) as server,
            client_of(server, timeout=4.0, clock=virtual_time) as htx,
        ):
            with pytest.raises(DeadlineExceededError) as caught:
                await htx.accounts.list()
            assert virtual_time.monotonic() == pytest.approx(4.0)
            assert caught.value.delivery == "unknown"
            await until(lambda: server.peers[0].is_over)

    run(VirtualLoop, main())


@pytest.mark.slow
def test_attempts_without_callers_end_after_two_seconds(virtual_time: VirtualClock) -> None:
    """Twenty requests hang, and their callers leave: the connections serve others soon."""

    async def main() -> None:
        async with (
            serve(*[silent] * 20, right_balance) as server,
            client_of(server, clock=virtual_time) as htx,
        ):
            calls = [asyncio.create_task(htx.accounts.balance(n)) for n in range(20)]
            await asyncio.sleep(1.0)
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            since = virtual_time.monotonic()
            balances = await asyncio.gather(*map(htx.accounts.balance, range(100, 124)))
            assert list(map(amount, balances)) == list(range(100, 124))
            # Tokens of requests without a response return 2 s after their connection was closed.
            assert virtual_time.monotonic() - since <= 2.1
            assert len(server.peers) > 20

    run(VirtualLoop, main())


@pytest.mark.slow
def test_attempt_without_callers_keeps_its_connection_if_it_responds(
    virtual_time: VirtualClock,
) -> None:
    """It had the time to finish."""

    async def slow(peer: Peer) -> None:
        await peer.request()
        await asyncio.sleep(1.5)
        peer.writer.write(balance_of(1))
        await right_balance(peer)

    async def main() -> None:
        async with serve(slow) as server, client_of(server, clock=virtual_time) as htx:
            call = asyncio.create_task(htx.accounts.balance(1))
            await until(lambda: bool(server.requests))
            call.cancel()
            await asyncio.sleep(1.9)
            assert amount(await htx.accounts.balance(2)) == 2
            assert len(server.peers) == 1

    run(VirtualLoop, main())


@pytest.mark.parametrize("value", [0, -1, True, float("nan"), float("inf"), "10", None])
def test_wrong_attempt_timeout_is_invalid_input(value: Any) -> None:
    """At construction, and by `with_options`."""
    htx = HTXClient(KEYS)
    for create in (htx.with_options, lambda **options: HTXClient(KEYS, **options)):
        with pytest.raises(InvalidInputError, match="attempt_timeout must be a positive number"):
            create(attempt_timeout=value)


@pytest.mark.slow
def test_calls_with_other_attempt_timeouts_are_not_coalesced(virtual_time: VirtualClock) -> None:
    """Each attempt ends as its own call demands."""

    async def main() -> None:
        async with (
            serve(right_balance) as server,
            client_of(server, clock=virtual_time, max_connections=1) as htx,
        ):
            same, other = htx.with_options(timeout=9.0), htx.with_options(attempt_timeout=9.0)
            clients = (htx, htx, same, other)
            await asyncio.gather(*(client.accounts.balance(1) for client in clients))
            assert len(server.requests) == 2

    run(VirtualLoop, main())


# Errors


@pytest.mark.slow
@each_event_loop
@pytest.mark.parametrize(
    "reply",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Len",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n",
        b"garbage\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
    ],
)
def test_invalid_response_is_no_response_error(reply: bytes, loop_factory: LoopFactory) -> None:
    """Delivery is unknown: HTX may have received the request."""

    async def main() -> None:
        async with (
            serve(answering(reply)) as server,
            client_of(server, retry=NO_RETRY) as htx,
        ):
            with pytest.raises(NoResponseError) as caught:
                await htx.accounts.list()
        assert caught.value.delivery == "unknown"
        assert caught.value.__context__ is None
        assert f"{server.origin}: " in str(caught.value)

    run(loop_factory, main())


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 503])
@pytest.mark.parametrize("encoding", ["br", "gzip, gzip", ACCESS_KEY])
async def test_other_encoding_is_a_decode_error(status: int, encoding: str) -> None:
    """It is not named: a response may repeat a secret. An error status says more."""
    head = f"Content-Encoding: {encoding}".encode()
    stream = with_length(b"x", head, status=b"HTTP/1.1 %d Any" % status)
    async with serve(repeating(stream)) as server, client_of(server, retry=NO_RETRY) as htx:
        with pytest.raises(HTXError) as caught:
            await htx.accounts.list()
    assert isinstance(caught.value, DecodeError) == (status == 200)
    assert ("encoding that was not requested" in str(caught.value)) == (status == 200)
    assert ACCESS_KEY not in full_text(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("encoding", [b"gzip", b"br"])
async def test_empty_body_needs_no_encoding(encoding: bytes) -> None:
    """The error is that it is empty, not that it is encoded."""
    empty = with_length(b"", b"Content-Encoding: " + encoding)
    async with serve(repeating(empty)) as server, client_of(server, retry=NO_RETRY) as htx:
        with pytest.raises(DecodeError, match="it is empty"):
            await htx.accounts.list()


@pytest.mark.slow
async def test_refused_connection_is_retried() -> None:
    """Nothing was sent, and the message says what to check."""
    async with serve(silent) as server:
        pass
    events = Recorder()
    async with client_of(server, on_event=events) as htx:
        with pytest.raises(
            ConnectError, match=r"connection refused\. Check host and port"
        ) as caught:
            await htx.accounts.list()
    assert caught.value.delivery == "not_sent"
    assert caught.value.__context__ is None
    assert events.kinds["sent"] == FAST.attempts


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> trustme.CA:
    """A certificate authority that the environment trusts; no proxies."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    return ca


def context_of(ca: trustme.CA, host: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(host).configure_cert(context)
    return context


@pytest.mark.slow
@each_event_loop
def test_calls_over_tls_share_a_connection(
    authority: trustme.CA, loop_factory: LoopFactory
) -> None:
    """It closes without a warning."""

    async def main() -> None:
        context = context_of(authority, "localhost")
        async with serve(right_balance, context=context) as server, client_of(server) as htx:
            assert amount(await htx.accounts.balance(1)) == 1
            assert amount(await htx.accounts.balance(2)) == 2
            assert len(server.peers) == 1

    run(loop_factory, main())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trusted", "host", "text"),
    [
        (True, "example.org", "certificate is for another host"),
        (False, "localhost", "certificate not trusted"),
    ],
)
async def test_wrong_certificate_is_not_retried(
    trusted: bool, host: str, text: str, authority: trustme.CA
) -> None:
    """Nothing is sent."""
    context = context_of(authority if trusted else trustme.CA(), host)
    events = Recorder()
    async with (
        serve(right_balance, context=context) as server,
        client_of(server, on_event=events) as htx,
    ):
        with pytest.raises(ConnectError, match=text) as caught:
            await htx.accounts.list()
    assert not caught.value.retryable
    assert (server.requests, events.kinds["sent"]) == ([], 1)


@pytest.mark.slow
async def test_https_requires_tls() -> None:
    """A server that speaks plain HTTP on an https port receives no request."""
    received: list[bytes] = []

    async def plain(peer: Peer) -> None:
        received.append(await peer.reader.read(10_000))
        peer.writer.write(balance_of(1))

    async with serve(plain, scheme="https") as server, client_of(server) as htx:
        with pytest.raises(ConnectError, match="does not speak TLS"):
            await htx.accounts.list()
    assert len(received) == 1
    assert b"AccessKeyId" not in received[0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SSL_CERT_FILE", "missing.pem"),
        ("SSL_CERT_DIR", "missing"),
        ("HTTPS_PROXY", "ftp://user:p4ssword@proxy:8080"),
        ("ALL_PROXY", "socks5://user:p4ssword@proxy:1080"),
        ("https_proxy", "http://proxy:70000"),
        ("https_proxy", "http://user:p4ssword\udcff@proxy:1"),
    ],
)
async def test_wrong_setting_fails_the_call_before_a_token_is_spent(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch, authority: trustme.CA
) -> None:
    """The error names the variable. Once it is right, the client works."""
    del authority
    monkeypatch.delenv("SSL_CERT_FILE")
    monkeypatch.setenv(name, value)
    events = Recorder()
    async with HTXClient(KEYS, on_event=events, rate_limiter=RateLimiter()) as htx:
        for _ in range(2):
            with pytest.raises(InvalidInputError, match=f"{name}: ") as caught:
                await htx.accounts.list()
            assert "p4ssword" not in full_text(caught.value)
        assert events.kinds == {"started": 2, "finished": 2}
        assert htx.limits()["GET /v1/account/accounts"].available == 100
        monkeypatch.delenv(name)
        await htx._adapter.prepare()


@pytest.mark.slow
async def test_proxy_receives_only_host_and_port(
    monkeypatch: pytest.MonkeyPatch, authority: trustme.CA
) -> None:
    """The plain-text CONNECT request contains the host, but no path and no key."""
    del authority
    denied = response(status=b"HTTP/1.1 407 Proxy Authentication Required")
    async with serve(answering(denied)) as proxy:
        address = f"127.0.0.1:{proxy.origin.port}"
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:p4ssword@{address}")
        async with HTXClient(KEYS, retry=FAST) as htx:
            with pytest.raises(ConnectError, match="the proxy returned 407") as caught:
                await htx.accounts.list()
    assert not caught.value.retryable
    assert "HTTPS_PROXY" in str(caught.value)
    assert address in str(caught.value)
    (request,) = proxy.requests
    assert request.startswith(b"CONNECT api.huobi.pro:443 HTTP/1.1\r\n")
    assert ACCESS_KEY.encode() not in request
    assert b"Signature" not in request
    assert "p4ssword" not in f"{full_text(caught.value)} {vars(htx)}"


@pytest.mark.slow
@pytest.mark.parametrize("status", [200, 302, 401])
@pytest.mark.parametrize("over_tls", [False, True])
async def test_log_records_at_any_level_contain_no_secret(
    over_tls: bool, status: int, caplog: pytest.LogCaptureFixture, authority: trustme.CA
) -> None:
    """All loggers are at DEBUG, asyncio is in debug mode, and the server echoes the URL."""

    async def echo(peer: Peer) -> None:
        query = (await peer.request()).split()[1]
        head = b"Location: https://x" + query
        peer.writer.write(with_length(query, head, status=b"HTTP/1.1 %d Any" % status))

    asyncio.get_running_loop().set_debug(True)
    context = context_of(authority, "localhost") if over_tls else None
    with caplog.at_level(logging.DEBUG):
        async with serve(echo, context=context) as server, client_of(server) as htx:
            with pytest.raises(HTXError) as caught:
                await htx.accounts.list()
    signature = unquote(server.requests[0].decode().split()[1].partition("&Signature=")[2])
    logged = "\n".join([caplog.text, *(repr(record.__dict__) for record in caplog.records)])
    for text in (logged, full_text(caught.value)):
        for secret in (ACCESS_KEY, SECRET_KEY, signature):
            assert secret[:12] not in text


# Transports that clients share


@pytest.mark.slow
async def test_clients_share_the_connections_of_a_transport() -> None:
    """They are not closed with a client; the smaller limits apply."""
    large = with_chunks(b"x" * 2000)
    async with serve(repeating(balance_of(1)), repeating(large)) as server:
        async with HTTPTransport(max_connections=2, max_body=1000) as transport:
            for _ in range(2):
                async with client_of(server, transport=transport, max_body=1999) as htx:
                    assert amount(await htx.accounts.balance(1)) == 1
            assert len(server.peers) == 1
            assert htx._adapter.slots.free == 2
            server.peers[0].reset()
            await until(lambda: server.peers[0].is_over)
            async with client_of(server, transport=transport, max_body=1500) as htx:
                with pytest.raises(DecodeError, match=r"larger than 1,000 bytes \(max_body\)"):
                    await htx.accounts.list()
        async with (
            HTTPTransport() as transport,
            client_of(server, transport=transport, max_body=1500) as htx,
        ):
            with pytest.raises(DecodeError, match=r"larger than 1,500 bytes \(max_body\)"):
                await htx.accounts.list()


class LoggingTransport(HTTPTransport):
    """Records the paths of its requests."""

    def __init__(self) -> None:
        super().__init__(max_connections=2)
        self.paths: list[str] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.paths.append(request.url.path)
        return await super().handle_async_request(request)


@pytest.mark.slow
async def test_overridden_method_of_a_transport_is_called() -> None:
    """The client does not bypass `handle_async_request` of a subclass."""
    async with (
        serve(right_balance) as server,
        LoggingTransport() as transport,
        client_of(server, transport=transport) as htx,
    ):
        assert amount(await htx.accounts.balance(1)) == 1
    assert transport.paths == ["/v1/account/accounts/1/balance"]


def test_transport_without_its_init_is_invalid_input() -> None:
    class WithoutInit(HTTPTransport):
        def __init__(self) -> None:
            pass

    with pytest.raises(InvalidInputError, match=r"WithoutInit must call super\(\).__init__\(\)"):
        HTXClient(KEYS, transport=WithoutInit())


@pytest.mark.slow
def test_transport_of_another_loop_is_an_event_loop_error() -> None:
    """Nothing is sent."""
    transport = HTTPTransport()

    async def call() -> None:
        async with serve(right_balance) as server:
            async with client_of(server, transport=transport) as htx:
                assert amount(await htx.accounts.balance(1)) == 1
            await transport.aclose()

    async def call_again() -> None:
        events = Recorder()
        async with HTXClient(KEYS, transport=transport, on_event=events) as htx:
            with pytest.raises(EventLoopError, match="the transport belongs to another event loop"):
                await htx.accounts.list()
        assert events.kinds["sent"] == 0

    run(asyncio.SelectorEventLoop, call())
    run(asyncio.SelectorEventLoop, call_again())


@pytest.mark.slow
def test_closing_ends_an_attempt(virtual_time: VirtualClock) -> None:
    """After 5 s, the request that hangs is reset, and its caller is informed."""

    async def main() -> None:
        async with serve(silent) as server:
            htx = client_of(server, clock=virtual_time)
            call = asyncio.create_task(htx.accounts.list())
            await until(lambda: bool(server.peers))
            await htx.aclose()
            assert virtual_time.monotonic() == pytest.approx(5.0)
            with pytest.raises(ClientClosedError):
                await call
            await until(lambda: server.peers[0].is_over)

    run(VirtualLoop, main())


def test_host_header_is_that_of_the_origin() -> None:
    """A port that is the default of the scheme is not part of it."""
    for url, host in (
        ("https://api.huobi.pro", b"api.huobi.pro"),
        ("https://API.huobi.pro:443/", b"api.huobi.pro"),
        ("http://127.0.0.1:8000", b"127.0.0.1:8000"),
        ("http://[::1]:8000", b"[::1]:8000"),
    ):
        adapter: Any = HTXClient(KEYS, base_url=url)._adapter
        assert adapter._headers.startswith(b"Host: %b\r\n" % host)


async def test_aclose_of_an_unused_client_opens_nothing() -> None:
    """The pool is created with the client, and its connections with the calls."""
    htx = HTXClient(KEYS)
    await htx.aclose()
    with pytest.raises(ClientClosedError):
        await htx.accounts.list()
