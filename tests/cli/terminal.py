"""A stream that claims to be a terminal."""

from __future__ import annotations

import io


class Terminal(io.StringIO):
    """Text stream whose `isatty` is true."""

    def isatty(self) -> bool:
        return True
