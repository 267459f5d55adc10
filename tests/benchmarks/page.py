"""The table of the limiters, and the page around it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Final

from tests.benchmarks.results import Results, Row
from tests.benchmarks.servers import SERVERS

_LEAST_SHARE: Final = 0.99
_MOST_MICROSECONDS: Final = 10.0

_HEAD: Final = ("limiter", "rule", *SERVERS, "rate", "wait", "order", "µs", "lost")
_LEGEND: Final = """\
- rule: requests in seconds. A star: the rough network
- fixed, log, bucket: refusals by a server with fixed windows, a sliding log, a token bucket
- rate: requests sent in steady state, in per cent of what is allowed
- wait: the longest, in seconds; order: kept, or the share of requests that were overtaken
- µs: acquire and release while there are tokens, the median and where nine of ten rounds lie
- lost: how many requests fewer go in a period after 1,000 cancellations and a period of rest
"""
_HOW: Final = """\
Two hundred tasks at a time want to send, 10,000 requests in all, on virtual time. The network
takes 5 to 80 ms each way, at random, with a seed; the *rough* one lets 50 of every 1,000 requests
take half a second more on their way up, and gets ten times faster in the middle. Nobody knows how
HTX counts, so three servers count the same requests, each in its own way; a refused request is
not repeated. The other limiters are called as their users do, in front of the sending, and their
clocks are replaced by the virtual one; the threads that two of them have for clearing up do not
run beside it. *plain bucket* is a control, a bucket of `limit` that gets `limit / per` a second.
The costs are measured in real time, all limiters in turn.
"""


def report(results: Results) -> str:
    """Return the table as it is printed, and what it means for the goals."""
    parts = (_machine(results), _LEGEND, _table(results), _goals(results))
    return "\n".join(parts)


def page(results: Results, command: str) -> str:
    """Return the page."""
    return "\n".join(
        (
            "# The limiter, measured\n",
            _HOW,
            f"```sh\n{command}\n```\n",
            _machine(results),
            _LEGEND,
            _table(results),
            "## The goals\n",
            _goals(results),
            "## What it shows\n",
            _findings(results),
        )
    )


def _machine(results: Results) -> str:
    packages = ", ".join(f"{name} {at or '(absent)'}" for name, at in results.packages.items())
    return f"{results.machine}.\n{packages}.\n"


def _table(results: Results) -> str:
    lines = [_HEAD, *(_cells(results, row) for row in results.rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEAD))]
    rule = ["-" * width for width in widths]
    shown = [_line(lines[0], widths), _line(rule, widths)]
    return "\n".join([*shown, *(_line(line, widths) for line in lines[1:])]) + "\n"


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"


def _cells(results: Results, row: Row) -> Sequence[str]:
    outcome, is_first = row.outcome, row is results.of(row.name)[0]
    return (
        row.name if is_first else "",
        row.setting,
        *(str(outcome.refusals[server]) for server in SERVERS),
        f"{outcome.rate * 100:.1f}",
        f"{outcome.longest:.1f}",
        f"{outcome.overtaken:.0%}" if outcome.overtaken else "kept",
        str(results.costs[row.name]) if is_first else "",
        str(results.lost[row.name][0]) if is_first else "",
    )


def _goals(results: Results) -> str:
    lines = (_no_refusals, _share, _cost, _cancellations)
    return "\n".join(_wrapped(f"- {line(results)}.") for line in lines) + "\n"


def _no_refusals(results: Results) -> str:
    ours = results.of(results.names[0])
    refused, sent = sum(row.refused for row in ours), sum(row.requests for row in ours)
    rough = ", ".join(f"{row.requests:,} at {row.setting}" for row in ours if row.is_rough)
    text = f"{_met(not refused)}: no refusals. htx_async had {refused} in {sent:,} requests at "
    return text + f"each of {len(SERVERS)} servers ({rough})"


def _share(results: Results) -> str:
    even = [row for row in results.of(results.names[0]) if not row.is_rough]
    shares = {row.setting: row.outcome.rate / row.outcome.bound for row in even}
    shown = ", ".join(f"{share:.2%} at {setting}" for setting, share in shares.items())
    text = f"{_met(min(shares.values()) >= _LEAST_SHARE)}: at least {_LEAST_SHARE:.0%} of "
    return text + f"`per / (per + mean round trip)`, the most that its rule allows: {shown}"


def _cost(results: Results) -> str:
    cost, crowds = results.costs[results.names[0]], results.crowds.items()
    crowded = ", ".join(f"{cost} µs with {waiting:,} who wait" for waiting, cost in crowds)
    text = f"{_met(cost.median <= _MOST_MICROSECONDS)}: acquire and release together within "
    text += f"{_MOST_MICROSECONDS:g} µs: {cost} µs. That one more joins the queue and one is "
    return text + f"served costs, tasks included, {crowded}"


def _cancellations(results: Results) -> str:
    lost, had = results.lost[results.names[0]]
    return f"{_met(not lost)}: leaving is free. 1,000 cancellations cost {lost} of {had} tokens"


def _met(is_met: bool) -> str:
    return "Met" if is_met else "MISSED"


def _findings(results: Results) -> str:
    ours, *others = results.names
    rates = " and ".join(
        f"{row.outcome.rate:.1%} at {row.setting}" for row in results.of(ours) if not row.is_rough
    )
    quicker = "; ".join(name for name in others if _is_quicker(results, name))
    text = f"htx_async loses on the rate: it sends {rates} of what is allowed. These send more: "
    text += f"{quicker}. Its token rests for a whole period after the answer, so each use costs a "
    text += "round trip more than HTX asks for; that is what it takes to be sure however long a "
    text += "request was on its way. The others count at the moment of sending, and keep what they "
    text += (
        "promise there; the servers stand elsewhere, where a slow request and a quick one after "
    )
    text += "it come closer together. Of the allowed rate they send, and of that are refused:"
    lines = (f"- {_finding(results, name)}" for name in others)
    return f"{_wrapped(text)}\n\n" + "\n".join(map(_wrapped, lines)) + "\n"


def _is_quicker(results: Results, name: str) -> bool:
    pairs = zip(results.of(name), results.of(results.names[0]), strict=True)
    return all(row.outcome.rate > ours.outcome.rate for row, ours in pairs)


def _wrapped(text: str) -> str:
    indent = "  " if text.startswith("- ") else ""
    return textwrap.fill(text, 100, subsequent_indent=indent, break_on_hyphens=False)


def _finding(results: Results, name: str) -> str:
    rows = results.of(name)
    worst = max(rows, key=lambda row: row.refused / row.requests)
    clean = [row.setting for row in rows if not row.refused]
    low, high = (f"{pick(row.outcome.rate for row in rows):.1%}" for pick in (min, max))
    text = f"{name}: {low if low == high else f'{low} to {high}'}; "
    text += f"{worst.refused / worst.requests:.1%} refused at worst, at {worst.setting}"
    if clean:
        text += f"; none at {', '.join(clean)}"
    if any(row.outcome.overtaken for row in rows):
        text += "; who waits is overtaken"
    if results.lost[name][0]:
        text += "; who is cancelled uses up its token all the same"
    return f"{text}."
