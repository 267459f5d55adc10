"""The full text of an error, for tests that no secret is in it."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path
from types import TracebackType

from rich.pretty import pretty_repr

import htx_async

PACKAGE = str(Path(htx_async.__file__).parent)


def full_text(error: BaseException) -> str:
    """
    Return an error as text, with its attributes, notes, pickle and chain.

    The local variables of the package's frames are included as rich prints them. Frames of
    the program are not: the program holds the keys itself.
    """
    parts = [str(error), repr(error), repr(error.args), pretty_repr(vars(error))]
    parts += traceback.format_exception(error)
    parts.append(repr(pickle.dumps(error)))
    for chained in (error.__cause__, error.__context__):
        parts += [full_text(chained)] if chained is not None else []
    return "\n".join(parts + _frame_locals(error.__traceback__))


def _frame_locals(trace: TracebackType | None) -> list[str]:
    parts: list[str] = []
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if frame.f_code.co_filename.startswith(PACKAGE):
            parts += [repr(frame.f_locals), pretty_repr(frame.f_locals)]
    return parts
