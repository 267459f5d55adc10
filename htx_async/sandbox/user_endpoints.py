"""Endpoints of users: UID, API keys and sub users."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal, localcontext
from itertools import dropwhile
from typing import Any

from htx_async.sandbox import errors
from htx_async.sandbox.context import RequestContext, parse_id
from htx_async.sandbox.endpoint import Endpoint, PageOf
from htx_async.sandbox.endpoints import balance_json, serves
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.records import APIKey, SandboxUser
from htx_async.sandbox.state import OTC

_PAGE_SIZE = 100
_PRECISION = 1000  # digits: more than any sum of amounts has
_CREATED = 1_615_192_704_000
_PERMISSIONS = {"read": "readOnly"}  # as this endpoint names it
_ACCOUNT_TYPES = {"spot": "spot", "margin": "isolated-margin", "super-margin": "cross-margin"}

# The limit of the first four is that of endpoints without a documented one.


@serves(Endpoint("/v2/user/uid", limit=10, per=1.0, success_field=""))
def uid(context: RequestContext) -> Any:
    """Return the UID of the owner."""
    return context.owner.uid


@serves(Endpoint("/v2/user/api-key", limit=10, per=1.0, success_field="ok"))
def api_keys(context: RequestContext) -> Any:
    """Return the keys of a parent user, or of one of its sub users."""
    parent, uid = context.parent, parse_id(context.required("uid"), "uid")
    user = parent if uid == parent.uid else context.state.sub_user(parent, uid)
    if user is None:
        raise APIError(errors.FORBIDDEN)
    access_key = context.params.get("accessKey")
    return [_key_json(key) for key in user.keys if access_key in {None, key.access_key}]


def _key_json(key: APIKey) -> Any:
    return {
        "accessKey": key.access_key,
        "status": "expired" if key.expired else "normal",
        "note": key.note,
        "permission": ",".join(_PERMISSIONS.get(name, name) for name in key.permissions),
        "ipAddresses": ",".join(key.ip_addresses),
        "validDays": key.valid_days,
        "createTime": _CREATED,
        "updateTime": _CREATED,
    }


@serves(Endpoint("/v2/sub-user/user-list", limit=10, per=1.0, success_field=""))
def sub_users(context: RequestContext) -> Any:
    """Return the sub users of a parent user, in ascending order of UIDs."""
    users = context.state.sub_users(context.parent)
    if "fromId" in context.params:
        first = parse_id(context.params["fromId"], "fromId")
        users = tuple(dropwhile(lambda user: user.uid != first, users))
        if not users:
            raise APIError(errors.no_such_record("fromId"))
    following = users[_PAGE_SIZE].uid if len(users) > _PAGE_SIZE else None
    return PageOf([_sub_user_json(user) for user in users[:_PAGE_SIZE]], following)


def _sub_user_json(user: SandboxUser) -> Any:
    return {"uid": user.uid, "userState": user.state, "subUserName": user.name, "note": ""}


@serves(Endpoint("/v2/sub-user/account-list", limit=10, per=1.0, success_field=""))
def sub_user_accounts(context: RequestContext) -> Any:
    """Return the accounts of a sub user, by type."""
    context.required("subUid")
    user = context.subject
    return {
        "uid": user.uid,
        "deductMode": "sub",
        "list": [_accounts_json(user, *names) for names in _ACCOUNT_TYPES.items()],
    }


def _accounts_json(user: SandboxUser, type_: str, name: str) -> Any:
    accounts = [account for account in user.accounts if account.type == type_]
    if not accounts:
        return {"accountType": name, "activation": "deactivated"}
    ids: list[dict[str, Any]] = [
        {"accountId": account.id, "accountStatus": "normal"}
        | ({"subType": account.subtype} if account.subtype else {})
        for account in accounts
    ]
    transferrable = {"transferrable": True} if type_ == "spot" else {}
    return {"accountType": name, "activation": "activated", **transferrable, "accountIds": ids}


@serves(Endpoint("/v1/account/accounts/{sub-uid}", limit=20, per=2.0))
def sub_user_balance(context: RequestContext) -> Any:
    """Return the balances of all accounts of a sub user."""
    uid = parse_id(context.variables[0], "sub-uid")
    user = context.state.sub_user(context.parent, uid)
    if user is None:
        raise APIError(errors.FORBIDDEN)
    return [
        balance_json(account) | {"symbol": account.subtype}
        for account in user.accounts
        if account.type != OTC
    ]


@serves(Endpoint("/v1/subuser/aggregate-balance", limit=2, per=2.0))
def aggregate_balance(context: RequestContext) -> Any:
    """Return the balances of all sub users of a parent user, by type and currency."""
    amounts: defaultdict[tuple[str, str], Decimal] = defaultdict(Decimal)
    with localcontext(prec=_PRECISION):
        for user in context.state.sub_users(context.parent):
            for account in user.accounts:
                for row in account.rows:
                    if row.type in {"trade", "frozen"}:
                        amounts[account.type, row.currency] += Decimal(row.balance)
    return [
        {"currency": currency, "balance": f"{amount:f}", "type": type_}
        for (type_, currency), amount in amounts.items()
    ]
