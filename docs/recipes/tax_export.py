# /// script
# requires-python = ">=3.11"
# dependencies = ["htx-async"]
# ///
"""Print all movements of all accounts of an HTX user in the last 30 days as CSV."""

import asyncio
import csv
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TextIO

from htx_async import HTXClient, HTXError

HEADER = (
    "time",
    "account",
    "account_type",
    "currency",
    "type",
    "amount",
    "balance",
    "record",
)
KEPT = timedelta(days=30)


def utc_now() -> datetime:
    return datetime.now(UTC)


async def export(
    htx: HTXClient, file: TextIO, days: float, now: Callable[[], datetime] = utc_now
) -> int:
    exit_code, end = 0, now()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(HEADER)
    # One account after the other: HTX counts all accounts together. An account
    # with 30 days takes five minutes, and meanwhile HTX drops the oldest records.
    for account in await htx.accounts.list():
        start = max(end - timedelta(days=days), now() - KEPT)
        history = htx.accounts.history(account, start=start, end=end)
        try:
            async for record in history:
                columns = (record.transact_time.isoformat(), account.id, account.type)
                amounts = (f"{record.transact_amt:f}", f"{record.acct_balance:f}")
                kind = (record.currency, record.transact_type)
                writer.writerow((*columns, *kind, *amounts, record.record_id))
        except HTXError as error:
            print(
                f"{account.id}: {error}\nposition: {history.position.to_json()}",
                file=sys.stderr,
            )
            exit_code = 1
    return exit_code


async def main(days: float) -> int:
    async with HTXClient.from_env() as htx:
        return await export(htx, sys.stdout, days)


if __name__ == "__main__":
    sys.exit(asyncio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 30)))
