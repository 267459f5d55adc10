"""What a caller may decide, for a client or for a few calls of it."""

from __future__ import annotations

from typing import cast

import msgspec

from htx_async import validation
from htx_async.errors import InvalidInputError
from htx_async.retry import RetryPolicy


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """
    How a read is made.

    Attributes:
        timeout: Seconds for the whole call: waiting, connecting, reading, repeating.
        retry: What is repeated, how often and how soon.
        share: Whether it may share a request with equal reads that still wait.
        max_wait: Seconds that it may wait for a token; 0: not at all; `None`: up to `timeout`.
        max_waiting: Reads that may wait at a time, this one included; `None`: any number.
    """

    timeout: float = 30.0
    retry: RetryPolicy = RetryPolicy()
    share: bool = True
    max_wait: float | None = None
    max_waiting: int | None = None

    def __post_init__(self) -> None:
        validation.seconds(self.timeout, "timeout")
        given = cast("object", self.retry)
        if not isinstance(given, RetryPolicy):
            msg = f"retry must be a RetryPolicy or NO_RETRY, not {type(given).__name__}"
            raise InvalidInputError(msg)
        if self.max_wait is not None and self.max_wait != 0:
            validation.seconds(self.max_wait, "max_wait")
        if self.max_waiting is not None:
            validation.at_least(self.max_waiting, 0, "max_waiting")
