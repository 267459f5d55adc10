"""Draws `drawings/performance.svg` from the table of whole calls in `about/performance.md`."""

import re
from pathlib import Path

DOCS = Path(__file__).parent
PAGE = DOCS / "about" / "performance.md"
TARGET = DOCS / "drawings" / "performance.svg"
PANELS = {"Balance, 1": "Balance with 3,000 rows", "Points, 1": "Points"}
"""Columns of the table, and their titles in the chart."""

OWN = "htx_async"
LEFT, LONGEST = 142, 166
"""Where bars begin, and the length of the longest one."""


def columns() -> dict[str, dict[str, int]]:
    """Return the CPU time of each client, by column."""
    table = PAGE.read_text(encoding="utf-8").partition("## Whole calls")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|") and not re.match(r"\| -", line)
    ]
    head, *rows = rows
    return {
        name: {row[0]: int(row[i].replace(",", "")) for row in rows if row[i]}
        for i, name in enumerate(head)
        if i
    }


def main() -> None:
    figures, y, lines = columns(), 24, list[str]()
    lines.append('<text class="side" x="8" y="14">µs of CPU per call, one call at a time</text>')
    for column, title in PANELS.items():
        values = figures[column]
        y += 20
        lines.append(f'<text class="name" x="8" y="{y}">{title}</text>')
        for client, value in sorted(values.items(), key=lambda item: item[1]):
            y += 24
            width = max(round(LONGEST * value / max(values.values())), 2)
            style = "own" if client == OWN else "bar"
            name = "name" if client == OWN else "note"
            lines.append(
                f'<text class="{name}" x="{LEFT - 6}" y="{y}" text-anchor="end">{client}</text>'
            )
            lines.append(
                f'<rect class="{style}" x="{LEFT}" y="{y - 12}" width="{width}" height="15"/>'
            )
            lines.append(f'<text class="{name}" x="{LEFT + width + 5}" y="{y}">{value:,}</text>')
        y += 26
    summary = " ".join(
        f"{title}: {'; '.join(f'{client} {value:,}' for client, value in figures[column].items())}."
        for column, title in PANELS.items()
    )
    head = f"""\
<svg class="drawing" viewBox="0 0 360 {y - 18}" role="img" \
aria-labelledby="performance-title performance-desc" xmlns="http://www.w3.org/2000/svg">
<title id="performance-title">CPU time of a call</title>
<desc id="performance-desc">Microseconds of CPU per call. {summary}</desc>"""
    TARGET.write_text("\n".join([head, *lines, "</svg>"]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
