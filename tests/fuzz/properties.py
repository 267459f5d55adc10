"""Properties of every response, whatever its bytes: shared by both fuzzers."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

import attrs
from msgspec.structs import replace

from htx_async.errors import DecodeError, HTXError
from htx_async.middleware.parsing import open_envelope
from htx_async.models.balance import AccountBalance
from htx_async.request import Endpoint, Response
from htx_async.resources import accounts, points

READS: Final[tuple[Endpoint[Any], ...]] = (
    *(accounts.LIST, accounts.BALANCE, points.BALANCE),
    accounts.VALUATION,
)
STATUSES: Final = (200, 201, 302, 400, 401, 403, 404, 429, 500, 502)
ECHOED: Final = "4F65x5A2bLyMWVQj3Aqp"
SIGNED_QUERY: Final = f"AccessKeyId=vf25treb80-1a2b3c4d&Signature={ECHOED}"


def check_envelope(
    body: bytes, status: int, headers: dict[str, str], endpoint: Endpoint[Any] = READS[0]
) -> Response:
    """Parse an envelope: it has `data` or an error of ours; the secret is in neither."""
    response = open_envelope(endpoint, Response(status, headers, body, sent_query=SIGNED_QUERY))
    error = response.error
    if error is None:
        assert response.data, "neither data nor an error"
    else:
        assert isinstance(error, HTXError)
        assert not response.data, "data and an error"
        assert ECHOED not in repr(vars(error)) + str(error), "the error shows the signature"
    return response


def check_reader(endpoint: Endpoint[Any], data: Any) -> object | None:
    """Decode `data` into a model without floats, or a `DecodeError` (then `None`)."""
    try:
        model: object = endpoint.read(data)
    except DecodeError:
        return None
    check_exact(model)
    return model


def check_exact(value: object) -> None:
    """Check that a model has no float, and that every amount is a number."""
    assert not isinstance(value, float), "a float in a model"
    if isinstance(value, Decimal):
        assert value.is_finite(), "an amount that is not a number"
    if isinstance(value, tuple):
        for item in value:
            check_exact(item)
    kind: Any = type(value)
    if attrs.has(kind):
        for field in attrs.fields(kind):
            check_exact(getattr(value, field.name))
    if isinstance(value, AccountBalance):
        check_exact(value.entries)
        check_exact(tuple(value[currency].total for currency in value))


def _check_both(body: bytes, pick: int) -> None:
    """Parse the envelope, and decode its data, as the client does."""
    endpoint = READS[pick % len(READS)]
    response = check_envelope(body, 200, {}, endpoint)
    if response.error is None:
        model = check_reader(endpoint, response.data)
        closely = check_envelope(body, 200, {}, replace(endpoint, usual=None))
        assert model == check_reader(endpoint, closely.data), "another model of the same answer"


def _check_status(body: bytes, pick: int) -> None:
    check_envelope(body, STATUSES[pick % len(STATUSES)], {})


def _check_date(data: bytes, _: int) -> None:
    check_envelope(data[40:], 200, {"date": data[:40].decode("latin-1")})


def _check_retry_after(data: bytes, _: int) -> None:
    check_envelope(data[9:], 429, {"retry-after": data[:9].decode("latin-1")})


def _check_data(data: bytes, pick: int) -> None:
    check_reader(READS[pick % len(READS)], data)


CHECKS: Final = (_check_status, _check_date, _check_retry_after, _check_data, _check_both)


def check(fuzzed: bytes) -> None:
    """Run the check that the first two bytes choose on the others."""
    if len(fuzzed) > 1:
        CHECKS[fuzzed[0] % len(CHECKS)](fuzzed[2:], fuzzed[1])
