"""Value of a user's assets."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import attrs

from htx_async.models.base import Model
from htx_async.models.schema import wire

__all__ = ["AssetValuation"]


@attrs.frozen(repr=False)
class AssetValuation(Model):
    """
    Value of assets.

    Attributes:
        balance: The value, in the currency that was requested.
        timestamp: Time of the valuation, in UTC; `None` if HTX did not send it.
    """

    balance: Decimal = attrs.field(metadata=wire("balance"))
    timestamp: datetime | None = attrs.field(metadata=wire("timestamp", default=None))
