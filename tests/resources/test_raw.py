"""`htx.get`: any signed read, through the same layers, with exact plain values."""

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
    """Answers everything with one body, after *seconds*; notes what was asked."""

    def __init__(
        self, body: bytes = OK, seconds: float = 0.0, headers: dict[str, str] | None = None
    ) -> None:
        self.body = body
        self.seconds = seconds
        self.headers = headers or {}
        self.asked: list[httpx.URL] = []
        self.failing = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url)
        await asyncio.sleep(self.seconds)
        headers = {name: value.format(url=request.url) for name, value in self.headers.items()}
        if len(self.asked) <= self.failing:
            return httpx.Response(503, headers=headers)
        return httpx.Response(200, content=self.body, headers=headers)

    @property
    def said(self) -> list[dict[str, str]]:
        """The parameters of each request, without those of the authentication."""
        pairs = [parse_qsl(url.query.decode(), keep_blank_values=True) for url in self.asked]
        return [{k: v for k, v in each if k.lower() not in raw.AUTH_PARAMS} for each in pairs]


def asking(server: Server, **options: Any) -> HTXClient:
    return HTXClient(KEYS, transport=server, clock=VirtualClock(), **options)


async def test_the_same_as_by_its_resource() -> None:
    """HTX's own words, with all digits, and how it went."""
    transport = httpx.ASGITransport(app=Sandbox())
    async with HTXClient(Credentials("access-key", "secret-key"), transport=transport) as htx:
        answer = await htx.get("/v1/account/accounts/1000001/balance")
        points = await htx.get("/v2/point/account", limit=RateLimit(2, per=1.0))
        told = await htx.get("/v1/common/timestamp", signed=False)
    assert answer.data["list"][0]["balance"] == "91.850043797676510303"
    assert answer.data["id"] == 1000001
    assert (answer.status, answer.attempts) == (200, 1)
    assert answer.headers["content-type"].startswith("application/json")
    assert 0.0 <= answer.queued <= answer.elapsed < 5
    assert points.envelope == {"code": 200, "success": True}
    assert isinstance(told.data, int)


def test_numbers_are_exact() -> None:
    """A point or an exponent makes a `Decimal`; no float is anywhere."""
    server = Server(b'{"code":200,"data":{"a":[0.1,1E3,-5,123456789012345678901,"x",true,null]}}')

    async def main() -> Any:
        async with asking(server) as htx:
            return (await htx.get("/v2/account/ledger")).data

    data = run(main())
    wanted = [Decimal("0.1"), Decimal("1E3"), -5, 123456789012345678901, "x", True, None]
    assert data == {"a": wanted}
    assert [type(value) for value in data["a"]] == [type(value) for value in wanted]


@pytest.mark.parametrize("number", ["1e1000", "1." + "0" * 100, "1E999999999"])
def test_a_number_that_nobody_can_hold_is_a_decode_error(number: str) -> None:
    """It says so, with the endpoint, and nothing is chained."""
    server = Server(b'{"code":200,"data":%s}' % number.encode())

    async def main() -> None:
        async with asking(server) as htx:
            await htx.get("/v2/user/uid")

    with pytest.raises(DecodeError, match="GET /v2/user/uid: the response cannot be") as caught:
        run(main())
    error = caught.value
    assert (error.path, error.http_status, error.delivery) == ("data", 200, "answered")
    assert error.__context__ is None


def test_parameters_are_sent_as_they_are_meant() -> None:
    """Text, numbers, amounts and members of enumerations."""

    class Way(enum.StrEnum):
        BACK = "desc"

    server = Server()
    given: dict[str, raw.ParamValue] = {
        "b": "a b/ü",
        "a": 10**30,
        "amount": Decimal("1E-7"),
        "sort": Way.BACK,
        "type": AccountType.SPOT,
        "empty": "",
    }

    async def main() -> None:
        async with asking(server) as htx:
            await htx.get("/v1/account/history", params=given)

    run(main())
    assert server.said == [
        {
            "a": "1" + "0" * 30,
            "amount": "0.0000001",
            "b": "a b/ü",
            "empty": "",
            "sort": "desc",
            "type": "spot",
        }
    ]
    assert server.asked[0].path == "/v1/account/history"
    assert server.asked[0].params["AccessKeyId"] == "AKIDEXAMPLE0123456789"


@given(st.dictionaries(st.text("abAB._-09", min_size=1), st.text() | st.integers(), max_size=4))
def test_any_parameters_arrive_or_are_refused(given: dict[str, str | int]) -> None:
    """What HTX's end reads is what was given."""
    server = Server()

    async def main() -> None:
        async with asking(server) as htx:
            await htx.get("/v1/x", params=given)

    run(main())
    assert server.said == [{name: str(value) for name, value in given.items()}]


def test_unsigned_reads_tell_no_key() -> None:
    """Market data is nobody's."""
    server = Server()

    async def main() -> None:
        async with asking(server) as htx:
            await htx.get("/v2/market-status", signed=False, params={"x": 1})

    run(main())
    assert str(server.asked[0]) == "https://api.huobi.pro/v2/market-status?x=1"


PATHS = [
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
VALUES: list[object] = [
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
NO_LIMITS: list[object] = [10, (10, 1.0), "10"]
NO_NUMBERS: list[Any] = [0, -1, True, 1.5]
NAMES = ["AccessKeyId", "accesskeyid", "SIGNATURE", "Signature", "SignatureMethod", "Timestamp"]
NAMES += ["timestamp", "SignatureVersion", "", "a b", "a=b", "ü", "a\n"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        *(({"path": path}, "path must") for path in PATHS),
        *(({"params": {"amount": value}}, "the parameter amount must be") for value in VALUES),
        *(
            ({"params": {name: "1"}}, "the name of a parameter|the signature adds")
            for name in NAMES
        ),
        ({"params": {1: "1"}}, "the name of a parameter must"),
        ({"params": [("a", "b")]}, "params must be a mapping"),
        ({"params": "a=b"}, "params must be a mapping"),
        *(({"limit": limit}, "limit must be a RateLimit") for limit in NO_LIMITS),
        *(({"limit": RateLimit(n, 1.0)}, "RateLimit.(requests|per) must be") for n in NO_NUMBERS),
        *(
            ({"limit": RateLimit(1, per)}, "RateLimit.(requests|per) must be")
            for per in (0.0, -1.0, float("nan"))
        ),
    ],
)
def test_what_cannot_be_right_is_told_before_anything_is_sent(
    asked: dict[str, Any], words: str
) -> None:
    """One sentence."""
    server = Server()

    async def main() -> None:
        async with asking(server) as htx:
            with pytest.raises(InvalidInputError, match=words) as caught:
                await htx.get(**({"path": "/v1/x"} | asked))
            assert "\n" not in str(caught.value)
            assert len(str(caught.value)) < 200

    run(main())
    assert not server.asked


def test_a_signed_url_in_the_path_is_not_repeated() -> None:
    """Somebody pasted it."""
    with pytest.raises(InvalidInputError) as caught:
        raw.check_path("/v1/x?AccessKeyId=AKIDEXAMPLE0123456789&Signature=abc")
    assert "AKID" not in str(caught.value)


def test_a_limit_is_kept_and_shared_by_all_ids() -> None:
    """Three reads of two a second: the last one waits, whatever its id."""
    server = Server()

    async def main() -> list[RawResponse]:
        async with asking(server) as htx:
            paths = [f"/v1/order/orders/{number}" for number in (1, 22, 333)]
            limit = RateLimit(2, per=1.0)
            answers = await asyncio.gather(*(htx.get(path, limit=limit) for path in paths))
            status = htx.limits()["GET /v1/order/orders/{id}"]
            assert (status.limit, status.available) == (limit, 1)
            return answers

    answers = run(main())
    assert [answer.queued for answer in answers] == pytest.approx([0.0, 0.0, 1.0])
    assert [answer.elapsed for answer in answers] == pytest.approx([0.0, 0.0, 1.0])


@pytest.mark.usefixtures("virtual_time")
async def test_a_path_of_a_resource_spends_its_tokens() -> None:
    """HTX counts an endpoint, however it is asked."""
    server = Server(b'{"code":200,"data":{}}')
    async with asking(server) as htx:
        await htx.get("/v2/point/account", limit=RateLimit(100, per=1.0))
        assert htx.limits()["GET /v2/point/account"].available == 1
        await htx.get("/v1/account/accounts/5/balance")
        assert htx.limits()["GET /v1/account/accounts/{account-id}/balance"].available == 99
        assert len(htx.limits()) == len(ENDPOINTS)


@pytest.mark.usefixtures("virtual_time")
async def test_the_limit_of_a_path_is_told_once() -> None:
    """Later calls may leave it out; another figure is a mistake. So for copies of a client."""
    server = Server()
    async with asking(server) as htx:
        await htx.get("/v1/a", limit=RateLimit(5, per=2.0))
        await htx.with_options(timeout=1.0).get("/v1/a")
        await htx.get("/v1/a", limit=RateLimit(5, per=2.0))
        assert htx.limits()["GET /v1/a"].available == 2
        with pytest.raises(InvalidInputError, match="GET /v1/a was set to 5 in 2 s"):
            await htx.get("/v1/a", limit=RateLimit(50, per=2.0))
        await htx.get("/v1/b")
        assert htx.limits()["GET /v1/b"].limit == DEFAULT_LIMIT == RateLimit(10, per=1.0)


@pytest.mark.usefixtures("virtual_time")
async def test_equal_reads_that_wait_share_and_each_has_its_own_answer() -> None:
    """In whatever order the parameters come; signed and unsigned ones are not equal."""
    server = Server(b'{"status":"ok","data":[{"a":1}]}', seconds=0.5)
    async with asking(server) as htx:
        limit = RateLimit(1, per=1.0)
        first = asyncio.create_task(htx.get("/v1/x", limit=limit))
        await asyncio.sleep(0.25)
        reads = [
            asyncio.create_task(htx.get("/v1/x", params={"a": 1, "b": 2})),
            asyncio.create_task(htx.get("/v1/x", params={"b": "2", "a": "1"})),
        ]
        await asyncio.sleep(0.25)
        late = asyncio.create_task(htx.get("/v1/x", params={"b": 2, "a": 1}))
        bare = asyncio.create_task(htx.get("/v1/x", params={"b": 2, "a": 1}, signed=False))
        answers = [await read for read in (first, *reads, late, bare)]
    assert len(server.asked) == 3
    assert [answer.queued for answer in answers] == pytest.approx([0, 1.25, 1.25, 1.0, 2.5])
    assert [answer.elapsed for answer in answers] == pytest.approx([0.5, 1.75, 1.75, 1.5, 3.0])
    answers[1].data[0]["a"] = 2
    assert answers[2].data == [{"a": 1}]


@pytest.mark.usefixtures("virtual_time")
async def test_a_resource_does_not_share_with_its_path() -> None:
    """One wants a model, the other plain values."""
    transport = httpx.ASGITransport(app=Sandbox())
    keys = Credentials("access-key", "secret-key")
    async with HTXClient(keys, transport=transport, clock=VirtualClock()) as htx:
        answer, listed, again = await asyncio.gather(
            htx.get("/v1/account/accounts"),
            htx.accounts.list(),
            htx.get("/v1/account/accounts"),
        )
        assert listed[0].id == answer.data[0]["id"] == again.data[0]["id"]


def test_attempts_and_waits_add_up() -> None:
    """Two that fail and one that does not; the pauses between them are no waiting for a token."""
    server = Server()
    server.failing = 2

    async def main() -> RawResponse:
        async with asking(server, retry=RetryPolicy(attempts=3, initial_delay=0.001)) as htx:
            return await htx.get("/v1/x", limit=RateLimit(1, per=1.0))

    answer = run(main())
    assert answer.attempts == 3
    assert 1.9 < answer.queued <= 2.0
    assert answer.queued < answer.elapsed < 2.1


def test_headers_echo_no_secret() -> None:
    """A redirect's target would be the signed URL; cookies are nobody's business."""
    echoing = {"Location": "{url}", "Link": "<{url}>", "Set-Cookie": "session=1", "X-Id": "7"}
    server = Server(headers=echoing)

    async def main() -> RawResponse:
        async with asking(server) as htx:
            return await htx.get("/v1/x")

    answer = run(main())
    said = f"{answer!r} {answer.headers}"
    signature = server.asked[0].params["Signature"]
    for secret in ("AKIDEXAMPLE0123456789", signature, "session"):
        assert secret not in said
    assert answer.headers["x-id"] == "7"
    assert "/v1/x" in answer.headers["location"]


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"[%s]" % b",".join([b"1"] * 100_000), "<list of 100000>"),
        (b'{"a":"secret"}', "<dict of 1>"),
        (b'"secret"', "<str of 6>"),
        (b"7", "<int>"),
    ],
)
def test_the_repr_shows_the_shape_of_the_data(data: bytes, shown: str) -> None:
    """And nothing of what it says."""
    server = Server(b'{"status":"ok","data":%s}' % data)

    async def main() -> RawResponse:
        async with asking(server, rate_limiter=UNLIMITED) as htx:
            return await htx.get("/v1/x")

    answer = run(main())
    assert (
        repr(answer)
        == f"RawResponse(data={shown}, status=200, attempts=1, queued=0.0, elapsed=0.0)"
    )


@pytest.mark.parametrize(
    "again",
    [copy.copy, copy.deepcopy, lambda a: pickle.loads(pickle.dumps(a))],  # noqa: S301
)
def test_an_answer_is_a_value(again: Callable[[RawResponse], RawResponse]) -> None:
    """It can be copied and pickled."""
    answer = RawResponse([{"a": Decimal("0.10")}], 200, {"x": "y"}, 1, 0.5, 1.0, {"next-id": 7})
    assert again(answer) == answer
    with pytest.raises(AttributeError):
        answer.data = 1  # type: ignore[misc]


def test_a_refusal_is_the_error_that_it_always_is() -> None:
    """With the endpoint's name, and what HTX said."""
    server = Server(b'{"status":"error","err-code":"base-operation-forbidden","err-msg":"no"}')

    async def main() -> None:
        async with asking(server) as htx:
            await htx.get("/v1/subuser/aggregate-balance")

    with pytest.raises(PermissionDeniedError, match="GET /v1/subuser/aggregate-balance: HTX"):
        run(main())


@given(strategies.json_values)
def test_any_data_comes_out(value: Any) -> None:
    """Whatever JSON says, but floats."""
    body = b'{"status":"ok","data":' + msgspec.json.encode(value) + b"}"

    async def main() -> Any:
        async with asking(Server(body)) as htx:
            return (await htx.get("/v1/x")).data

    assert same(run(main()), value)


def same(found: Any, value: Any) -> bool:
    """Tell whether *found* is *value*, with a `Decimal` of its digits for each float."""
    if isinstance(value, float):
        return isinstance(found, Decimal | int) and float(found) == value
    if isinstance(value, list):
        return len(found) == len(value) and all(map(same, found, value))
    if isinstance(value, dict):
        return found.keys() == value.keys() and all(same(found[k], value[k]) for k in value)
    return type(found) is type(value) and bool(found == value)
