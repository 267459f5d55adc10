"""
Sandbox on a port of this machine (extra `sandbox`).

HTTP/1.1 is uvicorn's protocol, WebSocket is our own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Collection
from typing import Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from htx_async.clock import Clock
from htx_async.sandbox.connection import FaultyConnection, ListeningPort
from htx_async.sandbox.request import App, Receive, Scope, Send
from htx_async.sandbox.stream.hub import StreamHub
from htx_async.sandbox.stream.websocket import WebSocketProtocol
from htx_async.sandbox.validation import check_range

_KEEP_ALIVE = 60
_GRACE_PERIOD = 1.0
_BACKLOG = 2048
_MAX_PORT = 65_535

# Outside of the hierarchy, so that no handler gets a record: request lines contain signatures.
_NULL_LOGGER = logging.Logger("htx_async.sandbox", logging.CRITICAL + 1)  # noqa: LOG001  # on purpose, see above


class _Protocol(H11Protocol):
    """HTTP on one connection, without logging, over a `FaultyConnection`."""

    def __init__(self, port: ListeningPort, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.logger = _NULL_LOGGER
        self.access_log = False
        self._port = port
        self._sandbox: App = self.app
        self.app = self._call_sandbox

    def _call_sandbox(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        scope["extensions"] = self.connection.extensions
        return self._sandbox(scope, receive, send)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.connection = FaultyConnection(transport, self._port)
        super().connection_made(cast("asyncio.Transport", self.connection))
        # Head and body are sent by two writes: the second one must not wait for an acknowledgement
        # of the first. asyncio does this only for sockets that were created with IPPROTO_TCP.
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self.connection.ended.set()
        super().connection_lost(exc)


@contextlib.asynccontextmanager
async def listen(
    app: App, hub: StreamHub, host: str, port: int, clock: Clock
) -> AsyncGenerator[str, None]:
    """
    Serve *app* and the streams of *hub* on *host* and *port*, and yield the base URL.

    *port* 0: any free one. `OSError` if that is not possible. At the end, open requests get a
    second to finish.
    """
    listener = _Listener(app, hub, host, port, clock)
    try:
        await listener.open()
        yield _url(listener.socket)
    finally:
        listener.ended.set()
        await _shut_down(listener.server)
        listener.socket.close()


class _Listener(ListeningPort):
    """Listening socket, and the uvicorn server that accepts its connections."""

    def __init__(self, app: App, hub: StreamHub, host: str, port: int, clock: Clock) -> None:
        super().__init__(clock)
        self.socket = _bind(host, port)
        self.server = _server(app, hub, self)

    async def open(self) -> None:
        """Accept connections."""
        # Not `serve()`, which installs signal handlers, logs, and runs a ticking task.
        await self.server.startup(sockets=[self.socket])

    def close(self) -> None:
        """Let the system refuse connections, but keep the port."""
        address, family = self.socket.getsockname(), self.socket.family
        for listener in self.server.servers:
            listener.close()
        self.socket = socket.socket(family)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(address)


def _bind(host: str, port: int) -> socket.socket:
    check_range("port", port, 0, _MAX_PORT)  # `create_server` would leave a socket open
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _server(app: App, hub: StreamHub, port: ListeningPort) -> uvicorn.Server:
    config = uvicorn.Config(
        app,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        proxy_headers=False,
        date_header=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE,
        backlog=_BACKLOG,
    )
    config.load()
    # Without the wrapper of `load` that logs every scope if the log level is low enough.
    config.loaded_app = app
    websocket = functools.partial(WebSocketProtocol, hub, port.clock)
    config.ws_protocol_class = cast("type[asyncio.Protocol]", websocket)
    config.http_protocol_class = cast("type[asyncio.Protocol]", functools.partial(_Protocol, port))
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


async def _shut_down(server: uvicorn.Server) -> None:
    connections = server.server_state.connections
    for listener in server.servers:
        listener.close()
    for protocol in list(connections):
        protocol.shutdown()
        cast("_Protocol", protocol).connection.ended.set()
    await _finish(server.server_state.tasks)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_all_closed(connections), _GRACE_PERIOD)
    for protocol in list(connections):
        protocol.transport.abort()
    await _all_closed(connections)


async def _finish(tasks: Collection[asyncio.Task[None]]) -> None:
    if not tasks:
        return
    _, late = await asyncio.wait(list(tasks), timeout=_GRACE_PERIOD)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)


async def _all_closed(connections: Collection[object]) -> None:
    # Closing takes an iteration of the loop, or longer if the client does not read.
    await asyncio.sleep(0)
    while connections:  # noqa: ASYNC110  # uvicorn does not notify when a connection is closed
        await asyncio.sleep(0.001)
