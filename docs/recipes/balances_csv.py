# /// script
# requires-python = ">=3.11"
# dependencies = ["htx-async"]
# ///
"""Print the balances of all accounts of an HTX user as CSV."""

import asyncio
import csv
import os
import sys

from htx_async import HTXClient, Snapshot

HEADER = ("account", "account_type", "subtype", "currency", "type", "balance")


async def fetch() -> Snapshot:
    async with HTXClient.from_env() as htx:
        return await htx.accounts.snapshot()


def main() -> int:
    exit_code = 0
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(HEADER)
    for item in asyncio.run(fetch()).accounts:
        account = item.account
        for row in item.balance.entries if item.balance else ():
            if row.balance:
                columns = (account.id, account.type, account.subtype)
                writer.writerow((*columns, row.currency, row.type, f"{row.balance:f}"))
        if item.error:
            print(account.id, item.error, file=sys.stderr)
            exit_code = 1
    sys.stdout.flush()
    return exit_code


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BrokenPipeError:  # the reader of a pipe has exited, e.g. `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)  # 128 plus SIGPIPE, as shells report it
