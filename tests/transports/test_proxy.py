"""Proxy settings of the environment, for the default transport."""

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
def test_proxy_for_reads_the_environment(
    variables: dict[str, str], expected: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The standard variables apply, in the standard order."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    proxy = proxy_for(HTX)
    assert (None if proxy is None else str(proxy.url)) == expected


def test_proxy_for_ignores_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sandbox on loopback is never reached through a proxy."""
    monkeypatch.setenv("ALL_PROXY", "http://proxy:8080")
    for url in ("http://127.0.0.1:1", "http://localhost:1", "http://[::1]:1", "https://localhost"):
        assert proxy_for(parse_base_url(url)) is None


def test_proxy_for_rejects_an_invalid_url_without_exposing_its_password(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The error does not contain the value of the variable, which may be a secret."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://user:p4ssword@proxy:8080")
    with pytest.raises(InvalidInputError, match="not the URL of a proxy") as caught:
        proxy_for(HTX)
    assert "p4ssword" not in str(caught.value)
    assert caught.value.__context__ is None


async def test_invalid_proxy_fails_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call raises and is not retried."""
    monkeypatch.setenv("HTTPS_PROXY", "ftp://proxy:8080")
    async with HTXClient(Credentials("access-key", "secret-key")) as htx:
        with pytest.raises(InvalidInputError, match="not the URL of a proxy"):
            await htx.accounts.list()


@pytest.mark.httpx
async def test_socks_proxy_without_its_extra_names_the_extra(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://proxy:1080")
    monkeypatch.setitem(sys.modules, "socksio", None)
    async with HTXClient(Credentials("access-key", "secret-key")) as htx:
        with pytest.raises(InvalidInputError, match=r'pip install "httpx\[socks\]"'):
            await htx.accounts.list()


@pytest.mark.slow
async def test_proxy_receives_only_host_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain-text CONNECT request contains the host, but no path and no key."""
    received: list[bytes] = []

    async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.append(await reader.readuntil(b"\r\n\r\n"))
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
    assert received
    for request in received:
        assert request.startswith(b"CONNECT api.huobi.pro:443 HTTP/1.1\r\n")
        assert b"access-key" not in request
        assert b"Signature" not in request
    assert "p4ssword" not in f"{caught.value!r} {caught.value.__notes__} {vars(htx)}"


async def test_signed_host_equals_the_requested_host() -> None:
    """HTX and the sandbox reject a signature for another host."""
    import httpx  # noqa: PLC0415 - only here

    from htx_async.sandbox import Sandbox  # noqa: PLC0415 - only here

    sandbox = Sandbox()
    hosts: list[str] = []

    class RecordingTransport(httpx.ASGITransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            hosts.append(request.headers["host"])
            return await super().handle_async_request(request)

    for base_url in ("https://api-aws.huobi.pro", "https://API.HUOBI.PRO", "https://localhost:99"):
        keys = Credentials("access-key", "secret-key")
        async with HTXClient(
            keys, base_url=base_url, transport=RecordingTransport(app=sandbox)
        ) as htx:
            await htx.accounts.list()
    assert hosts == ["api-aws.huobi.pro", "api.huobi.pro", "localhost:99"]
