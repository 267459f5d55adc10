"""Value of a user's assets."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

import attrs

from htx_async.models.base import Model
from htx_async.models.enums import DistributionType
from htx_async.models.schema import wire

__all__ = ["AssetValuation", "DistributionValuation", "PlatformValuation", "ValuationUpdate"]


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


@attrs.frozen(repr=False)
class DistributionValuation(Model):
    """
    Part of a platform valuation.

    Attributes:
        distribution_type: The accounts that it is of, such as `DistributionType.SPOT`.
        balance: The value, as HTX writes it as a number.
        success: Whether HTX could value them. If not, both amounts are 0.
        account_balance: The value, as HTX writes it as text.
    """

    distribution_type: DistributionType = attrs.field(metadata=wire("distributionType"))
    balance: Decimal | None = attrs.field(metadata=wire("balance", default=None))
    success: bool = attrs.field(metadata=wire("success"))
    account_balance: Decimal = attrs.field(metadata=wire("accountBalance"))


@attrs.frozen(repr=False)
class ValuationUpdate(Model):
    """
    When HTX updated a platform valuation.

    Attributes:
        success: Whether it was updated today; `None` if HTX did not send it.
        time: When, in UTC; `None` if HTX did not send it.
    """

    success: bool | None = attrs.field(metadata=wire("success", default=None))
    time: datetime | None = attrs.field(metadata=wire("time", default=None))


@attrs.frozen(repr=False)
class PlatformValuation(Model):
    """
    Value of all assets on HTX's platform.

    Attributes:
        total_balance: The value, in the currency that was requested.
        today_profit: Profit of today; below 0: a loss. `None` if HTX did not send it.
        today_profit_rate: The profit as a fraction; `None` if HTX did not send it.
        profit_account_balance_list: The parts. Check `success` of each: one that HTX could not
            value is 0.
        updated: When HTX updated it; `None` if HTX did not send it.
    """

    total_balance: Decimal = attrs.field(metadata=wire("totalBalance"))
    today_profit: Decimal | None = attrs.field(metadata=wire("todayProfit", default=None))
    today_profit_rate: Decimal | None = attrs.field(metadata=wire("todayProfitRate", default=None))
    profit_account_balance_list: tuple[DistributionValuation, ...] = attrs.field(
        metadata=wire("profitAccountBalanceList", default=())
    )
    updated: ValuationUpdate | None = attrs.field(metadata=wire("updated", default=None))
