"""All that an error can show, for tests of what it must not."""

from __future__ import annotations

import pickle
import traceback
from pathlib import Path
from types import TracebackType

from rich.pretty import pretty_repr

import htx_async

OURS = str(Path(htx_async.__file__).parent)


def shown_by(error: BaseException) -> str:
    """
    Return an error as text, with its attributes, notes, pickle and chain.

    And with the local variables of our own frames, opened up as rich does it; those of a
    program that holds the keys are its own business.
    """
    said = [str(error), repr(error), repr(error.args), pretty_repr(vars(error))]
    said += traceback.format_exception(error)
    said.append(repr(pickle.dumps(error)))
    for chained in (error.__cause__, error.__context__):
        said += [shown_by(chained)] if chained is not None else []
    return "\n".join(said + _locals(error.__traceback__))


def _locals(trace: TracebackType | None) -> list[str]:
    said: list[str] = []
    while trace is not None:
        frame, trace = trace.tb_frame, trace.tb_next
        if frame.f_code.co_filename.startswith(OURS):
            said += [repr(frame.f_locals), pretty_repr(frame.f_locals)]
    return said
