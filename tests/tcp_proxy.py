"""A TCP proxy in front of a Redis server, that delays, stalls, cuts and loses what it carries."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator


class Proxy:
    """
    Proxy in front of a server on a Unix socket.

    Attributes:
        path: Socket of the server; new connections use the current one.
        delay: Seconds for which it delays each direction.
        loses_replies: Whether it discards what the server sends.
        is_flowing: Cleared, it keeps everything until it is set again.
        url: URL of the proxy, while it serves.
    """

    def __init__(self, path: str, delay: float = 0.0) -> None:
        self.path, self.delay = path, delay
        self.loses_replies = False
        self.is_flowing = asyncio.Event()
        self.is_flowing.set()
        self.url = ""
        self._writers = set[asyncio.StreamWriter]()
        self._tasks = set[asyncio.Task[None]]()

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncGenerator[Proxy]:
        """Serve on a free port of this machine."""
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0, ssl=tls)
        scheme = "rediss" if tls else "redis"
        self.url = f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            self.is_flowing.set()
            self.cut()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Reset all connections."""
        for writer in self._writers:
            writer.transport.abort()

    async def stall(self, seconds: float) -> None:
        """Carry nothing for *seconds*."""
        self.is_flowing.clear()
        await asyncio.sleep(seconds)
        self.is_flowing.set()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError):
            from_server, to_server = await asyncio.open_unix_connection(self.path)
            self._writers |= {writer, to_server}
            await asyncio.gather(
                self._carry(reader, to_server), self._carry(from_server, writer, is_reply=True)
            )
        writer.close()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool = False
    ) -> None:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            while data := await reader.read(2**16):
                await self.is_flowing.wait()
                if not (is_reply and self.loses_replies):
                    loop.call_later(self.delay, writer.write, data)
        loop.call_later(self.delay, writer.close)
        self._writers.discard(writer)
