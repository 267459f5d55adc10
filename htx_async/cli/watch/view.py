"""Output of `htx-async watch`: a table that fits the terminal, or a line for each change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

import attrs
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from htx_async import BalanceChange, RateLimitStatus
from htx_async.cli.number_format import add_amount_columns, format_amount
from htx_async.cli.tables import WidestThatFits, new_table
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


def _changes_table(state: WatchState, max_rows: int) -> WidestThatFits:
    changes = state.changes[:max_rows]
    before = [item.change.before for item in changes]
    after = [item.change.after for item in changes]
    title = _title(state)
    return WidestThatFits(
        _table(title, changes, {"before": before, "now": after}),
        _table(title, changes, {"now": after}),
        _table(title, changes, {}),
    )


def _table(
    title: str, changes: Sequence[TimedChange], amounts: Mapping[str, Sequence[Decimal]]
) -> Table:
    table = new_table(title, "time (UTC)", "currency", "type")
    deltas = ("change", [item.change.delta for item in changes])
    rows = add_amount_columns(table, *amounts.items(), deltas)
    for item, (*cells, delta) in zip(changes, rows, strict=True):
        names = map(one_line, (item.change.currency, item.change.type))
        sign = _sign(item.change)
        signed = attrs.evolve(delta, text=sign + delta.text, style="green" if sign else "red")
        table.add_row(_time(item.at), *names, *cells, signed)
    return table


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
        delta = f"{_sign(change)}{format_amount(change.delta)}"
        at = datetime.fromtimestamp(item.at, UTC)
        yield f"{at:%Y-%m-%dT%H:%M:%SZ} {name} {amounts} ({delta})"


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


def _time(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
