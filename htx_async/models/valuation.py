"""What the assets of a user are worth."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import attrs

from htx_async.models.base import Model
from htx_async.models.decoding import wire


@attrs.frozen(repr=False)
class AssetValuation(Model):
    """
    What assets are worth.

    Attributes:
        balance: Their worth, in units of the currency that was asked for.
        timestamp: When that was, in UTC; `None`: HTX did not say.
    """

    balance: Decimal = wire("balance")
    timestamp: datetime | None = wire("timestamp", absent=None)
