"""Bodies of the canned server: of the size and the shape that HTX sends."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from string import ascii_lowercase
from typing import Final

LOOKED_UP: Final = ("usdt", "btc", "eth", "trx", "htx", "xrp", "sol", "doge", "ltc", "ada")
"""Ten currencies that every client looks up."""

ROWS: Final = 3000
_HELD_ONE_IN: Final = 10
_SEED: Final = 6


def balance() -> bytes:
    """
    Return the v1 response with a balance of 3,000 rows, each currency twice.

    The ten currencies, and of the others every tenth, have amounts with 18 decimals, the rest
    have none.
    """
    entries = [row for index, name in _currencies(ROWS // 2) for row in _rows(index, name)]
    data = {"id": ROWS, "type": "spot", "state": "working", "list": entries}
    return _json({"status": "ok", "data": data})


def points() -> bytes:
    """Return the v2 response with points in two groups, one of them without expiry."""
    groups = [
        {"groupId": 0, "expiryDate": None, "remainAmt": "80000.25"},
        {"groupId": 26, "expiryDate": 1594838400000, "remainAmt": "20000.75"},
    ]
    data = {
        "accountId": "14403739",
        "accountStatus": "working",
        "acctBalance": "100001.0",
        "groupIds": groups,
    }
    return _json({"code": 200, "data": data, "success": True})


def accounts() -> bytes:
    """Return the v1 response with the list of accounts."""
    account = {"id": ROWS, "type": "spot", "subtype": "", "state": "working"}
    return _json({"status": "ok", "data": [account]})


def data(body: bytes) -> bytes:
    """Return the bytes of `data` in a response."""
    return _json(json.loads(body)["data"])


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _currencies(count: int) -> Iterator[tuple[int, str]]:
    """Yield numbered currencies in random order; those below ten are the ones looked up."""
    generator = random.Random(_SEED)  # noqa: S311 - not a secret
    names = dict.fromkeys(LOOKED_UP)
    while len(names) < count:
        names["".join(generator.choices(ascii_lowercase, k=generator.randint(3, 7)))] = None
    numbered = list(enumerate(names))
    generator.shuffle(numbered)
    yield from numbered


def _rows(index: int, currency: str) -> Iterator[dict[str, str]]:
    is_held = index < len(LOOKED_UP) or index % _HELD_ONE_IN == 0
    amount = _amount(index) if is_held else "0"
    seq = str(477 + index) if is_held else "0"
    trade = {"currency": currency, "type": "trade", "balance": amount, "debt": "0"}
    yield {**trade, "available": amount, "seq-num": seq}
    frozen = _amount(index + 1) if index % (2 * _HELD_ONE_IN) == 0 else "0"
    yield {**trade, "type": "frozen", "balance": frozen, "seq-num": seq}


def _amount(index: int) -> str:
    return f"{91 + index}.{850043797676510303 + index:018d}"
