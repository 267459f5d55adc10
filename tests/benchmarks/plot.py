"""The picture of the tables, as SVG: bars of the CPU that a call takes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from tests.benchmarks.batches import Batches, Work
from tests.benchmarks.clients import OURS, OURS_AIOHTTP
from tests.benchmarks.report import TITLES
from tests.benchmarks.timing import short

ALT: Final = "Bars: the CPU of one call, by client, for each kind of work"
_WIDTH: Final = 760
_LABEL: Final = 190
_VALUE: Final = 70
_BAR, _GAP = 15, 6
_TITLE: Final = 34
_PAIR: Final = 2 * _BAR + _GAP
_OURS: Final = {OURS.name, OURS_AIOHTTP.name}
# Middle tones, readable on white and on black alike.
_STYLE: Final = """\
text { font: 12px system-ui, sans-serif; fill: #7d8590 }
.title { font-weight: 600; font-size: 13px }
.ours { fill: #2f81f7 } .ours64 { fill: #2f81f7; opacity: .5 }
.other { fill: #8b949e } .other64 { fill: #8b949e; opacity: .5 }
text.name-ours { fill: #2f81f7; font-weight: 600 }
"""


def drawn(measured: Batches) -> str:
    """Return the picture."""
    body, top = [], 24.0
    for work in TITLES:
        if names := measured.names(work):
            body += list(_panel(measured, work, top))
            top += _TITLE + len(names) * (_PAIR + _GAP) + _GAP
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top:.0f}" role="img">'
    legend = "CPU of one call, µs; full: 1 in flight, faint: 64 in flight. Shorter is better."
    parts = [head, f"<title>{ALT}</title>", f"<style>{_STYLE}</style>", _text(0, 14, legend)]
    return "\n".join([*parts, *body, "</svg>"]) + "\n"


def _panel(measured: Batches, work: Work, top: float) -> Iterator[str]:
    names = measured.names(work)
    most = max(
        measured.cpu(key).median for key in measured.samples if key[1] == work and key[2] in (1, 64)
    )
    scale = (_WIDTH - _LABEL - _VALUE) / most
    yield _text(0, top + 22, TITLES[work].replace("`", ""), "title")
    for number, name in enumerate(names):
        y = top + _TITLE + number * (_PAIR + _GAP)
        kind = "ours" if name in _OURS else "other"
        yield _text(_LABEL - 8, y + _BAR + 4, name, f"name-{kind}", anchor="end")
        if (name, work, 1) in measured.samples:
            yield _bar(y, measured.cpu((name, work, 1)).median, scale, kind)
        if (name, work, 64) in measured.samples:
            yield _bar(y + _BAR + 1, measured.cpu((name, work, 64)).median, scale, f"{kind}64")


def _bar(y: float, value: float, scale: float, kind: str) -> str:
    width = max(value * scale, 1)
    bar = f'<rect class="{kind}" x="{_LABEL}" y="{y:.1f}" width="{width:.1f}" height="{_BAR}"/>'
    return bar + _text(_LABEL + width + 6, y + _BAR - 3, short(value))


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{named}>{escape(text)}</text>'
