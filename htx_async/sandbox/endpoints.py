"""
Endpoints of the sandbox: for each one its declaration, and the handler that returns the data.

Everything else that depends on the endpoints reads `ENDPOINTS`, and the routes of a sandbox.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from decimal import Decimal
from typing import Any

import msgspec

from htx_async.sandbox import errors
from htx_async.sandbox.context import RequestContext, parse_id
from htx_async.sandbox.endpoint import Endpoint
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.records import SandboxAccount
from htx_async.sandbox.state import OTC, valuation_of

Handler = Callable[[RequestContext], Any]

_encode_numbers = msgspec.json.Encoder(decimal_format="number").encode

ENDPOINTS: dict[Endpoint, Handler] = {}
"""All endpoints, in the order of their declarations."""


def serves(endpoint: Endpoint) -> Callable[[Handler], Handler]:
    """Declare that the decorated handler serves *endpoint*."""

    def declare(handler: Handler) -> Handler:
        ENDPOINTS[endpoint] = handler
        return handler

    return declare


def find(
    method: str, path: str, endpoints: Iterable[Endpoint] = ENDPOINTS
) -> tuple[Endpoint | None, tuple[str, ...]]:
    """Return the endpoint and the values of its path variables. Paths are case sensitive."""
    for endpoint in endpoints:
        variables = endpoint.match(method, path)
        if variables is not None:
            return endpoint, variables
    return None, ()


@serves(Endpoint("/v1/account/accounts", limit=100, per=2.0))
def list_accounts(context: RequestContext) -> Any:
    """Return the accounts of the owner."""
    return [
        {
            "id": account.id,
            "type": account.type,
            "subtype": account.subtype,
            "state": account.state,
        }
        for account in context.owner.accounts
    ]


@serves(Endpoint("/v1/account/accounts/{account-id}/balance", limit=100, per=2.0))
def account_balance(context: RequestContext) -> Any:
    """Return the balance of one account of the owner."""
    account_id = parse_id(context.variables[0], "account-id")
    account = context.state.account(context.owner, account_id)
    if account is None:
        raise APIError(errors.no_such_account(account_id, context.owner.uid))
    if account.type == OTC:
        raise APIError(errors.OTC_NOT_SUPPORTED)
    return _encoded_balance(account)


@functools.lru_cache(maxsize=128)
def _encoded_balance(account: SandboxAccount) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(balance_json(account)))


def balance_json(account: SandboxAccount) -> dict[str, Any]:
    """Return the balance of *account* as it is sent."""
    rows = [
        {
            "currency": row.currency,
            "type": row.type,
            "balance": row.balance,
            "debt": row.debt,
            "available": row.available,
            "seq-num": row.seq_num,
        }
        for row in account.rows
    ]
    return {
        "id": account.id,
        "type": account.type,
        "state": account.state,
        "list": [{name: text for name, text in row.items() if text is not None} for row in rows],
    }


# As the page names them. The type that HTX values without one is not known: here, spot.
_VALUED_TYPES = frozenset({"spot", "margin", "otc", "super-margin"})
_VALUATION_CURRENCIES = frozenset(
    {"BTC", "CNY", "USD", "JPY", "KRW", "GBP", "TRY", "EUR"}
    | {"RUB", "VND", "HKD", "TWD", "MYR", "SGD", "AED", "SAR"}
)


@serves(Endpoint("/v2/account/asset-valuation", limit=100, per=2.0, success_field="ok"))
def asset_valuation(context: RequestContext) -> Any:
    """Return the value of the subject's accounts of one type."""
    account_type = context.choice("accountType", _VALUED_TYPES, "spot")
    currency = context.choice("valuationCurrency", _VALUATION_CURRENCIES, "BTC")
    balance = valuation_of(context.subject, account_type, currency)
    return {"balance": balance, "timestamp": int(context.now * 1000)}


# HTX's numbers of the types that the sandbox has valuations of.
_DISTRIBUTION_TYPES = {"spot": "1", "margin": "2", "super-margin": "3", "otc": "5"}


@serves(Endpoint("/v2/account/valuation", limit=3, per=1.0))
def platform_valuation(context: RequestContext) -> Any:
    """Return the value of the owner's accounts, by type. HTX supports BTC only."""
    currency = context.choice("valuationCurrency", frozenset({"BTC"}), "BTC")
    numbers = frozenset(map(str, range(1, 17)))
    wanted = {context.choice("accountType", numbers, "")} if "accountType" in context.params else ()
    parts = [
        {
            "distributionType": number,
            "balance": Decimal(value := valuation_of(context.owner, account_type, currency)),
            "success": True,
            "accountBalance": value,
        }
        for account_type, number in _DISTRIBUTION_TYPES.items()
        if number in wanted or not wanted
    ]
    balances = [Decimal(str(part["accountBalance"])) for part in parts]
    data = {
        "updated": {"success": True, "time": int(context.now * 1000)},
        "todayProfitRate": "0.004638293764657609",
        "totalBalance": f"{sum(balances, Decimal(0)):f}",
        "todayProfit": "0.00028977",
        "profitAccountBalanceList": parts,
    }
    return msgspec.Raw(_encode_numbers(data))


# As the page's example: its table has other names. The envelope is that of v2 paths.
@serves(Endpoint("/v1/account/switch/user/info", limit=5, per=1.0, envelope_version=2))
def deduction_switches(context: RequestContext) -> Any:
    """Return what pays the owner's fees."""
    setting = context.owner.deduction
    has_currency = setting.currency != "0" and not setting.points
    return {
        "pointSwitch": str(int(setting.points)),
        "htxSwitch": str(int(has_currency)),
        "currency": setting.currency,
    }


@serves(Endpoint("/v1/account/overview/info", limit=5, per=1.0, envelope_version=2))
def deductible_currencies(context: RequestContext) -> Any:
    """Return the currencies that may pay fees."""
    return {"currency": ",".join(context.owner.deduction.currencies)}


@serves(Endpoint("/v2/point/account", limit=2, per=1.0))
def points_balance(context: RequestContext) -> Any:
    """Return the points of the subject."""
    points = context.subject.points
    groups = [
        {"groupId": group.group_id, "expiryDate": group.expiry_date, "remainAmt": group.remain_amt}
        for group in points.groups
    ]
    return {
        "accountId": points.account_id,
        "groupIds": groups,
        "acctBalance": points.acct_balance,
        "accountStatus": points.account_status,
    }


# The limit is that of endpoints without a documented one.
@serves(Endpoint("/v1/common/timestamp", limit=10, per=1.0, permission=None))
def timestamp(context: RequestContext) -> Any:
    """Return HTX's time in milliseconds."""
    return int(context.now * 1000)
