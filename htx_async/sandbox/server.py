"""The sandbox on a port of this machine, by uvicorn's HTTP protocol. Nothing else needs uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import socket
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection
from typing import TYPE_CHECKING, Any, cast

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from htx_async.clock import Clock
from htx_async.sandbox.connection import Front, Gate
from htx_async.sandbox.request import Receive, Scope, Send

if TYPE_CHECKING:
    from htx_async.sandbox.app import Sandbox

App = Callable[[Scope, Receive, Send], Awaitable[None]]

_KEEP_ALIVE = 60
_GRACE = 1.0
_BACKLOG = 2048
_LAST_PORT = 65_535

# In no hierarchy, so that nothing reaches a handler: a request line has a signature in it.
_SILENCE = logging.Logger("htx_async.sandbox", level=logging.CRITICAL + 1)  # noqa: LOG001


class _Protocol(H11Protocol):
    """One connection, which logs nothing, behind its front."""

    def __init__(self, gate: Gate, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.logger = _SILENCE
        self.access_log = False
        self._gate = gate
        self._behind: App = self.app
        self.app = self._answer

    def _answer(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        # By this the sandbox finds the front that a request came through.
        scope["extensions"] = self.front.extensions
        return self._behind(scope, receive, send)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self.front = Front(transport, self._gate)
        super().connection_made(cast("asyncio.Transport", self.front))
        # Head and body leave in two writes: the second one must not wait for an acknowledgement
        # of the first. asyncio sees to that only for sockets that were made with IPPROTO_TCP.
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self.front.over.set()
        super().connection_lost(exc)


@contextlib.asynccontextmanager
async def listen(app: Sandbox, host: str, port: int, clock: Clock) -> AsyncGenerator[str, None]:
    """
    Serve *app* on *host* and *port* (0: any free one) and give the base URL.

    `OSError` if that is not possible. At the end, what is being answered has a second to finish.
    """
    door = _Door(app, host, port, clock)
    try:
        await door.open()
        yield _url(door.bound)
    finally:
        door.over.set()
        await _close(door.server)
        door.bound.close()


class _Door(Gate):
    """The listening socket, and what serves who comes in."""

    def __init__(self, app: Sandbox, host: str, port: int, clock: Clock) -> None:
        super().__init__(clock)
        self.bound = _bind(host, port)
        self.server = _server(app, self)

    async def open(self) -> None:
        """Let connections come."""
        # Neither `serve()`, which takes over signal handlers and logs, nor a task that ticks.
        await self.server.startup(sockets=[self.bound])

    def shut(self) -> None:
        """Let the system refuse connections, but keep the port."""
        address, family = self.bound.getsockname(), self.bound.family
        for listener in self.server.servers:
            listener.close()
        self.bound = socket.socket(family)
        self.bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.bound.bind(address)


def _bind(host: str, port: int) -> socket.socket:
    if not 0 <= port <= _LAST_PORT:
        # `create_server` would leave a socket open.
        msg = f"a port is a number from 0 to {_LAST_PORT}: got {port}"
        raise ValueError(msg)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=_BACKLOG)


def _url(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _server(app: Sandbox, gate: Gate) -> uvicorn.Server:
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
    # Without what `load` wraps around it to log every scope, where logging is set to all.
    config.loaded_app = app
    config.http_protocol_class = cast("type[asyncio.Protocol]", functools.partial(_Protocol, gate))
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


async def _close(server: uvicorn.Server) -> None:
    state = server.server_state
    for listener in server.servers:
        listener.close()
    for connection in list(state.connections):
        connection.shutdown()
        cast("_Protocol", connection).front.over.set()
    await _finish(state.tasks)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(_all_gone(state.connections), _GRACE)
    for connection in list(state.connections):
        connection.transport.abort()
    await _all_gone(state.connections)


async def _finish(tasks: Collection[asyncio.Task[None]]) -> None:
    if not tasks:
        return
    _, late = await asyncio.wait(list(tasks), timeout=_GRACE)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)


async def _all_gone(connections: Collection[object]) -> None:
    # Closing takes a turn of the loop, or longer where the other side does not read.
    await asyncio.sleep(0)
    while connections:  # noqa: ASYNC110  # uvicorn tells nobody when one is gone
        await asyncio.sleep(0.001)
