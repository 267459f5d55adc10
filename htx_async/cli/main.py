"""Runs the command: what goes wrong is told in one line, and in the exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from htx_async.cli.app import app
from htx_async.cli.exit_codes import FAILED, INTERRUPTED, MISUSED, OK, UNREAD
from htx_async.cli.session import complain
from htx_async.errors import HTXError, InvalidInputError


def run(arguments: Sequence[str]) -> int:
    """Run the command and return its exit code."""
    try:
        code = _run(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has enough
        _say_no_more()
        return UNREAD
    return code


def _run(arguments: Sequence[str]) -> int:
    try:
        returned: object = app(arguments, exit_on_error=False, print_error=False)
    except SystemExit as done:  # newer versions of cyclopts end the program themselves
        returned = done.code
    except KeyboardInterrupt:  # older ones do not
        return INTERRUPTED
    except CycloptsError as error:
        return _failed(_misuse(error), MISUSED)
    except BrokenPipeError:
        raise
    except InvalidInputError as error:
        return _failed(error, MISUSED)
    except (HTXError, ImportError, OSError) as error:
        return _failed(error, FAILED)
    return returned if isinstance(returned, int) else OK


def _say_no_more() -> None:
    """Let Python flush what is left unsaid to where it cannot fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _misuse(error: CycloptsError) -> str:
    """Return what is wrong with the call as one line, and where it says how to call it."""
    helped = ("htx-async", *(error.command_chain or ()), "--help")
    return f"{' '.join(str(error).split())} See {' '.join(helped)}"


def _failed(error: object, code: int) -> int:
    complain(error)
    return code
