"""Runs `htx-async doctor`: prints each finding and returns the exit code."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from htx_async import Credentials, InvalidInputError
from htx_async.cli import session
from htx_async.cli.doctor import finding
from htx_async.cli.doctor.checks import DoctorContext, examine
from htx_async.cli.doctor.finding import Finding
from htx_async.cli.session import OutputOptions


async def run(options: OutputOptions) -> int:
    """Run all checks, print each finding when it is known, and return the exit code."""
    console, findings = session.console(), list[Finding]()
    async with _context(options) as context, aclosing(examine(context)) as results:
        async for result in results:
            findings.append(result)
            if not options.json:
                console.print(finding.render(result))
    if options.json:
        print(json.dumps([result.to_dict() for result in findings], indent=2))
    else:
        console.print("", finding.summary(findings), sep="\n")
    return finding.exit_code(findings)


@asynccontextmanager
async def _context(options: OutputOptions) -> AsyncGenerator[DoctorContext]:
    with session.debug_log(enabled=options.debug):
        if not options.sandbox:
            yield DoctorContext(_credentials(), session.base_url())
            return
        async with session.sandbox_session() as (credentials, base_url):
            yield DoctorContext(credentials, base_url)


def _credentials() -> Credentials | InvalidInputError:
    try:
        return Credentials.from_env()
    except InvalidInputError as error:
        return error
