"""Text that says it is a terminal."""

from __future__ import annotations

import io


class Terminal(io.StringIO):
    """Somebody looks at it."""

    def isatty(self) -> bool:
        return True
