"""Base class of faults."""

from __future__ import annotations

from typing import ClassVar

import attrs

from htx_async.sandbox.rate_windows import Admission
from htx_async.sandbox.responses import SandboxResponse
from htx_async.sandbox.state import SandboxState
from htx_async.sandbox.stream.messages import Close, Message
from htx_async.sandbox.world import World


@attrs.frozen
class Fault:
    """
    Failure of one response, or of one message of a stream.

    It is a value, returned by the functions of `htx_async.sandbox.faults`. `Fault()` itself changes
    nothing.
    """

    for_responses: ClassVar[bool] = True
    for_messages: ClassVar[bool] = True

    @property
    def clock_offset(self) -> float:
        """Return the number of seconds that HTX's clock is ahead for this request."""
        return 0.0

    def state(self, world: World, _at: float, /) -> SandboxState:
        """Return the data for the response to a request at this time (monotonic seconds)."""
        return world.state

    def response(self, original: SandboxResponse, _version: int, /) -> SandboxResponse:
        """Return the response to send instead of *original*, on a path of version 1 or 2."""
        return original

    def admission(self, original: Admission | None, _per: float, /) -> Admission | None:
        """Return the content of the rate-limit headers; the window lasts `per` seconds."""
        return original

    def message(self, original: Message, /) -> Message | Close:
        """Return what a stream sends instead of the text message *original*."""
        return original

    @property
    def copies(self) -> int:
        """Return the number of times that a stream sends the message."""
        return 1

    @property
    def delay(self) -> float:
        """Return the seconds after which a stream sends the message; later ones overtake it."""
        return 0.0

    @property
    def refuses(self) -> bool:
        """Return whether a request on a stream has no effect, or a push is the last one."""
        return False
