"""The doctor's talk: who is examined, and what is printed of it."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

import attrs

from htx_async.auth.credentials import Credentials
from htx_async.cli import session, tables
from htx_async.cli.doctor.checks import Patient, examine
from htx_async.cli.doctor.finding import Finding, exit_code
from htx_async.cli.session import Common
from htx_async.client import BASE_URL
from htx_async.errors import InvalidInputError


async def run(common: Common) -> int:
    """Examine, print what is found as it is found, and return how the command ends."""
    console, found = session.console(), list[Finding]()
    async with _patient(common) as patient, aclosing(examine(patient)) as examined:
        async for finding in examined:
            found.append(finding)
            if not common.json:
                console.print(tables.finding(finding))
    if common.json:
        print(json.dumps([attrs.asdict(finding) for finding in found], indent=2))
    else:
        console.print("", tables.verdict(found), sep="\n")
    return exit_code(found)


@asynccontextmanager
async def _patient(common: Common) -> AsyncGenerator[Patient]:
    with session.logged(common.debug) as log:
        if not common.sandbox:
            yield Patient(_keys(), os.environ.get("HTX_BASE_URL") or BASE_URL, listener=log)
            return
        async with session.made_up() as (keys, base_url):
            yield Patient(keys, base_url, listener=log)


def _keys() -> Credentials | InvalidInputError:
    try:
        return Credentials.from_env()
    except InvalidInputError as error:
        return error
