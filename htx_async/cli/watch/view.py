"""Output of `htx-async watch --poll`; and the table and the lines of changes of every watch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Group, RenderableType
from rich.text import Text

from htx_async import AccountBalance, BalanceChange, RateLimitStatus
from htx_async.cli.layout import Amount, Cell, DataTable
from htx_async.cli.number_format import count_of, format_amount
from htx_async.cli.watch.state import TimedChange, WatchState
from htx_async.redaction import one_line

_OTHER_LINES = 7
"""Lines of the screen besides changes: status, title and header."""


def render(
    state: WatchState, now: float, height: int, limit: RateLimitStatus | None = None
) -> Group:
    """Return the screen at *now* (seconds since 1970), for a terminal of *height* lines."""
    # The status comes first: a small terminal cuts off the bottom.
    changes = changes_table(_title(state), state.changes[: rows_of(height)])
    return Group(*_status(state, now, limit), Text(), changes)


def summary(state: WatchState) -> Group:
    """Return what remains on the terminal after the watch: changes, last error and counts."""
    parts: list[RenderableType] = []
    if state.changes:
        parts.append(changes_table(_title(state), state.changes))
    if state.last_error is not None:
        parts.append(Text(f"The last update failed: {state.last_error}", "yellow"))
    if state.updates:
        parts.append(Text(f"{_counts(state)}.{omission(state.changes, state.change_count)}"))
    return Group(*parts)


def rows_of(height: int) -> int:
    """Return the number of changes that a terminal of *height* lines shows."""
    return max(height - _OTHER_LINES, 1)


def changes_table(title: str, changes: Sequence[TimedChange]) -> DataTable:
    """Return a table of changes, which omits amounts on a narrow terminal."""
    columns = ("time (UTC)", "currency", "type", "before", "now", "change")
    return DataTable(title, columns, list(map(_row, changes)), optional=("before", "now"))


def changes_title(balance: AccountBalance | None, started_at: float) -> str:
    """Return the title of the changes in an account; `None`: it is not known yet."""
    if balance is None:
        return "Waiting for the first balance"
    name = f"{one_line(balance.type)} account {balance.id}"
    return f"Changes in {name} since {time_of_day(started_at)}"


def omission(changes: Sequence[TimedChange], count: int) -> str:
    """Return a sentence about the number of *count* changes that are shown, if not all are."""
    return f" The latest {len(changes)} are shown." if count > len(changes) else ""


def _row(item: TimedChange) -> tuple[Cell, ...]:
    change, sign = item.change, _sign(item.change)
    amounts = (Amount(format_amount(amount)) for amount in (change.before, change.after))
    delta = Amount(sign + format_amount(change.delta), "green" if sign else "red")
    return time_of_day(item.at), one_line(change.currency), one_line(change.type), *amounts, delta


def _title(state: WatchState) -> str:
    return changes_title(state.balance, state.started_at)


def _status(state: WatchState, now: float, limit: RateLimitStatus | None) -> Iterator[Text]:
    if state.last_error is not None:
        seconds = now - (state.updated_at or state.started_at)
        yield Text(f"No balance for {seconds:.0f} s, retrying: {state.last_error}", "yellow")
    age = f" ({now - state.updated_at:.0f} s ago)" if state.updates else ""
    tokens = "" if limit is None else f", {limit.available}/{limit.limit.requests} tokens available"
    yield Text(f"{_counts(state, age)}{tokens}. Stop: Ctrl-C", "dim")


def _counts(state: WatchState, age: str = "") -> str:
    changes = count_of(state.change_count, "change")
    return f"{count_of(state.updates, 'update')}{age}, {changes}"


def lines(state: WatchState) -> Iterator[str]:
    """Yield a line for each change of the latest balance, in the order of the balance."""
    for item in state.changes[: state.new_count]:
        yield change_line(item)


def json_lines(state: WatchState) -> Iterator[str]:
    """Yield a JSON object for each change of the latest balance."""
    for item in state.changes[: state.new_count]:
        yield json_line({"at": iso_time(item.at), **change_values(item)})


def change_line(item: TimedChange) -> str:
    """Return a change on one line."""
    change = item.change
    name = f"{one_line(change.currency)} {one_line(change.type)}"
    amounts = f"{format_amount(change.before)} -> {format_amount(change.after)}"
    return f"{iso_time(item.at)} {name} {amounts} ({_sign(change)}{format_amount(change.delta)})"


def change_values(item: TimedChange) -> dict[str, object]:
    """Return the values of a change for JSON."""
    return {**item.change.to_dict(), "delta": f"{item.change.delta:f}"}


def json_line(values: Mapping[str, object]) -> str:
    """Return a JSON object on one line."""
    return json.dumps(values, ensure_ascii=False)


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


def iso_time(at: float) -> str:
    """Return a time as in ISO 8601, to the second."""
    return f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H:%M:%SZ}"


def time_of_day(at: float) -> str:
    """Return the time of day, in UTC."""
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
