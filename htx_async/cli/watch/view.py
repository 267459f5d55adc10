"""How a watch looks: a table that fits its terminal, or a line for each change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from htx_async.cli import tables
from htx_async.cli.number_format import Figure, figure, figures
from htx_async.cli.watch.state import Move, Watched
from htx_async.models.balance_diff import BalanceChange
from htx_async.ratelimit.queue import RateLimitStatus
from htx_async.redaction import one_line

_AROUND = 7
"""Lines of a screen that are no changes: title, head, status."""


def view(seen: Watched, now: float, rows: int, limit: RateLimitStatus | None = None) -> Group:
    """Return what a screen of so many rows shows at *now* (seconds since 1970)."""
    # The status comes first: what a small screen cuts off is at the bottom.
    return Group(*_status(seen, now, limit), Text(), _changes(seen, max(rows - _AROUND, 1)))


def summary(seen: Watched) -> Group:
    """Return what is left on the terminal when a watch is over: nothing of what never was."""
    parts: list[RenderableType] = []
    if seen.moves:
        parts.append(_changes(seen, len(seen.moves)))
    if seen.trouble is not None:
        parts.append(Text(f"The last read failed: {seen.trouble}", "yellow"))
    if seen.reads:
        parts.append(Text(f"{_reads(seen)}, {_moves(seen)}.{_forgotten(seen)}"))
    return Group(*parts)


def _forgotten(seen: Watched) -> str:
    kept = len(seen.moves)
    return f" The latest {kept} are shown." if seen.changes > kept else ""


def _changes(seen: Watched, most: int) -> tables.Fitting:
    shown = seen.moves[:most]
    amounts = {
        "before": [move.change.before for move in shown],
        "now": [move.change.after for move in shown],
    }
    widths = (("before", "now"), ("now",), ())
    return tables.Fitting(
        *(_table(_title(seen), shown, {name: amounts[name] for name in names}) for names in widths)
    )


def _table(title: str, shown: Sequence[Move], amounts: Mapping[str, Sequence[Decimal]]) -> Table:
    table = tables.plain(title, "time (UTC)", "currency", "type")
    by = ("by", [move.change.delta for move in shown])
    rows = figures(table, *amounts.items(), by)
    for move, (*now, delta) in zip(shown, rows, strict=True):
        names = map(one_line, (move.change.currency, move.change.type))
        sign = _sign(move.change)
        moved = Figure(f"{sign}{delta.text}", "green" if sign else "red")
        table.add_row(_clock(move.at), *names, *now, moved)
    return table


def _title(seen: Watched) -> str:
    if seen.balance is None:
        return "Watching: nothing was read yet"
    balance = seen.balance
    return f"Changes in {one_line(balance.type)} account {balance.id} since {_clock(seen.began)}"


def _status(seen: Watched, now: float, limit: RateLimitStatus | None) -> Iterator[Text]:
    if seen.trouble is not None:
        since = seen.read_at or seen.began
        yield Text(f"No balance for {now - since:.0f} s, asking on: {seen.trouble}", "yellow")
    age = f" last {now - seen.read_at:.0f} s ago," if seen.reads else ""
    yield Text(f"{_reads(seen)},{age} {_moves(seen)}.{_left(limit)} Ctrl-C ends it.", "dim")


def _reads(seen: Watched) -> str:
    return f"{seen.reads} read{'s' * (seen.reads != 1)}"


def _moves(seen: Watched) -> str:
    return f"{seen.changes} change{'s' * (seen.changes != 1)}"


def _left(limit: RateLimitStatus | None) -> str:
    return "" if limit is None else f" {limit.available}/{limit.limit.requests} tokens free."


def lines(seen: Watched) -> Iterator[str]:
    """Yield a line for each change of the latest read, in the order of the balance."""
    for move in seen.moves[: seen.fresh]:
        change = move.change
        what = f"{one_line(change.currency)} {one_line(change.type)}"
        amounts = f"{figure(change.before)} -> {figure(change.after)}"
        by = f"{_sign(change)}{figure(change.delta)}"
        yield f"{datetime.fromtimestamp(move.at, UTC):%Y-%m-%dT%H:%M:%SZ} {what} {amounts} ({by})"


def notice(before: Watched, seen: Watched) -> str:
    """Return what has to be told of the reads themselves, or "": they begin, fail or go on."""
    if seen.trouble is not None:
        return "" if before.trouble is not None else f"no balance, asking on: {seen.trouble}"
    if seen.balance is None or (before.reads and before.trouble is None):
        return ""
    if before.reads:
        return f"balances again, after {seen.read_at - before.read_at:.0f} s"
    return f"watching {one_line(seen.balance.type)} account {seen.balance.id}"


def _sign(change: BalanceChange) -> str:
    return "+" if change.delta > 0 else ""


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
