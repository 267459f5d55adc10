"""Endpoints of lists: history, ledger, deposits and withdrawals, with their windows and pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

from htx_async.models.enums import TransactType
from htx_async.sandbox import errors, examples
from htx_async.sandbox.context import RequestContext, parse_id
from htx_async.sandbox.endpoint import Endpoint, PageOf
from htx_async.sandbox.endpoints import serves
from htx_async.sandbox.errors import APIError
from htx_async.sandbox.records import DepositWithdrawalRow, HistoryRow, LedgerRow

T = TypeVar("T", HistoryRow, LedgerRow)

_HOUR, _DAY = 3_600_000, 86_400_000
_TOLERANCE = 60_000
"""Milliseconds that a window may be outside of what HTX keeps. How exact HTX is, is not known."""
_MAX_SIZE, _DEFAULT_SIZE = 500, 100
_CURRENCY = re.compile("[a-z0-9]{2,10}")
_TYPES = frozenset[str](TransactType)

_encode = msgspec.json.Encoder(decimal_format="number").encode


@serves(Endpoint("/v1/account/history", limit=5, per=2.0))
def history(context: RequestContext) -> Any:
    """Return the changes of an account of the owner, at most an hour."""
    account_id = _account_id(context, "account-id")
    start, end = _window(context, ("start-time", "end-time"), _HOUR, 30 * _DAY)
    rows = [row for row in context.owner.history if row.account_id == account_id]
    if context.owner.has_examples:
        rows += examples.history(context.owner, account_id, start, end)
    rows = _matching(context, rows, "transact-types", start, end)
    ids = [row.record_id for row in rows]
    page = _page(context, rows, ids, ("size", "from-id"), "asc")
    return PageOf([_history_json(row) for row in page.rows], page.next_id)


def _history_json(row: HistoryRow) -> Any:
    return {
        "account-id": row.account_id,
        "currency": row.currency,
        "record-id": row.record_id,
        "transact-amt": row.transact_amt,
        "transact-type": row.transact_type,
        "avail-balance": row.avail_balance,
        "acct-balance": row.acct_balance,
        "transact-time": row.transact_time,
    }


# The limit is that of endpoints without a documented one.
@serves(Endpoint("/v2/account/ledger", limit=10, per=1.0, success_field="ok"))
def ledger(context: RequestContext) -> Any:
    """Return the transfers of an account of the owner, at most ten days. Amounts are numbers."""
    account_id = _account_id(context, "accountId")
    start, end = _window(context, ("startTime", "endTime"), 10 * _DAY, 180 * _DAY)
    rows = [row for row in context.owner.ledger if row.account_id == account_id]
    if context.owner.has_examples:
        rows += examples.ledger(context.owner, account_id, start, end)
    rows = _matching(context, rows, "transactTypes", start, end)
    # HTX does not document what an id is: here, the time and the number of records before it.
    times = [row.transact_time for row in rows]
    ids = [time * 1000 + times[:index].count(time) for index, time in enumerate(times)]
    # In the page's example the newest is the first.
    page = _page(context, rows, ids, ("limit", "fromId"), "desc")
    return PageOf(msgspec.Raw(_encode([_ledger_json(row) for row in page.rows])), page.next_id)


def _ledger_json(row: LedgerRow) -> Any:
    return {
        "accountId": row.account_id,
        "currency": row.currency,
        "transactAmt": Decimal(row.transact_amt),
        "transactType": row.transact_type,
        "transferType": row.transfer_type,
        "transactId": row.transact_id,
        "transactTime": row.transact_time,
        "transferer": row.transferer,
        "transferee": row.transferee,
    }


@serves(Endpoint("/v1/query/deposit-withdraw", limit=20, per=2.0))
def deposits_withdrawals(context: RequestContext) -> Any:
    """Return deposits or withdrawals of the owner. Amounts are numbers."""
    context.required("type")
    kind = context.choice("type", frozenset({"deposit", "withdraw"}), "")
    if kind == "withdraw" and context.owner.parent is not None:
        raise APIError(errors.FORBIDDEN)
    direction = context.choice("direct", frozenset({"prev", "next"}), "next")
    rows = [row for row in context.owner.deposits_withdrawals if row.type == kind]
    rows.sort(key=lambda row: row.id, reverse=direction == "next")
    rows = [row for row in rows if context.params.get("currency", row.currency) == row.currency]
    if "from" in context.params:  # included: "to begin search", HTX's page of it
        first = parse_id(context.params["from"], "from")
        rows = [
            row for row in rows if (row.id <= first if direction == "next" else row.id >= first)
        ]
    size = _size(context, "size")
    return msgspec.Raw(_encode([_deposit_withdrawal_json(row) for row in rows[:size]]))


def _deposit_withdrawal_json(row: DepositWithdrawalRow) -> Any:
    return {
        "id": row.id,
        "type": row.type,
        "sub-type": row.sub_type,
        "currency": row.currency,
        "chain": row.chain,
        "tx-hash": row.tx_hash,
        "amount": Decimal(row.amount),
        "from-addr-tag": "",
        "address": row.address,
        "address-tag": "",
        "fee": Decimal(row.fee),
        "state": row.state,
        "created-at": row.created_at,
        "updated-at": row.created_at,
    }


def _account_id(context: RequestContext, field: str) -> int:
    account_id = parse_id(context.required(field), field)
    if context.state.account(context.owner, account_id) is None:
        raise APIError(errors.no_such_account(account_id, context.owner.uid))
    return account_id


def _window(
    context: RequestContext, fields: tuple[str, str], length: int, kept: int
) -> tuple[int, int]:
    """Return the window of a request. Without times it is the latest one."""
    now = int(context.now * 1000)
    end = context.integer(fields[1], now)
    start = context.integer(fields[0], end - length)
    if start < now - kept - _TOLERANCE or start > end:
        raise APIError(errors.out_of_range(fields[0]))
    if end > now + _TOLERANCE or end - start > length:
        raise APIError(errors.out_of_range(fields[1]))
    return start, end


def _matching(
    context: RequestContext, rows: Sequence[T], types_field: str, start: int, end: int
) -> list[T]:
    """
    Return the rows of a window that have the currency and one of the types in the query.

    They are ordered by time; those of one time as they were added.
    """
    currency = context.params.get("currency")
    if currency is not None and not _CURRENCY.fullmatch(currency):
        raise APIError(errors.malformed("currency"))
    types = frozenset(context.params.get(types_field, ",".join(_TYPES)).split(","))
    if not types <= _TYPES:
        raise APIError(errors.malformed(types_field))
    matching = [
        row
        for row in rows
        if start <= row.transact_time <= end
        and currency in {None, row.currency}
        and row.transact_type in types
    ]
    return sorted(matching, key=lambda row: row.transact_time)


def _size(context: RequestContext, field: str) -> int:
    size = context.integer(field, _DEFAULT_SIZE)
    if not 1 <= size <= _MAX_SIZE:
        raise APIError(errors.malformed(field))
    return size


def _page(
    context: RequestContext, rows: list[T], ids: list[int], fields: tuple[str, str], order: str
) -> PageOf:
    """Return the page that begins with the id in the query; *fields*: its size and that id."""
    size, first = _size(context, fields[0]), 0
    if context.choice("sort", frozenset({"asc", "desc"}), order) == "desc":
        rows, ids = rows[::-1], ids[::-1]
    if fields[1] in context.params:
        from_id = parse_id(context.params[fields[1]], fields[1])
        if from_id not in ids:
            raise APIError(errors.no_such_record(fields[1]))
        first = ids.index(from_id)
    last = first + size
    return PageOf(rows[first:last], ids[last] if last < len(ids) else None)
