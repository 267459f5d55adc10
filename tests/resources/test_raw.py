"""`htx.get`: calls of endpoints without a resource, with exact plain values."""

from __future__ import annotations

import asyncio
import copy
import enum
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
from htx_async.resources import ENDPOINTS, raw
from htx_async.resources.raw import DEFAULT_LIMIT
from htx_async.sandbox import Sandbox
from tests import strategies
from tests.virtual import VirtualClock, run

KEYS = Credentials("AKIDEXAMPLE0123456789", "SECRETEXAMPLE9876543210")
OK = b'{"status":"ok","data":[],"next-id":7}'


class Server(httpx.AsyncBaseTransport):
    """A transport that returns one body after *seconds* and records the URLs."""

    def __init__(
        self, body: bytes = OK, seconds: float = 0.0, headers: dict[str, str] | None = None
    ) -> None:
        self.body = body
        self.seconds = seconds
        self.headers = headers or {}
        self.urls: list[httpx.URL] = []
        self.failures = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.urls.append(request.url)
        await asyncio.sleep(self.seconds)
        headers = {name: value.format(url=request.url) for name, value in self.headers.items()}
        if len(self.urls) <= self.failures:
            return httpx.Response(503, headers=headers)
        return httpx.Response(200, content=self.body, headers=headers)

    @property
    def sent_params(self) -> list[dict[str, str]]:
        """The parameters of each request, without those of authentication."""
        pairs = [parse_qsl(url.query.decode(), keep_blank_values=True) for url in self.urls]
        return [{k: v for k, v in params if k.lower() not in raw.AUTH_PARAMS} for params in pairs]


def client_for(server: Server, **options: Any) -> HTXClient:
    return HTXClient(KEYS, transport=server, clock=VirtualClock(), **options)


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
    server = Server(b'{"code":200,"data":{"a":[0.1,1E3,-5,123456789012345678901,"x",true,null]}}')

    async def main() -> Any:
        async with client_for(server) as htx:
            return (await htx.get("/v2/account/ledger")).data

    data = run(main())
    expected = [Decimal("0.1"), Decimal("1E3"), -5, 123456789012345678901, "x", True, None]
    assert data == {"a": expected}
    assert [type(value) for value in data["a"]] == [type(value) for value in expected]


@pytest.mark.parametrize("number", ["1e1000", "1." + "0" * 100, "1E999999999"])
def test_raw_get_raises_decode_error_for_numbers_out_of_range(number: str) -> None:
    """The error names the endpoint and has no chained exception."""
    server = Server(b'{"code":200,"data":%s}' % number.encode())

    async def main() -> None:
        async with client_for(server) as htx:
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

    server = Server()
    params: dict[str, raw.ParamValue] = {
        "b": "a b/ü",
        "a": 10**30,
        "amount": Decimal("1E-7"),
        "sort": Sort.DESCENDING,
        "type": AccountType.SPOT,
        "empty": "",
    }

    async def main() -> None:
        async with client_for(server) as htx:
            await htx.get("/v1/account/history", params=params)

    run(main())
    assert server.sent_params == [
        {
            "a": "1" + "0" * 30,
            "amount": "0.0000001",
            "b": "a b/ü",
            "empty": "",
            "sort": "desc",
            "type": "spot",
        }
    ]
    assert server.urls[0].path == "/v1/account/history"
    assert server.urls[0].params["AccessKeyId"] == "AKIDEXAMPLE0123456789"


@given(st.dictionaries(st.text("abAB._-09", min_size=1), st.text() | st.integers(), max_size=4))
def test_raw_get_sends_any_parameters_unchanged(params: dict[str, str | int]) -> None:
    """The server parses exactly the parameters that were passed."""
    server = Server()

    async def main() -> None:
        async with client_for(server) as htx:
            await htx.get("/v1/x", params=params)

    run(main())
    assert server.sent_params == [{name: str(value) for name, value in params.items()}]


def test_raw_get_unsigned_sends_no_key() -> None:
    server = Server()

    async def main() -> None:
        async with client_for(server) as htx:
            await htx.get("/v2/market-status", signed=False, params={"x": 1})

    run(main())
    assert str(server.urls[0]) == "https://api.huobi.pro/v2/market-status?x=1"


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
    server = Server()

    async def main() -> None:
        async with client_for(server) as htx:
            with pytest.raises(InvalidInputError, match=message) as caught:
                await htx.get(**({"path": "/v1/x"} | arguments))
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 200

    run(main())
    assert not server.urls


def test_raw_get_error_does_not_echo_a_signed_url() -> None:
    """A signed URL passed as the path does not appear in the error."""
    with pytest.raises(InvalidInputError) as caught:
        raw.check_path("/v1/x?AccessKeyId=AKIDEXAMPLE0123456789&Signature=abc")
    assert "AKID" not in str(caught.value)


def test_raw_get_limit_is_shared_by_all_ids_of_a_path() -> None:
    """Of three calls with a limit of 2 per second, the last one queues, although its id differs."""
    server = Server()

    async def main() -> list[RawResponse]:
        async with client_for(server) as htx:
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
    server = Server(b'{"code":200,"data":{}}')
    async with client_for(server) as htx:
        await htx.get("/v2/point/account", limit=RateLimit(100, per=1.0))
        assert htx.limits()["GET /v2/point/account"].available == 1
        await htx.get("/v1/account/accounts/5/balance")
        assert htx.limits()["GET /v1/account/accounts/{account-id}/balance"].available == 99
        assert len(htx.limits()) == len(ENDPOINTS)


@pytest.mark.usefixtures("virtual_time")
async def test_raw_get_limit_of_a_path_is_set_once() -> None:
    """Later calls may omit the limit; another value is an error. This includes client copies."""
    server = Server()
    async with client_for(server) as htx:
        await htx.get("/v1/a", limit=RateLimit(5, per=2.0))
        await htx.with_options(timeout=1.0).get("/v1/a")
        await htx.get("/v1/a", limit=RateLimit(5, per=2.0))
        assert htx.limits()["GET /v1/a"].available == 2
        with pytest.raises(InvalidInputError, match="GET /v1/a was set to 5 in 2 s"):
            await htx.get("/v1/a", limit=RateLimit(50, per=2.0))
        await htx.get("/v1/b")
        assert htx.limits()["GET /v1/b"].limit == DEFAULT_LIMIT == RateLimit(10, per=1.0)


@pytest.mark.usefixtures("virtual_time")
async def test_raw_get_coalesces_identical_queued_calls_with_separate_data() -> None:
    """The order of parameters is irrelevant; signed and unsigned calls are not identical."""
    server = Server(b'{"status":"ok","data":[{"a":1}]}', seconds=0.5)
    async with client_for(server) as htx:
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
    assert len(server.urls) == 3
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
    server = Server()
    server.failures = 2

    async def main() -> RawResponse:
        async with client_for(server, retry=RetryPolicy(attempts=3, initial_delay=0.001)) as htx:
            return await htx.get("/v1/x", limit=RateLimit(1, per=1.0))

    response = run(main())
    assert response.attempts == 3
    assert 1.9 < response.queued <= 2.0
    assert response.queued < response.elapsed < 2.1


def test_raw_response_headers_contain_no_secret() -> None:
    """A redirect to the signed URL is redacted, and cookies are dropped."""
    headers = {"Location": "{url}", "Link": "<{url}>", "Set-Cookie": "session=1", "X-Id": "7"}
    server = Server(headers=headers)

    async def main() -> RawResponse:
        async with client_for(server) as htx:
            return await htx.get("/v1/x")

    response = run(main())
    text = f"{response!r} {response.headers}"
    signature = server.urls[0].params["Signature"]
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
    server = Server(b'{"status":"ok","data":%s}' % data)

    async def main() -> RawResponse:
        async with client_for(server, rate_limiter=UNLIMITED) as htx:
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
    server = Server(b'{"status":"error","err-code":"base-operation-forbidden","err-msg":"no"}')

    async def main() -> None:
        async with client_for(server) as htx:
            await htx.get("/v1/subuser/aggregate-balance")

    with pytest.raises(PermissionDeniedError, match="GET /v1/subuser/aggregate-balance: HTX"):
        run(main())


@given(strategies.json_values)
def test_raw_get_returns_any_json_value(value: Any) -> None:
    """Floats become exact decimals; all other values are unchanged."""
    body = b'{"status":"ok","data":' + msgspec.json.encode(value) + b"}"

    async def main() -> Any:
        async with client_for(Server(body)) as htx:
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
