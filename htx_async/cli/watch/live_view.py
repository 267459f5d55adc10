"""Output of `htx-async watch` on a stream: a table that fits the terminal, lines, or JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from rich.console import Group, RenderableType
from rich.text import Text

from htx_async import StreamEvent
from htx_async.cli.number_format import count_of
from htx_async.cli.watch import view
from htx_async.cli.watch.live_state import LiveState
from htx_async.redaction import one_line


def render(state: LiveState, height: int) -> Group:
    """Return the screen for a terminal of *height* lines."""
    # The status comes first: a small terminal cuts off the bottom.
    changes = view.changes_table(_title(state), state.changes[: view.rows_of(height)])
    return Group(*_status(state), Text(), changes)


def summary(state: LiveState) -> Group:
    """Return what remains on the terminal after the watch: changes, last error and counts."""
    parts: list[RenderableType] = []
    if state.changes:
        parts.append(view.changes_table(_title(state), state.changes))
    if state.error is not None:
        parts.append(Text(f"The stream was not synced: {state.error}", "yellow"))
    if state.bound:
        omitted = view.omission(state.changes, state.change_count)
        parts.append(Text(f"{_counts(state)}.{omitted}"))
    return Group(*parts)


def lines(state: LiveState) -> Iterator[str]:
    """Yield a line for the change of the latest event, if it is one, with its cause."""
    if state.event is not None and (change := state.event.change) is not None:
        yield f"{view.change_line(state.changes[0])} {one_line(change.cause or '')}".rstrip()


def json_lines(state: LiveState) -> Iterator[str]:
    """Yield a JSON object for the latest event."""
    event = state.event
    if event is None:
        return
    values: dict[str, object] = {"at": view.iso_time(state.at), "kind": event.kind}
    if event.change is not None:
        values |= view.change_values(state.changes[0])
    else:
        details = (
            ("since", _iso(event.since)),
            ("until", _iso(event.until)),
            ("reason", event.reason),
            ("error", None if event.error is None else one_line(str(event.error))),
        )
        values |= {name: value for name, value in details if value is not None}
        values |= {"status": state.status, "age": round(state.age, 3), "bound": state.bound}
    yield view.json_line(values)


def notice(previous: LiveState, state: LiveState) -> str:
    """Return a message for an event that is not a change, or for a first failure, else ""."""
    return failure_notice(previous, state) if state.event is None else _describe(state.event, state)


def failure_notice(previous: LiveState, state: LiveState) -> str:
    """Return a message if the stream could not be opened, and that is new, else ""."""
    if state.event is not None or previous.error is not None:
        return ""
    return f"no stream, retrying: {state.error}"


def _describe(event: StreamEvent, state: LiveState) -> str:
    """Return what an event means; "": nothing, or it is reported elsewhere."""
    reason = (event.reason or "").replace("_", " ")
    if event.kind == "synced" and state.balance is not None and not state.change_count:
        name = f"{one_line(state.balance.type)} account {state.balance.id}"
        return f"watching {name}, synced"
    if event.kind == "gap":
        since = _clock_time(event.since)
        return f"gap from {since} to {_clock_time(event.until)}: {reason}"
    if event.kind == "resynced":
        return (
            f"resynced, gap from {_clock_time(event.since)} to {_clock_time(event.until)}: {reason}"
        )
    if event.kind == "stale":
        detail = "" if event.error is None else f": {event.error}"
        return f"not proven equal to REST for {state.age:.0f} s{detail}"
    if event.kind == "contradiction":
        return "the serial numbers of REST and of the stream are not comparable"
    if event.kind == "overflow":
        return "too many changes: some of them were joined"
    return ""


def _title(state: LiveState) -> str:
    return view.changes_title(state.balance, state.started_at)


def _status(state: LiveState) -> Iterator[Text]:
    if state.error is not None:
        yield Text(f"Not synced, retrying: {state.error}", "yellow")
    style = "dim" if state.status == "synced" else "yellow"
    yield Text(f"{_proof(state)}, {_counts(state)}. Stop: Ctrl-C", style)


def _proof(state: LiveState) -> str:
    """Return the status, and how old the proof is that the amounts are those of REST."""
    if not state.bound:
        return state.status
    return f"{state.status}, equal to REST {state.age:.0f} s ago (bound {state.bound:g} s)"


def _counts(state: LiveState) -> str:
    changes, gaps = state.change_count, state.gap_count
    return f"{count_of(changes, 'change')}, {count_of(gaps, 'gap')}"


def _iso(at: datetime | None) -> str | None:
    return None if at is None else view.iso_time(at.timestamp())


def _clock_time(at: datetime | None) -> str:
    return "now" if at is None else view.time_of_day(at.timestamp())
