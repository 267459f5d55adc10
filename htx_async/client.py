"""The client: the one place that knows the order of the layers."""

from __future__ import annotations

import os
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast

from htx_async import inputs
from htx_async.clock import Clock
from htx_async.credentials import Credentials
from htx_async.errors import InvalidInputError
from htx_async.options import Options
from htx_async.resources.accounts import Accounts
from htx_async.resources.points import Points
from htx_async.transport.budget import Budget
from htx_async.transport.converting import Converting
from htx_async.transport.envelope import Opening
from htx_async.transport.http import HTTP
from htx_async.transport.limiting import Limiting
from htx_async.transport.queue import TokenQueue
from htx_async.transport.request import Endpoint, RateLimit, Request
from htx_async.transport.sharing import Sharing
from htx_async.transport.signing import Signing

if TYPE_CHECKING:
    import httpx

T = TypeVar("T")

BASE_URL = "https://api.huobi.pro"


class HTXClient:
    """
    Reads accounts, balances and points of one HTX user.

    One client serves one event loop, and any number of tasks in it: make one and keep it.

    Args:
        credentials: Who asks.
        base_url: HTX's address, or that of a sandbox; plain http for loopback only.
        timeout: Seconds for a whole call: waiting, connecting, reading.
        budget: Whose tokens are spent; `None`: this client's own; `UNLIMITED`: nobody's.
        transport: What sends the requests, an `httpx.AsyncBaseTransport`; `None`: our own. One
            that is passed in sees signed URLs, and is not closed with the client.
        max_connections: Connections at a time, of our own transport or of *transport*.
        max_body: Bytes of an answer, unzipped, beyond which it is not read on.
        clock: Time; `None`: the system's.

    Raises:
        InvalidInputError: An argument cannot be right. Nothing is opened or sent yet.
    """

    def __init__(
        self,
        credentials: Credentials,
        *,
        base_url: str = BASE_URL,
        timeout: float = 30.0,
        budget: Budget | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        max_connections: int = 20,
        max_body: int = 16 * 2**20,
        clock: Clock | None = None,
    ) -> None:
        if not isinstance(credentials, Credentials):  # pyright: ignore[reportUnnecessaryIsInstance]
            msg = f"credentials must be Credentials(...), not {type(credentials).__name__}"
            del credentials  # keys given as plain text must not show in a traceback
            raise InvalidInputError(msg)
        origin = inputs.origin(base_url)
        inputs.at_least(max_connections, 1, "max_connections")
        inputs.at_least(max_body, 1, "max_body")
        clock = clock or Clock()
        self._options = Options(timeout=timeout)
        # One request runs straight down these layers, and its answer straight back up.
        self._http = HTTP(
            transport, origin, clock, max_connections=max_connections, max_body=max_body
        )
        signing = Signing(self._http, credentials, origin.host, clock.now)
        slots = TokenQueue(RateLimit(max_connections, per=0.0), clock)
        limiting = Limiting(Opening(signing), budget or Budget(), slots, clock)
        self._sharing = Sharing(Converting(limiting), clock)
        self._shown = f"HTXClient({credentials!r}, base_url={str(origin)!r})"
        self.accounts = Accounts(self._ask)
        self.points = Points(self._ask)

    @classmethod
    def from_env(cls, **options: Any) -> Self:
        """
        Make a client from the environment: `HTX_ACCESS_KEY`, `HTX_SECRET_KEY`, `HTX_BASE_URL`.

        *options* are those of the class; what is given there goes before the environment.

        Raises:
            InvalidInputError: A key is missing, or something cannot be right.
        """
        if base_url := os.environ.get("HTX_BASE_URL"):
            options.setdefault("base_url", base_url)
        return cls(Credentials.from_env(), **options)

    async def _ask(
        self,
        endpoint: Endpoint[T],
        *,
        path: str | None = None,
        params: tuple[tuple[str, str], ...] = (),
    ) -> T:
        request = Request(endpoint, path or endpoint.path, params, self._options)
        return cast("T", (await self._sharing(request)).value)

    async def aclose(self) -> None:
        """
        Close the client; closing twice is fine.

        What has left is waited for, at most 5 s. Who still waits for a token gets
        `ClientClosedError`. A transport that was passed in stays open.
        """
        try:
            await self._sharing.aclose()
        finally:
            await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return self._shown
