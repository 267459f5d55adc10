"""Runs the command line. Maps errors to one line on standard error and an exit code."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from collections.abc import Sequence

from cyclopts import CycloptsError

from htx_async import HTXError, InvalidInputError
from htx_async.cli import messages
from htx_async.cli.exit_codes import FAILED, INTERRUPTED, OK, SIGPIPE, USAGE_ERROR
from htx_async.cli.session import print_error
from htx_async.cli.stream_commands import app

COMMANDS = [name for name in app if not name.startswith("-")]

_ESCAPE = "htx_async.escape"
_ASCII = {"…": "...", "±": "+/-"}


def run(arguments: Sequence[str]) -> int:
    """Run the command line and return its exit code."""
    _accept_any_encoding()
    command = " ".join(("htx-async", *(name for name in arguments[:1] if name in COMMANDS)))
    try:
        code = _invoke(arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # for example `| head`
        _silence_stdout()
        return SIGPIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    except CycloptsError as error:
        return _fail(messages.describe_usage(error, COMMANDS), USAGE_ERROR)
    except HTXError as error:
        code = USAGE_ERROR if isinstance(error, InvalidInputError) else FAILED
        return _fail(messages.describe(error, command), code)
    except ImportError as error:
        return _fail(str(error), FAILED)
    except OSError as error:
        return _fail(error.strerror or str(error), FAILED)
    return code


def _accept_any_encoding() -> None:
    """Escape characters that the encoding of the output does not have, instead of failing."""
    codecs.register_error(_ESCAPE, _escape)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ESCAPE)


def _escape(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    # Escapes of JSON: what `--json` prints stays JSON.
    escaped = (_ASCII.get(char) or json.dumps(char)[1:-1] for char in text)
    return "".join(escaped), error.end


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


def _fail(message: str, code: int) -> int:
    print_error(message)
    return code
