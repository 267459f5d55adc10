"""Commands of `htx-async stream`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number

from htx_async import InvalidInputError
from htx_async.cli import session
from htx_async.cli.account_commands import app
from htx_async.cli.recording.run import Recorder
from htx_async.cli.session import ConnectionOptions

__all__ = ["app"]

_OPTIONS = ConnectionOptions()

stream: App = App(
    name="stream",
    help="""
Record the stream of account changes, to report what HTX does.

For example:

  htx-async stream record --help
""",
    help_format="plaintext",
)
app.command(stream)

File = Annotated[str, Parameter(help="The file to create; it must not exist.")]
RecordedAccount = Annotated[
    str | None, Parameter(help="Account id, or type, such as spot; all if omitted.")
]
Duration = Annotated[
    float | None,
    Parameter(validator=Number(gt=0, lte=604_800), help="Seconds to record; else until Ctrl-C."),
]


@stream.command
def record(
    file: File,
    account: RecordedAccount = None,
    /,
    *,
    seconds: Duration = None,
    options: ConnectionOptions = _OPTIONS,
) -> None:
    """
    Record what HTX pushes and what REST returns, redacted, until Ctrl-C.

    The file has a JSON object on each line: the structure of each message, the
    time since the start, and serial numbers. Amounts, ids and texts are replaced by
    placeholders, the same value by the same one. Keys and signatures are never
    written. Read it before you send it: it has the currencies of your accounts.

    For example:

      htx-async stream record stream.jsonl
      htx-async stream record stream.jsonl spot --seconds 3600
      htx-async stream record example.jsonl --sandbox --seconds 10
    """
    session.check_stream_extra()
    try:
        # Not encoded by the locale: the lines are ASCII.
        output = open(file, "x", encoding="ascii")  # noqa: PTH123, SIM115 - closed below
    except FileExistsError:
        msg = f"{file} exists: name a file to create"
        raise InvalidInputError(msg) from None
    except OSError as error:
        msg = f"{file} cannot be created: {error.strerror}"
        raise OSError(msg) from None
    with output:
        recorder = Recorder(output)
        session.print_error(f"recording to {file}. Stop: Ctrl-C")
        try:
            with suppress(KeyboardInterrupt):
                asyncio.run(_record(recorder, account, seconds, options))
        finally:
            session.print_error(f"{recorder.summary()} in {file}")


async def _record(
    recorder: Recorder, account: str | None, seconds: float | None, options: ConnectionOptions
) -> None:
    async with session.open_client(options) as htx:
        await recorder.run(htx, account and account.lower(), seconds)
