"""Proxies that the environment names, for the transport that we make."""

from __future__ import annotations

import asyncio
import sys

import pytest

from htx_async import NO_RETRY, ConnectError, Credentials, HTXClient, HTXError, InvalidInputError
from htx_async.transports.httpx import proxy_for
from htx_async.validation import parse_base_url

HTX = parse_base_url("https://api.huobi.pro")


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment without proxies."""
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, None),
        ({"HTTPS_PROXY": "http://proxy:8080"}, "http://proxy:8080"),
        ({"https_proxy": "proxy:8080"}, "http://proxy:8080"),
        ({"ALL_PROXY": "http://proxy:8080"}, "http://proxy:8080"),
        ({"HTTP_PROXY": "http://proxy:8080"}, None),
        ({"HTTPS_PROXY": "http://proxy:8080", "NO_PROXY": "huobi.pro"}, None),
        ({"HTTPS_PROXY": "http://proxy:8080", "NO_PROXY": "example.com"}, "http://proxy:8080"),
    ],
)
def test_which_proxy(
    variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The usual variables, in the usual order."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(HTX)
    assert (None if proxy is None else str(proxy.url)) == expected


def test_loopback_goes_through_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox is here, wherever the proxy is."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy:8080")
    for url in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://localhost"):
        assert proxy_for(parse_base_url(url)) is None


def test_a_proxy_that_is_none_is_told_without_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The variable is at fault, and its value may be a secret."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://user:p4ssword@proxy:8080")
    with pytest.raises(InvalidInputError, match="not the URL of a proxy") as caught:
        proxy_for(HTX)
    assert "p4ssword" not in str(caught.value)
    assert caught.value.__context__ is None


async def test_a_client_with_such_a_proxy_sends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first call tells, and is not repeated."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy:8080")
    async with HTXClient(Credentials("access-key", "secret-key")) as htx:
        with pytest.raises(InvalidInputError, match="not the URL of a proxy"):
            await htx.accounts.list()


@pytest.mark.httpx
async def test_socks_without_its_package_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing was sent."""
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    monkeypatch.setitem(sys.modules, "socksio", None)
    async with HTXClient(Credentials("access-key", "secret-key")) as htx:
        with pytest.raises(InvalidInputError, match=r'pip install "httpx\[socks\]"'):
            await htx.accounts.list()


@pytest.mark.slow
async def test_a_proxy_sees_where_to_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line to it is in the clear: it names HTX, and neither path nor key."""
    seen: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(proxy, "127.0.0.1", 0)
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:p4ssword@{address}")
    keys = Credentials("access-key", "secret-key")
    async with server, HTXClient(keys, retry=NO_RETRY) as htx:
        with pytest.raises(HTXError) as caught:
            await htx.accounts.list()
    assert isinstance(caught.value, ConnectError)
    assert "407" in "".join(caught.value.__notes__)
    assert seen
    for line in seen:
        assert line.startswith(b"CONNECT api.huobi.pro:443 HTTP/1.1\r\n")
        assert b"access-key" not in line
        assert b"Signature" not in line
    assert "p4ssword" not in f"{caught.value!r} {caught.value.__notes__} {vars(htx)}"


async def test_the_host_that_is_asked_is_the_host_that_is_signed() -> None:
    """HTX refuses a signature for another one of its hosts: the sandbox does, too."""
    import httpx  # noqa: PLC0415 - only here

    from htx_async.sandbox import Sandbox  # noqa: PLC0415 - only here

    sandbox = Sandbox()
    hosts: list[str] = []

    class Noting(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            hosts.append(request.headers["host"])
            return await super().handle_async_request(request)

    for base_url in ("https://api-aws.huobi.pro", "https://API.HUOBI.PRO", "https://localhost:99"):
        keys = Credentials("access-key", "secret-key")
        async with HTXClient(keys, base_url=base_url, transport=Noting(app=sandbox)) as htx:
            await htx.accounts.list()
    assert hosts == ["api-aws.huobi.pro", "api.huobi.pro", "localhost:99"]
