"""What happens to a stream of live balances."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import attrs

from htx_async.errors import HTXError
from htx_async.models.balance_diff import BalanceChange

StreamStatus = Literal[
    "connecting",
    "authenticating",
    "subscribing",
    "syncing",
    "synced",
    "suspect",
    "disconnected",
    "closed",
]
"""
The stream is connecting, authenticating, subscribing; it is subscribed, and the first merge with
REST is pending; everything is proven; `age` is above `bound`, or REST cannot be reached; it waits
to reconnect, or HTX refused the key; it was left.
"""

StreamEventKind = Literal[
    "changed",
    "synced",
    "gap",
    "resynced",
    "stale",
    "contradiction",
    "overflow",
    "refused",
]

GapReason = Literal["disconnected", "lost_push", "resubscribed"]


@attrs.frozen(kw_only=True)
class StreamEvent:
    """
    Something that happened to a stream. It contains no secret.

    Attributes:
        kind: What happened. `changed`: an amount; `synced`: everything that is shown is proven;
            `gap`: changes may have been missed; `resynced`: a gap is over; `stale`: the proof is
            older than the bound, or REST cannot be read; `contradiction`: the numbers of REST and
            pushes are not comparable; `overflow`: the buffer of a consumer was conflated;
            `refused`: HTX refused the key, and the stream does not reconnect.
        change: `changed`: the change.
        since: `gap` and `resynced`: when the state was last known to be complete.
        until: `resynced`, and a `gap` that is over: when it was complete again.
        reason: `gap` and `resynced`: `disconnected`, `lost_push` or `resubscribed`.
        error: `refused`: the error; `stale`: why REST could not be read.
    """

    kind: StreamEventKind
    change: BalanceChange | None = None
    since: datetime | None = None
    until: datetime | None = None
    reason: GapReason | None = None
    error: HTXError | None = None
