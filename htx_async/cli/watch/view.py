"""Output of `htx-async watch`: a table that fits the terminal, or a line for each change."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.text import Text

from htx_async import BalanceChange, RateLimitStatus
from htx_async.cli.layout import Amount, Cell, DataTable
from htx_async.cli.number_format import format_amount
from htx_async.cli.watch.state import TimedChange, WatchState
from htx_async.redaction import one_line

_OTHER_LINES = 7
"""Lines of the screen besides changes: status, title and header."""


def render(
    state: WatchState, now: float, height: int, limit: RateLimitStatus | None = None
) -> Group:
    """Return the screen at *now* (seconds since 1970), for a terminal of *height* lines."""
    # The status comes first: a small terminal cuts off the bottom.
    changes = _changes_table(state, max(height - _OTHER_LINES, 1))
    return Group(*_status(state, now, limit), Text(), changes)


def summary(state: WatchState) -> Group:
    """Return what remains on the terminal after the watch: changes, last error and counts."""
    parts: list[RenderableType] = []
    if state.changes:
        parts.append(_changes_table(state, len(state.changes)))
    if state.last_error is not None:
        parts.append(Text(f"The last update failed: {state.last_error}", "yellow"))
    if state.updates:
        omitted = state.change_count > len(state.changes)
        suffix = f" The latest {len(state.changes)} are shown." if omitted else ""
        parts.append(Text(f"{_counts(state)}.{suffix}"))
    return Group(*parts)


def _changes_table(state: WatchState, max_rows: int) -> DataTable:
    columns = ("time (UTC)", "currency", "type", "before", "now", "change")
    rows = [_row(item) for item in state.changes[:max_rows]]
    return DataTable(_title(state), columns, rows, optional=("before", "now"))


def _row(item: TimedChange) -> tuple[Cell, ...]:
    change, sign = item.change, _sign(item.change)
    amounts = (Amount(format_amount(amount)) for amount in (change.before, change.after))
    delta = Amount(sign + format_amount(change.delta), "green" if sign else "red")
    return _time(item.at), one_line(change.currency), one_line(change.type), *amounts, delta


def _title(state: WatchState) -> str:
    if state.balance is None:
        return "Waiting for the first balance"
    name = f"{one_line(state.balance.type)} account {state.balance.id}"
    return f"Changes in {name} since {_time(state.started_at)}"


def _status(state: WatchState, now: float, limit: RateLimitStatus | None) -> Iterator[Text]:
    if state.last_error is not None:
        seconds = now - (state.updated_at or state.started_at)
        yield Text(f"No balance for {seconds:.0f} s, retrying: {state.last_error}", "yellow")
    age = f" ({now - state.updated_at:.0f} s ago)" if state.updates else ""
    tokens = "" if limit is None else f", {limit.available}/{limit.limit.requests} tokens available"
    yield Text(f"{_counts(state, age)}{tokens}. Stop: Ctrl-C", "dim")


def _counts(state: WatchState, age: str = "") -> str:
    updates, changes = state.updates, state.change_count
    return f"{updates} update{'s' * (updates != 1)}{age}, {changes} change{'s' * (changes != 1)}"


def lines(state: WatchState) -> Iterator[str]:
    """Yield a line for each change of the latest balance, in the order of the balance."""
    for item in state.changes[: state.new_count]:
        change = item.change
        name = f"{one_line(change.currency)} {one_line(change.type)}"
        amounts = f"{format_amount(change.before)} -> {format_amount(change.after)}"
        yield f"{_iso(item.at)} {name} {amounts} ({_sign(change)}{format_amount(change.delta)})"


def json_lines(state: WatchState) -> Iterator[str]:
    """Yield a JSON object for each change of the latest balance."""
    for item in state.changes[: state.new_count]:
        change, account = item.change, state.balance and state.balance.id
        values = {"at": _iso(item.at), "account_id": account, **change.to_dict()}
        values["delta"] = f"{change.delta:f}"
        yield json.dumps(values, ensure_ascii=False)


def notice(previous: WatchState, state: WatchState) -> str:
    """Return a message if calls started to succeed, failed or recovered, else ""."""
    if state.last_error is not None:
        return "" if previous.last_error else f"no balance, retrying: {state.last_error}"
    if state.balance is None or (previous.updates and previous.last_error is None):
        return ""
    if previous.updates:
        return f"recovered after {state.updated_at - previous.updated_at:.0f} s"
    return f"watching {one_line(state.balance.type)} account {state.balance.id}"


def _sign(change: BalanceChange) -> str:
    return "+" if change.delta > 0 else ""


def _iso(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
