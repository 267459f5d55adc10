"""Pages of the docs agree with the code that they describe."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import pytest

import htx_async
from htx_async import errors
from htx_async.cli import exit_codes
from htx_async.error_codes import CAUSES
from htx_async.errors import HTXError
from htx_async.sandbox import Sandbox

DOCS = Path(__file__).parent.parent / "docs"
BASE_CLASSES = {"HTXError", "TransportError", "AuthenticationError"}


def page(name: str) -> str:
    """Return the source of a page."""
    return (DOCS / name).read_text(encoding="utf-8")


README = (DOCS.parent / "README.md").read_text(encoding="utf-8")


async def output_of_first_program(sandbox: Sandbox) -> str:
    """Run the first program of the README, and return what it prints."""
    program = README.partition("```python\n")[2].partition("```")[0]
    keys = {"HTX_ACCESS_KEY": "access-key", "HTX_SECRET_KEY": "secret-key"}
    async with sandbox.serve() as base_url:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", program),
            env=os.environ | keys | {"HTX_BASE_URL": base_url},
            stdout=asyncio.subprocess.PIPE,
        )
        output, _ = await process.communicate()
    return output.decode()


@pytest.mark.slow
async def test_first_program_prints_what_the_readme_shows() -> None:
    """With the balance of the sandbox."""
    shown = README.partition("```text\n")[2].partition("```")[0]
    assert await output_of_first_program(Sandbox()) == shown


@pytest.mark.slow
async def test_first_program_prints_amounts_without_exponent() -> None:
    """`print(row.trade)` would print `6E-9`."""
    sandbox = Sandbox()
    sandbox.set_balance("spot", "usdt", trade="0.000000006", frozen="0.000000000000000000")
    expected = "usdt: 0.000000006 available, 0.000000000000000000 in orders"
    assert expected in (await output_of_first_program(sandbox)).splitlines()


def test_errors_page_has_a_row_per_error() -> None:
    """No row is missing, and none describes an error that does not exist."""
    rows = set(re.findall(r"(?m)^\| `(\w+Error)` \|", page("operations/error-handling.md")))
    classes = {value for value in vars(errors).values() if isinstance(value, type)}
    names = {cls.__name__ for cls in classes if issubclass(cls, HTXError)}
    assert rows == names - BASE_CLASSES


def error_code_rows() -> list[str]:
    """Return the rows of the table of HTX's error codes."""
    rows = []
    for cause in CAUSES:
        conditions = [", ".join(f"`{code}`" for code in cause.codes if code is not None)]
        conditions.append("HTML" if cause.is_page else "")
        if isinstance(cause.statuses, range):
            conditions.append(f"HTTP {cause.statuses[0]} to {cause.statuses[-1]}")
        else:
            conditions += [f"HTTP {status}" for status in cause.statuses]
        condition = ", ".join(filter(None, conditions)) or "any"
        retryable = "yes" if cause.retryable else "no"
        text = " *or* ".join(cause.texts) or "any"
        rows.append(f"| {condition} | {text} | `{cause.error.__name__}` | {retryable} |")
    return rows


def test_errors_page_has_all_error_codes() -> None:
    """Row by row, in the same order; `python -m tests.test_docs` prints the table."""
    table = page("reference/error-codes.md").rpartition("| --- |\n")[2]
    assert table.splitlines() == error_code_rows()


def test_reference_has_every_public_name() -> None:
    """Each once, over all pages of the reference."""
    pages = "".join(path.read_text("utf-8") for path in (DOCS / "reference").glob("*.md"))
    documented = re.findall(r"(?m)(?:auto(?:class|exception)|py:data):: (\w+)$", pages)
    public = [name for name in documented if hasattr(htx_async, name)]
    assert sorted(public) == sorted(htx_async.__all__)


def test_exit_codes_are_documented() -> None:
    """All of them, in ascending order, and no other."""
    table = page("reference/cli.md").rpartition("## Exit codes")[2]
    documented = [int(code) for code in re.findall(r"(?m)^\| (\d+) \|", table)]
    codes = {value for value in vars(exit_codes).values() if isinstance(value, int)}
    assert documented == sorted(codes)


if __name__ == "__main__":
    print("| Code or status | Text contains | Error | Retryable |\n| --- | --- | --- | --- |")
    print("\n".join(error_code_rows()))
