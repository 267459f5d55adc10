"""Base class of faults."""

from __future__ import annotations

import attrs

from htx_async.sandbox.rate_windows import Admission
from htx_async.sandbox.responses import SandboxResponse


@attrs.frozen
class Fault:
    """
    Failure of one response: a value, returned by the functions of `htx_async.sandbox.faults`.

    `Fault()` itself changes nothing.
    """

    @property
    def clock_offset(self) -> float:
        """Return the number of seconds that HTX's clock is ahead for this request."""
        return 0.0

    def response(self, original: SandboxResponse, _version: int, /) -> SandboxResponse:
        """Return the response to send instead of *original*, on a path of version 1 or 2."""
        return original

    def admission(self, original: Admission | None, _per: float, /) -> Admission | None:
        """Return the content of the rate-limit headers; the window lasts `per` seconds."""
        return original
