"""The sandbox on a port of this machine, by uvicorn's HTTP protocol. Nothing else needs uvicorn."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncGenerator, Collection
from typing import TYPE_CHECKING, Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from htx_async.sandbox.app import Sandbox

_KEEP_ALIVE = 60
_GRACE = 1.0
_BACKLOG = 2048
_LAST_PORT = 65_535

# In no hierarchy, so that nothing reaches a handler: a request line has a signature in it.
_SILENCE = logging.Logger("htx_async.sandbox", level=logging.CRITICAL + 1)  # noqa: LOG001


class _Protocol(H11Protocol):
    """One connection, which logs nothing."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.logger = _SILENCE
        self.access_log = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Head and body leave in two writes: the second one must not wait for an acknowledgement
        # of the first. asyncio sees to that only for sockets that were made with IPPROTO_TCP.
        connection: socket.socket = transport.get_extra_info("socket")
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


@contextlib.asynccontextmanager
async def listen(app: Sandbox, host: str, port: int) -> AsyncGenerator[str, None]:
    """
    Serve *app* on *host* and *port* (0: any free one) and give the base URL.

    `OSError` if that is not possible. At the end, what is being answered has a second to finish.
    """
    bound = _bind(host, port)
    server = _server(app)
    try:
        # Neither `serve()`, which takes over signal handlers and logs, nor a task that ticks.
        await server.startup(sockets=[bound])
        yield _url(bound)
    finally:
        await _close(server)
        bound.close()


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


def _server(app: Sandbox) -> uvicorn.Server:
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
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    return server


async def _close(server: uvicorn.Server) -> None:
    state = server.server_state
    for listener in server.servers:
        listener.close()
    for connection in list(state.connections):
        connection.shutdown()
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
