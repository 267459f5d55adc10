"""Runs the command line. Maps errors to one line on standard error and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from htx_async import HTXError, InvalidInputError
from htx_async.cli.app import app
from htx_async.cli.exit_codes import FAILED, INTERRUPTED, OK, SIGPIPE, USAGE_ERROR
from htx_async.cli.session import print_error


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # for example `| head`
        _silence_stdout()
        return SIGPIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except CycloptsError as error:
        return _fail(_usage_message(error), USAGE_ERROR)
    except InvalidInputError as error:
        return _fail(error, USAGE_ERROR)
    except (HTXError, ImportError, OSError) as error:
        return _fail(error, FAILED)
    return code


def _invoke(arguments: Sequence[str]) -> int:
    try:
        result: object = app(arguments, exit_on_error=False, print_error=False)
    except SystemExit as error:  # raised by newer versions of cyclopts, which handle Ctrl-C too
        result = error.code
    return result if isinstance(result, int) else OK


def _silence_stdout() -> None:
    """Redirect standard output to `/dev/null`, so that Python can flush it at exit."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, sys.stdout.fileno())
    os.close(devnull)


def _usage_message(error: CycloptsError) -> str:
    """Return the error on one line, with the command that prints the help."""
    command = ("htx-async", *(error.command_chain or ()), "--help")
    return f"{' '.join(str(error).split())} See {' '.join(command)}"


def _fail(error: object, code: int) -> int:
    print_error(error)
    return code
