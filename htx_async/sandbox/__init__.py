"""
Local mock of HTX, for tests and demos: `Sandbox`.

It checks signatures, counts requests and responds as HTX does, for the users that it is given.
"""

from __future__ import annotations

from htx_async.sandbox import faults
from htx_async.sandbox.app import Sandbox
from htx_async.sandbox.context import ReceivedRequest
from htx_async.sandbox.fault import Fault
from htx_async.sandbox.fault_schedule import FaultSchedule
from htx_async.sandbox.fixtures import default_users
from htx_async.sandbox.rate_windows import WindowRule
from htx_async.sandbox.records import (
    APIKey,
    BalanceRow,
    DeductionSetting,
    DepositWithdrawalRow,
    HistoryRow,
    LedgerRow,
    PointsAccount,
    PointsGroup,
    SandboxAccount,
    SandboxUser,
    Valuation,
)
from htx_async.sandbox.responses import ExpireUnit
from htx_async.sandbox.world import Counters

__all__ = [
    "APIKey",
    "BalanceRow",
    "Counters",
    "DeductionSetting",
    "DepositWithdrawalRow",
    "ExpireUnit",
    "Fault",
    "FaultSchedule",
    "HistoryRow",
    "LedgerRow",
    "PointsAccount",
    "PointsGroup",
    "ReceivedRequest",
    "Sandbox",
    "SandboxAccount",
    "SandboxUser",
    "Valuation",
    "WindowRule",
    "default_users",
    "faults",
]
