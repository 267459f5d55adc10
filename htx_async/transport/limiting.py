"""
Lets an attempt go when it has a token and a connection to go by.

The token comes first: who waits for one must not keep others from a connection. The connection
slot is as important: without it, signed requests would queue inside the connection pool and
grow old there.
"""

from __future__ import annotations

import attrs

from htx_async.clock import Clock
from htx_async.errors import NotSentError
from htx_async.transport.budget import Budget
from htx_async.transport.queue import TokenQueue
from htx_async.transport.request import Request, Response, Send


@attrs.frozen
class Limiting:
    """The layer that waits. *slots* has a token for each connection."""

    send: Send
    budget: Budget
    slots: TokenQueue
    clock: Clock

    async def __call__(self, request: Request) -> Response:
        """Wait for a token and a slot, send, and return or raise what came."""
        queue = self.budget.queue(request.endpoint, self.clock)
        await queue.acquire()
        try:
            await self.slots.acquire()
        except BaseException:
            queue.give_back()
            raise
        response = await self._attempt(request, queue)
        if response.error is not None:
            raise response.error
        return response

    async def _attempt(self, request: Request, queue: TokenQueue) -> Response:
        request.flight.departs()
        try:
            response = await self.send(request)
        except NotSentError:
            queue.give_back()
            raise
        except BaseException:
            queue.settle(self.clock.monotonic())
            raise
        else:
            queue.settle(response.began)
            return response
        finally:
            self.slots.settle(self.clock.monotonic())
            request.flight.returned()
