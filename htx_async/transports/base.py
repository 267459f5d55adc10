"""What every wire to HTX has in common, whichever library it is made of."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    from htx_async.errors import HTXError
    from htx_async.request import Request, Response
    from htx_async.validation import Origin

CONNECT_TIMEOUT = 10.0
"""Seconds for a connection to come about, TLS included: long enough for two lost packets."""
IDLE = 60.0
"""Seconds for which an idle connection is kept."""
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"htx_async/{version('htx-async')} Python/{platform.python_version()}",
}


Stop = Callable[[], object]
"""Ends at once what can be stopped."""


class Wire(Protocol):
    """
    Carries one request to HTX and its answer back. It opens itself with the first one.

    Attributes:
        not_sent: The errors of its library which say that nothing has reached HTX.
    """

    not_sent: tuple[type[Exception], ...]

    def stoppable(self) -> AbstractAsyncContextManager[Stop]:
        """
        End what is done inside with a `TimeoutError` when told to.

        How that must be done depends on the library: what is cancelled must not be lost.
        """
        ...

    async def carry(self, request: Request, seconds: float | None) -> Response | HTXError:
        """
        Return the whole answer; raise whatever its library raises.

        *seconds* are left for all of it. Who waits for it stops it then.
        """
        ...

    async def aclose(self) -> None:
        """Close what it has opened itself."""
        ...


def connect_timeout(seconds: float | None) -> float:
    """Return how many of *seconds* a connection may take to come about."""
    return CONNECT_TIMEOUT if seconds is None else min(seconds, CONNECT_TIMEOUT)


def proxy_url(origin: Origin) -> str | None:
    """Return the proxy that the environment, or the system, names for *origin*."""
    if origin.is_loopback or proxy_bypass(origin.host):
        return None
    proxies = getproxies()
    url = proxies.get(origin.scheme) or proxies.get("all")
    if not url:
        return None
    return url if "://" in url else f"http://{url}"
