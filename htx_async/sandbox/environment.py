"""What the two interfaces of a sandbox, REST and streams, share."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from htx_async.clock import Clock
from htx_async.sandbox.context import ReceivedRequest
from htx_async.sandbox.fault_schedule import FaultSchedule
from htx_async.sandbox.world import World


@attrs.frozen
class Environment:
    """
    Data, faults and time of a sandbox, and where its requests are recorded.

    *limit_factor*: factor for HTX's limits; `None`: nothing is counted.
    """

    world: World
    faults: FaultSchedule
    clock: Clock
    record: Callable[[ReceivedRequest], object]
    limit_factor: float | None
