"""The endpoints: their paths, limits and handlers, in one table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from htx_async.sandbox import errors
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.records import SandboxUser
from htx_async.sandbox.state import UNREADABLE, World, account_json, points_json, worth

_LONGEST_ID = 19

# As its page names them. What is valued without a type is not known: here, spot.
VALUED_TYPES = frozenset({"spot", "margin", "otc", "super-margin"})
VALUATION_CURRENCIES = frozenset(
    {"BTC", "CNY", "USD", "JPY", "KRW", "GBP", "TRY", "EUR"}
    | {"RUB", "VND", "HKD", "TWD", "MYR", "SGD", "AED", "SAR"}
)


@attrs.frozen
class Call:
    """A call that has passed all checks; *user* is `None` where nobody has to sign."""

    world: World
    user: SandboxUser | None
    variables: tuple[str, ...]
    params: Mapping[str, str]
    now: float

    @property
    def owner(self) -> SandboxUser:
        """Return the user who signed."""
        assert self.user is not None, "this endpoint is signed"
        return self.user


Handler = Callable[[Call], Any]


@attrs.frozen
class Endpoint:
    """
    An endpoint of HTX: at most *limit* requests per *per* seconds.

    They are counted per UID, over all path variables together; per IP address if nobody signs.
    *permission* is what a key needs, `None` if nobody has to sign. *well*: the field that is true
    in a version 2 envelope when all is well.
    """

    path: str
    limit: int
    per: float
    handler: Handler
    permission: str | None = "read"
    method: str = "GET"
    well: str = "success"

    @property
    def name(self) -> str:
        """Return method and path."""
        return f"{self.method} {self.path}"

    @property
    def version(self) -> int:
        """Return which envelope the path answers with: 1 or 2."""
        return 2 if self.path.startswith("/v2/") else 1

    def envelope(self, data: Any) -> dict[str, Any]:
        """Return *data* in a success envelope."""
        if self.version == 1:
            return {"status": "ok", "data": data}
        return {"code": 200, "data": data, self.well: True}

    def match(self, segments: tuple[str, ...]) -> tuple[str, ...] | None:
        """Return the path variables if *segments* are a path of this endpoint."""
        template = self.path.split("/")
        if len(template) != len(segments):
            return None
        pairs = list(zip(template, segments, strict=True))
        if any(not name.startswith("{") and name != value for name, value in pairs):
            return None
        return tuple(value for name, value in pairs if name.startswith("{"))


def find(method: str, path: str) -> tuple[Endpoint, tuple[str, ...]] | None:
    """Return the endpoint and its path variables; paths are case sensitive."""
    segments = tuple(path.split("/"))
    for endpoint in ENDPOINTS:
        variables = endpoint.match(segments)
        if variables is not None and endpoint.method == method:
            return endpoint, variables
    return None


def _accounts(call: Call) -> Any:
    return [account_json(account) for account in call.owner.accounts]


def _balance(call: Call) -> Any:
    wanted = _number(call.variables[0], "account-id")
    for account in call.owner.accounts:
        if account.id == wanted:
            if account.type in UNREADABLE:
                raise APIError(errors.OTC)
            return call.world.balance(account)
    raise APIError(errors.no_such_account(wanted, call.owner.uid))


def _points(call: Call) -> Any:
    return points_json(_asked_about(call).points)


def _valuation(call: Call) -> Any:
    kind = _one_of(VALUED_TYPES, call, "accountType", "spot")
    currency = _one_of(VALUATION_CURRENCIES, call, "valuationCurrency", "BTC")
    balance = worth(_asked_about(call), kind, currency)
    return {"balance": balance, "timestamp": int(call.now * 1000)}


def _asked_about(call: Call) -> SandboxUser:
    """Return who is asked about: oneself, or a sub user."""
    sub_uid = call.params.get("subUid")
    if sub_uid is None:
        return call.owner
    sub_user = call.world.sub_user(call.owner, _number(sub_uid, "subUid"))
    # Also for a sub user who asks: it is nobody's parent.
    if sub_user is None:
        raise APIError(errors.FORBIDDEN)
    return sub_user


def _one_of(words: frozenset[str], call: Call, field: str, absent: str) -> str:
    said = call.params.get(field, absent)
    if said not in words:
        raise APIError(errors.malformed(field))
    return said


def _timestamp(call: Call) -> Any:
    return int(call.now * 1000)


def _number(text: str, field: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= _LONGEST_ID):
        raise APIError(errors.malformed(field))
    return int(text)


# The limit of the timestamp is the one for endpoints without a stated limit.
ENDPOINTS = (
    Endpoint("/v1/account/accounts", 100, 2.0, _accounts),
    Endpoint("/v1/account/accounts/{account-id}/balance", 100, 2.0, _balance),
    Endpoint("/v2/account/asset-valuation", 100, 2.0, _valuation, well="ok"),
    Endpoint("/v2/point/account", 2, 1.0, _points),
    Endpoint("/v1/common/timestamp", 10, 1.0, _timestamp, permission=None),
)
