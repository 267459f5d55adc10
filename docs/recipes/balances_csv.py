# /// script
# requires-python = ">=3.11"
# dependencies = ["htx-async"]
# ///
"""Print what is in all accounts of an HTX user, as CSV."""

import asyncio
import csv
import sys

from htx_async import AccountType, HTXClient, Snapshot


async def read() -> Snapshot:
    async with HTXClient.from_env() as htx:
        return await htx.accounts.snapshot()


def main() -> int:
    failed = 0
    out = csv.writer(sys.stdout, lineterminator="\n")
    out.writerow(("account", "account_type", "subtype", "currency", "type", "balance"))
    for picture in asyncio.run(read()).accounts:
        account = picture.account
        for row in picture.balance.entries if picture.balance else ():
            if row.balance:
                kind = (account.id, account.type, account.subtype)
                out.writerow((*kind, row.currency, row.type, f"{row.balance:f}"))
        if picture.error and account.type != AccountType.OTC:  # HTX does not tell those
            print(account.id, picture.error, file=sys.stderr)
            failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
