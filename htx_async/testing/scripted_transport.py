"""httpx transport that plays a script."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable

import httpx

from htx_async.clock import Clock

Step = (
    httpx.Response
    | BaseException
    | Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]
)
"""A response to return, an exception to raise, or a function of the request that responds."""


class ScriptedTransport(httpx.AsyncBaseTransport):
    """
    Transport that plays one step per request, in order: `HTXClient(keys, transport=...)`.

    A step is a response to return, an exception to raise, or a function of the request, async or
    not, that returns the response. One response may occur several times. For any number of
    requests, pass an endless iterator, e.g. `itertools.repeat(step)`; a request without a step
    raises `AssertionError`.

    Args:
        steps: The steps, one per request.
        delay: Seconds before each response.
        clock: Source of time, also for *delay*; `None`: the system's.

    Attributes:
        requests: The requests, with their signed URLs.
        sent_at: Time of each request, in seconds of the clock's `monotonic()`.
        is_closed: Whether `aclose()` was called.
    """

    requests: list[httpx.Request]
    sent_at: list[float]
    is_closed: bool

    def __init__(
        self, steps: Iterable[Step], *, delay: float = 0.0, clock: Clock | None = None
    ) -> None:
        self.requests = []
        self.sent_at = []
        self.is_closed = False
        self._steps = iter(steps)
        self._delay = delay
        self._clock = clock or Clock()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Play the next step."""
        self.requests.append(request)
        self.sent_at.append(self._clock.monotonic())
        step = next(self._steps, None)
        if self._delay:
            await self._clock.sleep(self._delay)
        if step is None:
            number, name = len(self.requests), f"{request.method} {request.url.path}"
            message = f"no step for request {number}, {name}. Add a step to the script."
            raise AssertionError(message)
        if isinstance(step, BaseException):
            raise step
        if not isinstance(step, httpx.Response):
            response = step(request)
            step = await response if inspect.isawaitable(response) else response
        # A copy, because a response can be read only once.
        return httpx.Response(
            step.status_code, headers=step.headers, stream=step.stream, extensions=step.extensions
        )

    async def aclose(self) -> None:
        """Record that the transport is closed."""
        self.is_closed = True
