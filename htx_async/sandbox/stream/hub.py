"""All streams of a sandbox: opening them, and passing changes on to them."""

from __future__ import annotations

from collections.abc import Callable

from htx_async.sandbox.changes import BalanceUpdate
from htx_async.sandbox.connection import ConnectionFault
from htx_async.sandbox.context import ReceivedRequest
from htx_async.sandbox.environment import Environment
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.message_faults import Closed
from htx_async.sandbox.request import ParsedRequest
from htx_async.sandbox.responses import SandboxResponse
from htx_async.sandbox.stream.messages import HANDSHAKE
from htx_async.sandbox.stream.session import StreamOutput, StreamSession

PATH = HANDSHAKE.removeprefix("GET ")

Deliver = Callable[[list[StreamOutput]], object]

_ACCEPTED = SandboxResponse(101, b"")
_NOT_FOUND = SandboxResponse(404, b"", content_type=b"text/html")


class StreamHub:
    """Streams of a sandbox."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        # In the order of their opening, so that a fault meets the same one in every run.
        self._sessions: dict[StreamSession, None] = {}
        environment.world.on_update = self._publish

    def handshake(self, request: ParsedRequest) -> tuple[Fault, SandboxResponse]:
        """Return the response to an upgrade, 101 if it is accepted, and the fault of it."""
        is_known = request.path == PATH
        fault = self._environment.faults.match(HANDSHAKE if is_known else None)
        response = fault.response(_ACCEPTED if is_known else _NOT_FOUND, 1)
        received = ReceivedRequest(
            self._environment.clock.monotonic(),
            request.method,
            request.path,
            PATH if is_known else None,
            None,
            response.status,
            response.code,
            rate_limited=False,
        )
        self._environment.record(received)
        return fault, response

    def open(self, request: ParsedRequest, deliver: Deliver) -> StreamSession:
        """Return a new connection that was opened by *request*."""
        return StreamSession(self._environment, request, deliver, self._sessions)

    def interrupt(self, fault: Fault) -> None:
        """Let *fault*, of the connection, happen to all streams now."""
        if not isinstance(fault, ConnectionFault | Closed):
            message = f"{fault!r} needs a message. Use faults of the connection, or close()."
            raise ValueError(message)  # noqa: TRY004  # its type is right
        for session in tuple(self._sessions):
            session.interrupt(fault)

    def _publish(self, uid: int, update: BalanceUpdate) -> None:
        for session in tuple(self._sessions):
            session.push(uid, update)
