"""What the transports have in common: headers, timeouts, proxy settings."""

from __future__ import annotations

import platform
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    from htx_async.request import Request, Response
    from htx_async.validation import Origin

CONNECT_TIMEOUT = 10.0
"""Seconds for connecting, TLS included: long enough for two lost packets."""
MAX_IDLE = 60.0
"""Seconds for which an idle connection is kept."""
HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "gzip",
    "User-Agent": f"htx_async/{version('htx-async')} Python/{platform.python_version()}",
}


Cancel = Callable[[], object]
"""Cancels the attempt in its scope."""


class Transport(Protocol):
    """
    Sends one request to HTX and returns the response. It opens with the first request.

    Attributes:
        connect_errors: Exceptions of its library after which nothing has reached HTX.
    """

    connect_errors: tuple[type[Exception], ...]

    def cancel_scope(self) -> AbstractAsyncContextManager[Cancel]:
        """
        Return a scope that ends with `TimeoutError` when it is cancelled.

        The mechanism depends on the library, which must not lose a cancelled connection.
        """
        ...

    async def send(self, request: Request, seconds: float | None) -> Response:
        """Return the response with its body, within *seconds*; raise what its library raises."""
        ...

    async def aclose(self) -> None:
        """Close what it has opened itself."""
        ...


def connect_timeout(seconds: float | None) -> float:
    """Return the seconds of *seconds* that connecting may take."""
    return CONNECT_TIMEOUT if seconds is None else min(seconds, CONNECT_TIMEOUT)


def proxy_url(origin: Origin) -> str | None:
    """Return the URL of the proxy for *origin* in the environment or the system settings."""
    if origin.is_loopback or proxy_bypass(origin.host):
        return None
    proxies = getproxies()
    url = proxies.get(origin.scheme) or proxies.get("all")
    if not url:
        return None
    return url if "://" in url else f"http://{url}"
