"""`htx.get`: calls of endpoints without a resource, with exact plain values."""

from __future__ import annotations

import asyncio
import copy
import enum
import itertools
import pickle
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from htx_async import (
    UNLIMITED,
    AccountType,
    Credentials,
    DecodeError,
    HTXClient,
    InvalidInputError,
    PermissionDeniedError,
    RateLimit,
    RawResponse,
    RetryPolicy,
)
from htx_async.redaction import redact
from htx_async.request import Endpoint, Response
from htx_async.resources import ENDPOINTS, raw
from htx_async.resources.raw import DEFAULT_LIMIT
from htx_async.sandbox import Sandbox
from htx_async.testing import ScriptedTransport
from tests import strategies
from tests.virtual import VirtualClock, run

KEYS = Credentials("AKIDEXAMPLE0123456789", "SECRETEXAMPLE9876543210")
OK = b'{"status":"ok","data":[],"next-id":7}'


def responding(body: bytes = OK, *, delay: float = 0.0) -> ScriptedTransport:
    """Return a transport that responds to every request with *body*."""
    return ScriptedTransport(itertools.repeat(httpx.Response(200, content=body)), delay=delay)


def sent_params(transport: ScriptedTransport) -> list[dict[str, str]]:
    """Return the parameters of each request, without those of authentication."""
    queries = [request.url.query.decode() for request in transport.requests]
    pairs = [parse_qsl(query, keep_blank_values=True) for query in queries]
    return [{k: v for k, v in params if k.lower() not in raw.AUTH_PARAMS} for params in pairs]


def client_for(transport: ScriptedTransport, **options: Any) -> HTXClient:
    return HTXClient(KEYS, transport=transport, clock=VirtualClock(), **options)


async def test_raw_get_returns_the_data_and_metadata_of_the_response() -> None:
    """`data` has HTX's field names and all digits."""
    transport = httpx.ASGITransport(app=Sandbox())
    async with HTXClient(Credentials("access-key", "secret-key"), transport=transport) as htx:
        response = await htx.get("/v1/account/accounts/1000001/balance")
        points = await htx.get("/v2/point/account", limit=RateLimit(2, per=1.0))
        timestamp = await htx.get("/v1/common/timestamp", signed=False)
    assert response.data["list"][0]["balance"] == "91.850043797676510303"
    assert response.data["id"] == 1000001
    assert (response.status, response.attempts) == (200, 1)
    assert response.headers["content-type"].startswith("application/json")
    assert 0.0 <= response.queued <= response.elapsed < 5
    assert points.envelope == {"code": 200, "success": True}
    assert isinstance(timestamp.data, int)


def test_raw_get_decodes_numbers_exactly() -> None:
    """A number with a point or an exponent is a `Decimal`; there are no floats."""
    transport = responding(
        b'{"code":200,"data":{"a":[0.1,1E3,-5,123456789012345678901,"x",true,null]}}'
    )

    async def main() -> Any:
        async with client_for(transport) as htx:
            return (await htx.get("/v2/account/ledger")).data

    data = run(main())
    expected = [Decimal("0.1"), Decimal("1E3"), -5, 123456789012345678901, "x", True, None]
    assert data == {"a": expected}
    assert [type(value) for value in data["a"]] == [type(value) for value in expected]


@pytest.mark.parametrize("number", ["1e1000", "1." + "0" * 100, "1E999999999"])
def test_raw_get_raises_decode_error_for_numbers_out_of_range(number: str) -> None:
    """The error names the endpoint and has no chained exception."""
    transport = responding(b'{"code":200,"data":%s}' % number.encode())

    async def main() -> None:
        async with client_for(transport) as htx:
            await htx.get("/v2/user/uid")

    with pytest.raises(DecodeError, match="GET /v2/user/uid: the response cannot be") as caught:
        run(main())
    error = caught.value
    assert (error.path, error.http_status, error.delivery) == ("data", 200, "answered")
    assert error.__context__ is None


def test_raw_get_formats_parameters() -> None:
    """Parameters may be text, integers, amounts and enum members."""

    class Sort(enum.StrEnum):
        DESCENDING = "desc"

    transport = responding()
    params: dict[str, raw.ParamValue] = {
        "b": "a b/ü",
        "a": 10**30,
        "amount": Decimal("1E-7"),
        "sort": Sort.DESCENDING,
        "type": AccountType.SPOT,
        "empty": "",
    }

    async def main() -> None:
        async with client_for(transport) as htx:
            await htx.get("/v1/account/history", params=params)

    run(main())
    assert sent_params(transport) == [
        {
            "a": "1" + "0" * 30,
            "amount": "0.0000001",
            "b": "a b/ü",
            "empty": "",
            "sort": "desc",
            "type": "spot",
        }
    ]
    assert transport.requests[0].url.path == "/v1/account/history"
    assert transport.requests[0].url.params["AccessKeyId"] == "AKIDEXAMPLE0123456789"


@given(st.dictionaries(st.text("abAB._-09", min_size=1), st.text() | st.integers(), max_size=4))
def test_raw_get_sends_any_parameters_unchanged(params: dict[str, str | int]) -> None:
    """The server parses exactly the parameters that were passed."""
    transport = responding()

    async def main() -> None:
        async with client_for(transport) as htx:
            await htx.get("/v1/x", params=params)

    run(main())
    assert sent_params(transport) == [{name: str(value) for name, value in params.items()}]


def test_raw_get_unsigned_sends_no_key() -> None:
    transport = responding()

    async def main() -> None:
        async with client_for(transport) as htx:
            await htx.get("/v2/market-status", signed=False, params={"x": 1})

    run(main())
    assert str(transport.requests[0].url) == "https://api.huobi.pro/v2/market-status?x=1"


INVALID_PATHS = [
    *(None, 7, b"/v1/x", "", "v1/x", "https://api.huobi.pro/v1/x", "//evil.example/v1/x"),
    *("/", "/v1/", "/v1//x", "/v1/../x", "/v1/./x", "/..", "/v1/.x", "/v1/x?a=1", "/v1/x#y"),
    *(
        "/v1/x y",
        "/v1/x\n",
        "/v1/x\x00",
        "/v1/ключ",
        "/v1/%2e%2e/x",
        "/v1/{id}",
        "/v1/x@y",
        "/a" * 251,
    ),
    "/v1/x\\y",
]
INVALID_VALUES: list[object] = [
    1.5,
    float("nan"),
    None,
    True,
    b"1",
    [],
    "\ud800",
    10**100,
    Decimal("NaN"),
    Decimal("1E+200"),
]
INVALID_LIMITS: list[object] = [10, (10, 1.0), "10"]
INVALID_NUMBERS: list[Any] = [0, -1, True, 1.5]
INVALID_NAMES = [
    "AccessKeyId",
    "accesskeyid",
    "SIGNATURE",
    "Signature",
    "SignatureMethod",
    "Timestamp",
]
INVALID_NAMES += ["timestamp", "SignatureVersion", "", "a b", "a=b", "ü", "a\n"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(({"path": path}, "path must") for path in INVALID_PATHS),
        *(
            ({"params": {"amount": value}}, "the parameter amount must be")
            for value in INVALID_VALUES
        ),
        *(
            ({"params": {name: "1"}}, "the name of a parameter|the signature adds")
            for name in INVALID_NAMES
        ),
        ({"params": {1: "1"}}, "the name of a parameter must"),
        ({"params": [("a", "b")]}, "params must be a mapping"),
        ({"params": "a=b"}, "params must be a mapping"),
        *(({"limit": limit}, "limit must be a RateLimit") for limit in INVALID_LIMITS),
        *(
            ({"limit": RateLimit(n, 1.0)}, "RateLimit.(requests|per) must be")
            for n in INVALID_NUMBERS
        ),
        *(
            ({"limit": RateLimit(1, per)}, "RateLimit.(requests|per) must be")
            for per in (0.0, -1.0, float("nan"))
        ),
    ],
)
def test_raw_get_rejects_invalid_arguments_before_any_request(
    arguments: dict[str, Any], message: str
) -> None:
    """The error message is one short line."""
    transport = responding()

    async def main() -> None:
        async with client_for(transport) as htx:
            with pytest.raises(InvalidInputError, match=message) as caught:
                await htx.get(**({"path": "/v1/x"} | arguments))
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 200

    run(main())
    assert not transport.requests


def test_raw_get_error_does_not_echo_a_signed_url() -> None:
    """A signed URL passed as the path does not appear in the error."""
    with pytest.raises(InvalidInputError) as caught:
        raw.check_path("/v1/x?AccessKeyId=AKIDEXAMPLE0123456789&Signature=abc")
    assert "AKID" not in str(caught.value)


def test_raw_get_limit_is_shared_by_all_ids_of_a_path() -> None:
    """Of three calls with a limit of 2 per second, the last one queues, although its id differs."""
    transport = responding()

    async def main() -> list[RawResponse]:
        async with client_for(transport) as htx:
            paths = [f"/v1/order/orders/{number}" for number in (1, 22, 333)]
            limit = RateLimit(2, per=1.0)
            responses = await asyncio.gather(*(htx.get(path, limit=limit) for path in paths))
            status = htx.limits()["GET /v1/order/orders/{id}"]
            assert (status.limit, status.available) == (limit, 1)
            return responses

    responses = run(main())
    assert [response.queued for response in responses] == pytest.approx([0.0, 0.0, 1.0])
    assert [response.elapsed for response in responses] == pytest.approx([0.0, 0.0, 1.0])


@pytest.mark.usefixtures("virtual_time")
async def test_raw_get_uses_the_tokens_of_the_resource_with_that_path() -> None:
    """HTX counts requests per endpoint."""
    transport = responding(b'{"code":200,"data":{}}')
    async with client_for(transport) as htx:
        await htx.get("/v2/point/account", limit=RateLimit(100, per=1.0))
        assert htx.limits()["GET /v2/point/account"].available == 1
        await htx.get("/v1/account/accounts/5/balance")
        assert htx.limits()["GET /v1/account/accounts/{account-id}/balance"].available == 99
        assert len(htx.limits()) == len(ENDPOINTS)


@pytest.mark.usefixtures("virtual_time")
async def test_raw_get_limit_of_a_path_is_set_once() -> None:
    """Later calls may omit the limit; another value is an error. This includes client copies."""
    transport = responding()
    async with client_for(transport) as htx:
        await htx.get("/v1/a", limit=RateLimit(5, per=2.0))
        await htx.with_options(timeout=1.0).get("/v1/a")
        await htx.get("/v1/a", limit=RateLimit(5, per=2.0))
        assert htx.limits()["GET /v1/a"].available == 2
        with pytest.raises(InvalidInputError, match="GET /v1/a was set to 5 in 2 s"):
            await htx.get("/v1/a", limit=RateLimit(50, per=2.0))
        await htx.get("/v1/b")
        assert htx.limits()["GET /v1/b"].limit == DEFAULT_LIMIT == RateLimit(10, per=1.0)


@pytest.mark.usefixtures("virtual_time")
async def test_raw_get_remembers_the_paths_that_were_used_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A program that puts ids which are not numbers into paths must not grow without limit."""
    monkeypatch.setattr(raw, "MAX_ENDPOINTS", 3)
    async with client_for(responding()) as htx:
        await htx.get("/v1/kept", limit=RateLimit(5, per=2.0))
        for name in ("a", "b", "c", "d"):
            await htx.get(f"/v1/id-{name}")
            await htx.get("/v1/kept")
        added = list(htx.limits())[len(ENDPOINTS) :]
        assert added == ["GET /v1/id-c", "GET /v1/id-d", "GET /v1/kept"]
        assert htx.limits()["GET /v1/kept"].limit == RateLimit(5, per=2.0)


@pytest.mark.usefixtures("virtual_time")
async def test_raw_get_coalesces_identical_queued_calls_with_separate_data() -> None:
    """The order of parameters is irrelevant; signed and unsigned calls are not identical."""
    transport = responding(b'{"status":"ok","data":[{"a":1}]}', delay=0.5)
    async with client_for(transport) as htx:
        limit = RateLimit(1, per=1.0)
        first = asyncio.create_task(htx.get("/v1/x", limit=limit))
        await asyncio.sleep(0.25)
        calls = [
            asyncio.create_task(htx.get("/v1/x", params={"a": 1, "b": 2})),
            asyncio.create_task(htx.get("/v1/x", params={"b": "2", "a": "1"})),
        ]
        await asyncio.sleep(0.25)
        late = asyncio.create_task(htx.get("/v1/x", params={"b": 2, "a": 1}))
        unsigned = asyncio.create_task(htx.get("/v1/x", params={"b": 2, "a": 1}, signed=False))
        responses = [await call for call in (first, *calls, late, unsigned)]
    assert len(transport.requests) == 3
    assert [response.queued for response in responses] == pytest.approx([0, 1.25, 1.25, 1.0, 2.5])
    assert [response.elapsed for response in responses] == pytest.approx(
        [0.5, 1.75, 1.75, 1.5, 3.0]
    )
    responses[1].data[0]["a"] = 2
    assert responses[2].data == [{"a": 1}]


@pytest.mark.usefixtures("virtual_time")
async def test_raw_get_is_not_coalesced_with_a_resource_call() -> None:
    """The resource returns models, `get` plain values."""
    transport = httpx.ASGITransport(app=Sandbox())
    keys = Credentials("access-key", "secret-key")
    async with HTXClient(keys, transport=transport, clock=VirtualClock()) as htx:
        first, accounts, second = await asyncio.gather(
            htx.get("/v1/account/accounts"),
            htx.accounts.list(),
            htx.get("/v1/account/accounts"),
        )
        assert accounts[0].id == first.data[0]["id"] == second.data[0]["id"]


def test_raw_get_reports_attempts_and_queue_time_of_retries() -> None:
    """After two failed attempts; backoff is not part of the queue time."""
    ok, busy = httpx.Response(200, content=OK), httpx.Response(503)
    transport = ScriptedTransport([busy, busy, ok])

    async def main() -> RawResponse:
        async with client_for(transport, retry=RetryPolicy(attempts=3, initial_delay=0.001)) as htx:
            return await htx.get("/v1/x", limit=RateLimit(1, per=1.0))

    response = run(main())
    assert response.attempts == 3
    assert 1.9 < response.queued <= 2.0
    assert response.queued < response.elapsed < 2.1


def test_raw_response_headers_are_redacted_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """One search of 10,000 headers takes milliseconds; a search of each would block the loop."""
    calls = 0

    def count(text: str, secrets: Any) -> str:
        nonlocal calls
        calls += 1
        return redact(text, secrets)

    monkeypatch.setattr(raw, "redact", count)
    headers = {f"x-{number}": str(number) for number in range(10_000)}
    odd = {"x-name": "Signature", "x-value": "=abc", "x-break": "a\nb", "x-empty": ""}
    endpoint = Endpoint("/x", DEFAULT_LIMIT, bytes)
    response = Response(200, headers | odd, b'{"data":1}', sent_query="Signature=abc")
    shown = raw.to_raw_response(endpoint, response, 0.0, 0.0).headers
    assert calls == 1
    assert shown == headers | odd | {"x-value": "=[hidden]", "x-break": "a b"}
    bare = Response(200, {}, b'{"data":1}')
    assert raw.to_raw_response(endpoint, bare, 0.0, 0.0).headers == {}


def test_raw_response_headers_contain_no_secret() -> None:
    """A redirect to the signed URL is redacted, and cookies are dropped."""

    def respond(request: httpx.Request) -> httpx.Response:
        url = str(request.url)
        headers = {"Location": url, "Link": f"<{url}>", "Set-Cookie": "session=1", "X-Id": "7"}
        return httpx.Response(200, content=OK, headers=headers)

    transport = ScriptedTransport([respond])

    async def main() -> RawResponse:
        async with client_for(transport) as htx:
            return await htx.get("/v1/x")

    response = run(main())
    text = f"{response!r} {response.headers}"
    signature = transport.requests[0].url.params["Signature"]
    for secret in ("AKIDEXAMPLE0123456789", signature, "session"):
        assert secret not in text
    assert response.headers["x-id"] == "7"
    assert "/v1/x" in response.headers["location"]


@pytest.mark.parametrize(
    ("data", "data_repr"),
    [
        (b"[%s]" % b",".join([b"1"] * 100_000), "<list of 100000>"),
        (b'{"a":"secret"}', "<dict of 1>"),
        (b'"secret"', "<str of 6>"),
        (b"7", "<int>"),
    ],
)
def test_raw_response_repr_contains_only_the_shape_of_the_data(data: bytes, data_repr: str) -> None:
    """The repr contains no value of the data."""
    transport = responding(b'{"status":"ok","data":%s}' % data)

    async def main() -> RawResponse:
        async with client_for(transport, rate_limiter=UNLIMITED) as htx:
            return await htx.get("/v1/x")

    response = run(main())
    assert (
        repr(response)
        == f"RawResponse(data={data_repr}, status=200, attempts=1, queued=0.0, elapsed=0.0)"
    )


@pytest.mark.parametrize(
    "duplicate",
    [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))],  # noqa: S301
)
def test_raw_response_can_be_copied_and_pickled(
    duplicate: Callable[[RawResponse], RawResponse],
) -> None:
    """The copy is equal, and a response is frozen."""
    response = RawResponse([{"a": Decimal("0.10")}], 200, {"x": "y"}, 1, 0.5, 1.0, {"next-id": 7})
    assert duplicate(response) == response
    with pytest.raises(AttributeError):
        response.data = 1  # type: ignore[misc]


def test_raw_get_raises_the_api_error_of_htx() -> None:
    """The error names the endpoint."""
    transport = responding(
        b'{"status":"error","err-code":"base-operation-forbidden","err-msg":"no"}'
    )

    async def main() -> None:
        async with client_for(transport) as htx:
            await htx.get("/v1/subuser/aggregate-balance")

    with pytest.raises(PermissionDeniedError, match="GET /v1/subuser/aggregate-balance: HTX"):
        run(main())


@given(strategies.json_values)
def test_raw_get_returns_any_json_value(value: Any) -> None:
    """Floats become exact decimals; all other values are unchanged."""
    body = b'{"status":"ok","data":' + msgspec.json.encode(value) + b"}"

    async def main() -> Any:
        async with client_for(responding(body)) as htx:
            return (await htx.get("/v1/x")).data

    assert same(run(main()), value)


def same(data: Any, value: Any) -> bool:
    """Return whether *data* equals *value*, with an exact number in place of each float."""
    if isinstance(value, float):
        return isinstance(data, Decimal | int) and float(data) == value
    if isinstance(value, list):
        return len(data) == len(value) and all(map(same, data, value))
    if isinstance(value, dict):
        return data.keys() == value.keys() and all(same(data[k], value[k]) for k in value)
    return type(data) is type(value) and bool(data == value)
