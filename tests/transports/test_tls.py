"""TLS: certificate verification, and errors for untrusted certificates."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trustme

from htx_async import NO_RETRY, AiohttpTransport, ConnectError, Credentials, HTXClient
from htx_async.transports import httpx as httpx_transport

pytestmark = pytest.mark.slow

KEYS = Credentials("access-key", "secret-key")
BODY = b'{"status":"ok","data":[]}'
REPLY = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(BODY), BODY)
all_transports = pytest.mark.parametrize(
    "transport", [lambda: None, AiohttpTransport], ids=["httpx", "aiohttp"]
)
Transport = Callable[[], AiohttpTransport | None]


@pytest.fixture
def authority(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[trustme.CA]:
    """A certificate authority that the environment trusts."""
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "authority.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "authority.pem"))
    httpx_transport.tls_context.cache_clear()
    yield ca
    httpx_transport.tls_context.cache_clear()


@asynccontextmanager
async def serving(authority: trustme.CA, host: str) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Serve with a certificate for *host*."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(host).configure_cert(context)
    heads: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(REPLY)
        except asyncio.IncompleteReadError:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://localhost:{server.sockets[0].getsockname()[1]}", heads


@all_transports
async def test_tls_serves_several_calls_on_one_connection(
    transport: Transport, authority: trustme.CA
) -> None:
    """The connection closes without a warning."""
    async with (
        serving(authority, "localhost") as (base_url, heads),
        HTXClient(KEYS, base_url=base_url, transport=transport()) as htx,
    ):
        assert await htx.accounts.list() == ()
        assert await htx.accounts.list() == ()
    assert len(heads) == 2


@all_transports
async def test_tls_rejects_a_certificate_for_another_host(
    transport: Transport, authority: trustme.CA
) -> None:
    """Nothing is sent."""
    async with (
        serving(authority, "example.org") as (base_url, heads),
        HTXClient(KEYS, base_url=base_url, transport=transport(), retry=NO_RETRY) as htx,
    ):
        with pytest.raises(ConnectError, match="could not connect to https://localhost"):
            await htx.accounts.list()
    assert heads == []


@all_transports
@pytest.mark.usefixtures("authority")
async def test_tls_rejects_an_unknown_authority(transport: Transport) -> None:
    """The certificate is valid for the host, but its authority is not trusted."""
    async with (
        serving(trustme.CA(), "localhost") as (base_url, heads),
        HTXClient(KEYS, base_url=base_url, transport=transport(), retry=NO_RETRY) as htx,
    ):
        with pytest.raises(ConnectError) as caught:
            await htx.accounts.list()
    assert heads == []
    assert "certificate" in "".join(caught.value.__notes__).lower()
