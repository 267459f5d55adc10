"""Draws `_static/command.svg`: output of the command line with a sandbox. `nox -s picture`."""

import io
import os
import re
import subprocess
import sys
from pathlib import Path

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

COMMANDS = (["doctor", "--sandbox"], ["balance", "--sandbox"], ["points", "--sandbox"])
TARGET = Path(__file__).parent / "_static" / "command.svg"

# Without web fonts: the picture must not load anything from other hosts.
FORMAT = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)


def run(arguments: list[str]) -> Text:
    environment = os.environ | {"FORCE_COLOR": "1", "COLUMNS": "80", "TERM": "xterm-256color"}
    environment.pop("NO_COLOR", None)
    command = [sys.executable, "-m", "htx_async", *arguments]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)  # noqa: S603 - ours
    return Text.from_ansi(result.stdout)


def main() -> None:
    console = Console(record=True, width=80, file=io.StringIO(), color_system="truecolor")
    for arguments in COMMANDS:
        console.print(Text.assemble(("$ ", "dim"), (f"htx-async {' '.join(arguments)}", "bold")))
        console.print(run(arguments))
    svg = console.export_svg(title="htx-async", code_format=FORMAT, unique_id="command")
    TARGET.write_text(
        "\n".join(line.rstrip() for line in svg.splitlines()) + "\n", encoding="utf-8"
    )


if __name__ == "__main__":
    main()
