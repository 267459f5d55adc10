"""Prints the records of the logger `htx_async` to standard error, for scripts."""

from __future__ import annotations

import logging
import os
import sys
from typing import Final, TextIO

LOGGER: Final = logging.getLogger("htx_async")

_LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO}


class _StderrHandler(logging.StreamHandler[TextIO]):
    """A handler that looks up `sys.stderr` for each record: it may be replaced."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))

    @property
    def stream(self) -> TextIO:  # type: ignore[override]  # `StreamHandler` has an attribute
        """Standard error."""
        return sys.stderr


_HANDLER: Final = _StderrHandler()


def print_records(level: int) -> None:
    """Print records from *level* on to standard error; each once, also if called twice."""
    LOGGER.addHandler(_HANDLER)
    LOGGER.setLevel(level)


def read_environment() -> None:
    """
    Print records if `HTX_LOG` is `debug` or `info`, else nothing: that is up to the application.

    Another value is ignored with a warning.
    """
    value = os.environ.get("HTX_LOG", "").strip().lower()
    if value in _LEVELS:
        print_records(_LEVELS[value])
    elif value:
        LOGGER.warning("HTX_LOG is ignored: it must be debug or info")
    # Without any handler, Python would print warnings. Added last: that warning is for everybody.
    LOGGER.addHandler(logging.NullHandler())
