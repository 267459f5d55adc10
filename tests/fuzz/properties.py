"""Properties of every response, whatever its bytes: shared by both fuzzers."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any, Final

from htx_async.errors import HTXError
from htx_async.middleware.parsing import parse_response
from htx_async.models.balance import AccountBalance
from htx_async.models.base import Model
from htx_async.request import Endpoint, Response
from htx_async.resources import accounts, points
from tests.decoded import fields_of, values_of
from tests.models import reference

ENDPOINTS: Final[dict[str, Endpoint[Any]]] = {
    "accounts": accounts.LIST,
    "balance": accounts.BALANCE,
    "points": points.BALANCE,
    "valuation": accounts.VALUATION,
}
NAMES: Final = tuple(ENDPOINTS)
STATUSES: Final = (200, 201, 302, 400, 401, 403, 404, 429, 500, 502)
ECHOED: Final = "4F65x5A2bLyMWVQj3Aqp"
SIGNED_QUERY: Final = f"AccessKeyId=vf25treb80-1a2b3c4d&Signature={ECHOED}"


def check_response(body: bytes, status: int, headers: dict[str, str], name: str) -> Response:
    """Parse a response: it has a value without floats, or an error of ours without the secret."""
    response = Response(status, headers, body, sent_query=SIGNED_QUERY)
    response = parse_response(ENDPOINTS[name], response)
    error = response.error
    if error is None:
        assert response.value is not None, "neither a value nor an error"
        check_exact(response.value)
    else:
        assert isinstance(error, HTXError)
        assert response.value is None, "a value and an error"
        assert ECHOED not in repr(vars(error)) + str(error), "the error contains the signature"
    return response


def check_exact(value: object) -> None:
    """Check that no float is in a model, and that every amount is a number."""
    assert not isinstance(value, float), "a float in a model"
    if isinstance(value, Decimal):
        assert value.is_finite(), "an amount that is not a number"
    if isinstance(value, tuple):
        for item in value:
            check_exact(item)
    if isinstance(value, Model):
        for item in fields_of(value):
            check_exact(item)
    if isinstance(value, AccountBalance):
        check_exact(tuple(value[currency].total for currency in value))


def check_reference(body: bytes, name: str) -> None:
    """Parse a response, and compare validity and every value with the reference."""
    response = check_response(body, 200, {}, name)
    try:
        expected = reference.decoded(name, body)
    except reference.InvalidError:
        assert response.error is not None, "a value of an invalid response"
    else:
        assert values_of(response.value) == expected, "another value, or an error"


def _check_body(body: bytes, pick: int) -> None:
    check_reference(body, NAMES[pick % len(NAMES)])


def _check_data(data: bytes, pick: int) -> None:
    check_reference(b'{"status":"ok","data":%b}' % data, NAMES[pick % len(NAMES)])


def _check_status(body: bytes, pick: int) -> None:
    check_response(body, STATUSES[pick % len(STATUSES)], {}, NAMES[0])


def _check_date(data: bytes, _: int) -> None:
    check_response(data[40:], 200, {"date": data[:40].decode("latin-1")}, NAMES[0])


def _check_retry_after(data: bytes, _: int) -> None:
    header = data[:40].decode("latin-1")
    error = check_response(data[40:], 429, {"retry-after": header}, NAMES[0]).error
    assert error is not None, "a value of a 429"
    assert error.retry_after is None or 0.0 <= error.retry_after < math.inf, "not a delay"


CHECKS: Final = (_check_status, _check_date, _check_retry_after, _check_data, _check_body)


def check(fuzzed: bytes) -> None:
    """Run the check that the first two bytes choose on the others."""
    if len(fuzzed) > 1:
        CHECKS[fuzzed[0] % len(CHECKS)](fuzzed[2:], fuzzed[1])
