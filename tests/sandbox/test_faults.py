"""Faults of answers, one test each, and how they are ordered."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from htx_async.sandbox import Fault, Sandbox, faults
from tests.sandbox.signer import HandClock, client, url
from tests.virtual import DAY

ACCOUNTS = "/v1/account/accounts"
BALANCE = "/v1/account/accounts/1000001/balance"
POINTS = "/v2/point/account"
TIMESTAMP = "/v1/common/timestamp"
NAMES = {path: f"GET {path}" for path in (ACCOUNTS, POINTS, TIMESTAMP)}


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(clock=HandClock(), limits=False)


async def get(sandbox: Sandbox, path: str = TIMESTAMP) -> httpx.Response:
    """Ask once."""
    async with client(sandbox) as http:
        return await http.get(url(path))


async def met(sandbox: Sandbox, count: int, path: str = TIMESTAMP) -> list[Any]:
    """Ask *count* times; return the code of each answer."""
    for _ in range(count):
        await get(sandbox, path)
    return [arrival.code for arrival in list(sandbox.arrivals)[-count:]]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (ACCOUNTS, {"status": "error", "err-code": "no", "err-msg": "never", "data": None}),
        (POINTS, {"code": "no", "message": "never"}),
        ("/nowhere", {"status": "error", "err-code": "no", "err-msg": "never", "data": None}),
    ],
)
async def test_refusal(sandbox: Sandbox, path: str, body: Any) -> None:
    """In the envelope of the path, with the status that was asked for, and remembered so."""
    sandbox.faults.next(faults.refusal("no", "never", status=503))
    response = await get(sandbox, path)
    assert (response.status_code, response.json()) == (503, body)
    assert (sandbox.arrivals[0].status, sandbox.arrivals[0].code) == (503, "no")


@pytest.mark.parametrize("name", faults.CATALOGUE)
async def test_every_error_body_of_the_catalogue(sandbox: Sandbox, name: str) -> None:
    """Its name begins with its code."""
    sandbox.faults.next(faults.CATALOGUE[name])
    sandbox.faults.next(faults.CATALOGUE[name])
    for path in (ACCOUNTS, POINTS):
        response = await get(sandbox, path)
        arrival = sandbox.arrivals[-1]
        assert arrival.status == response.status_code
        if name != "403 page":
            told = response.json()
            code = told.get("err-code") or told.get("err_code") or told["code"]
            assert (told.get("status"), code) != ("ok", 200)
            assert code == arrival.code
        if name[0].islower() and path == ACCOUNTS:
            assert name.startswith(str(arrival.code))


def test_the_catalogue_cannot_be_changed() -> None:
    """It is the same for all; and it is large."""
    assert len(faults.CATALOGUE) > 90
    with pytest.raises(TypeError):
        faults.CATALOGUE["mine"] = faults.html()  # type: ignore[index]


async def test_maintenance(sandbox: Sandbox) -> None:
    """In both envelopes, with a number for a code in v2."""
    sandbox.faults.always(faults.maintenance())
    assert (await get(sandbox, ACCOUNTS)).json()["err-code"] == "system-maintenance"
    told = (await get(sandbox, POINTS)).json()
    assert told == {"code": 500, "message": "System is in maintenance!"}


@pytest.mark.parametrize(
    ("status", "title"), [(502, "502 Bad Gateway"), (520, "520"), (403, "403 Forbidden")]
)
async def test_html(status: int, title: str) -> None:
    """A page, of which HTX's limits know nothing."""
    sandbox = Sandbox(clock=HandClock())
    sandbox.faults.next(faults.html(status))
    response = await get(sandbox)
    assert response.status_code == status
    assert f"<title>{title}</title>" in response.text
    assert response.headers["content-type"] == "text/html"
    assert "x-hb-ratelimit-requests-remain" not in response.headers
    assert sandbox.arrivals[0].code is None


async def test_too_many_with_headers() -> None:
    """Nothing is left, and it tells until when."""
    sandbox = Sandbox(clock=HandClock())
    sandbox.faults.next(faults.too_many())
    response = await get(sandbox, POINTS)
    assert (response.status_code, response.json()["code"]) == (429, 1006)
    assert response.headers["x-hb-ratelimit-requests-remain"] == "0"
    assert response.headers["x-hb-ratelimit-requests-expire"] == "1000"
    assert "retry-after" not in response.headers
    assert sandbox.rate_limited == 0


async def test_too_many_where_nothing_is_counted(sandbox: Sandbox) -> None:
    """The window is that of the endpoint; that of a path that does not exist lasts 1 s."""
    sandbox.faults.always(faults.too_many())
    for path, expire in ((ACCOUNTS, "2000"), ("/nowhere", "1000")):
        response = await get(sandbox, path)
        assert response.headers["x-hb-ratelimit-requests-expire"] == expire


async def test_too_many_without_headers() -> None:
    """Or only with `Retry-After`."""
    sandbox = Sandbox(clock=HandClock())
    sandbox.faults.next(faults.too_many(headers=False))
    sandbox.faults.next(faults.too_many(headers=False, retry_after=1.5))
    response = await get(sandbox)
    assert response.status_code == 429
    assert not [name for name in response.headers if name.startswith("x-hb")]
    assert "retry-after" not in response.headers
    assert (await get(sandbox)).headers["retry-after"] == "1.5"


async def test_skewed(sandbox: Sandbox) -> None:
    """What HTX tells as its time, by body and by header, and what it checks by it."""
    sandbox.faults.always(faults.skewed(600))
    response = await get(sandbox)
    assert response.json()["data"] == (DAY + 600) * 1000
    assert response.headers["date"] == "Tue, 14 Nov 2023 22:23:20 GMT"
    assert "Invalid submission time" in (await get(sandbox, ACCOUNTS)).json()["err-msg"]
    sandbox.faults.clear()
    assert (await get(sandbox, ACCOUNTS)).json()["status"] == "ok"


@pytest.mark.parametrize("value", [None, "a lot", 1.5, True, [], {"a": "b"}, -1])
async def test_a_wrong_or_null_field(sandbox: Sandbox, value: Any) -> None:
    """The rest is as ever."""
    honest = (await get(sandbox, BALANCE)).json()
    sandbox.faults.next(faults.field("data.list[1].balance", value))
    told = (await get(sandbox, BALANCE)).json()
    assert told["data"]["list"][1]["balance"] == value
    told["data"]["list"][1]["balance"] = honest["data"]["list"][1]["balance"]
    assert told == honest


async def test_a_missing_field(sandbox: Sandbox) -> None:
    """An element of a list is missing by closing the gap."""
    honest = (await get(sandbox, BALANCE)).json()
    sandbox.faults.next(faults.field("data.list[0].balance", faults.MISSING))
    sandbox.faults.next(faults.field("data.list[0]", faults.MISSING))
    assert "balance" not in (await get(sandbox, BALANCE)).json()["data"]["list"][0]
    assert (await get(sandbox, BALANCE)).json()["data"]["list"] == honest["data"]["list"][1:]


async def test_a_new_field(sandbox: Sandbox) -> None:
    """HTX may add some at any time."""
    sandbox.faults.next(faults.field("data.new", 1))
    assert (await get(sandbox, BALANCE)).json()["data"]["new"] == 1


@pytest.mark.parametrize("path", ["data.list[9].balance", "data.id.x", "[0]", "data.gone.x"])
@pytest.mark.parametrize("value", [1, faults.MISSING])
async def test_a_field_that_is_not_there(sandbox: Sandbox, path: str, value: Any) -> None:
    """The answer stays as it is: it may be a refusal, and be refused for good reasons."""
    honest = (await get(sandbox, BALANCE)).json()
    sandbox.faults.next(faults.field(path, value))
    assert (await get(sandbox, BALANCE)).json() == honest


async def test_a_field_of_a_page(sandbox: Sandbox) -> None:
    """There are none."""
    sandbox.faults.next(faults.field("data", 1))
    async with client(sandbox) as http:
        response = await http.request("GET", TIMESTAMP, content=b"{}")
    assert (response.status_code, response.text[:6]) == (403, "<html>")


@pytest.mark.parametrize("path", ["", "data[x]", "data..list", "data[0", "data.list[0]."])
def test_a_path_that_is_none(path: str) -> None:
    """It is told at once."""
    with pytest.raises(ValueError, match=re.escape(repr(path))):
        faults.field(path, None)


@pytest.mark.parametrize("size", [100_000, 65_536, 70, 10])
async def test_huge(sandbox: Sandbox, size: int) -> None:
    """Valid JSON, never zipped, of exactly that size, but never shorter than it was."""
    honest = await get(sandbox)
    sandbox.faults.next(faults.huge(size))
    response = await get(sandbox)
    assert len(response.content) == max(size, len(honest.content))
    assert response.headers["content-length"] == str(len(response.content))
    assert response.json() == honest.json()


async def test_huge_is_as_large_as_it_says_and_holds_nothing(sandbox: Sandbox) -> None:
    """All 200 MB are the same 64 kB."""
    sandbox.faults.next(faults.huge())
    parts: dict[int, int] = {}
    sizes = 0

    async def send(message: Any) -> None:
        nonlocal sizes
        body = message.get("body", b"")
        sizes += len(body)
        parts[id(body)] = len(body)

    async def receive() -> Any:
        return {"type": "http.request"}

    scope = {"type": "http", "method": "GET", "path": TIMESTAMP, "headers": []}
    await sandbox(scope, receive, send)
    assert sizes == 200 * 2**20
    assert sum(parts.values()) < 500_000


async def test_redirect(sandbox: Sandbox) -> None:
    """To another host."""
    sandbox.faults.next(faults.redirect())
    sandbox.faults.next(faults.redirect("https://evil.example/x"))
    response = await get(sandbox)
    assert (response.status_code, response.headers["location"]) == (302, "https://example.com/")
    assert (await get(sandbox)).headers["location"] == "https://evil.example/x"


async def test_gzip_garbage(sandbox: Sandbox) -> None:
    """It says gzip and is not; also for who never asked for it."""
    sandbox.faults.next(faults.gzip_garbage())
    with pytest.raises(httpx.DecodingError):
        await get(sandbox)
    assert sandbox.arrivals[0].status == 200


WIRE: list[Callable[[], Fault]] = [
    faults.refuse,
    faults.hang,
    faults.cut,
    faults.reset,
    faults.trickle,
    faults.wrong_length,
    faults.answer_and_close,
]


@pytest.mark.parametrize("make", WIRE)
async def test_faults_on_the_wire_need_one(sandbox: Sandbox, make: Callable[[], Fault]) -> None:
    """With `ASGITransport` there is none; the request was counted and is remembered."""
    sandbox.faults.next(make())
    with pytest.raises(RuntimeError, match=r"needs a connection, see Sandbox\.serve"):
        await get(sandbox)
    assert len(sandbox.arrivals) == 1


async def test_faults_are_values(sandbox: Sandbox) -> None:
    """Equal, hashable, frozen; and the plainest one does nothing."""
    assert faults.field("a", [1]) == faults.field("a", [1]) != faults.field("a", faults.MISSING)
    assert len({faults.html(), faults.html(502), faults.html(503), faults.cut()}) == 3
    assert repr(faults.html()) == "Page(status=502, location=None)"
    with pytest.raises(AttributeError):
        faults.html().status = 1  # type: ignore[attr-defined]
    sandbox.faults.next(Fault())
    assert (await get(sandbox)).json()["status"] == "ok"


@pytest.mark.parametrize(
    "make",
    [
        lambda: faults.html(99),
        lambda: faults.refusal("x", status=600),
        lambda: faults.too_many(retry_after=-1),
        lambda: faults.skewed(float("inf")),
        lambda: faults.refuse(-1),
        lambda: faults.hang("tail"),  # type: ignore[arg-type]
        lambda: faults.cut(-1),
        lambda: faults.trickle(float("nan")),
        lambda: faults.wrong_length(0),
    ],
)
def test_faults_that_cannot_be(make: Callable[[], Fault]) -> None:
    """They are told when they are made."""
    with pytest.raises(ValueError, match=r"must|status"):
        make()


A, B, C, D = (faults.refusal(code) for code in "abcd")


async def test_next(sandbox: Sandbox) -> None:
    """One after the other, as often as was said."""
    sandbox.faults.next(A, times=2)
    sandbox.faults.next(B)
    assert await met(sandbox, 4) == ["a", "a", "b", None]


async def test_next_of_an_endpoint(sandbox: Sandbox) -> None:
    """It waits for its endpoint and lets others pass; the path's variables do not matter."""
    sandbox.faults.next(A, endpoint=NAMES[POINTS])
    sandbox.faults.next(B, endpoint="GET /v1/account/accounts/{account-id}/balance")
    assert await met(sandbox, 2, ACCOUNTS) == [None, None]
    assert await met(sandbox, 2, BALANCE) == ["b", None]
    assert await met(sandbox, 2, POINTS) == ["a", None]


async def test_at(sandbox: Sandbox) -> None:
    """Counted from the order on, per endpoint."""
    await met(sandbox, 1)
    sandbox.faults.at(2, A, endpoint=NAMES[TIMESTAMP])
    sandbox.faults.at(3, B)
    assert await met(sandbox, 1, POINTS) == [None]
    assert await met(sandbox, 3) == [None, "a", None]
    sandbox.faults.at(2, B)
    assert await met(sandbox, 1, POINTS) == [None]
    assert await met(sandbox, 2) == ["b", None]


async def test_always_until_clear(sandbox: Sandbox) -> None:
    """Every request; `reset()` forgets what was counted, not what was ordered."""
    sandbox.faults.always(A, endpoint=NAMES[TIMESTAMP])
    assert await met(sandbox, 2) == ["a", "a"]
    assert await met(sandbox, 1, POINTS) == [None]
    sandbox.reset()
    assert await met(sandbox, 1) == ["a"]
    sandbox.faults.clear()
    assert await met(sandbox, 1) == [None]


async def test_randomly(sandbox: Sandbox) -> None:
    """The same seed, the same faults; about as often as was said."""
    runs = []
    for seed in (7, 7, 8):
        sandbox.faults.clear()
        sandbox.faults.randomly(0.3, [A, B], seed=seed)
        runs.append(await met(sandbox, 100))
    assert runs[0] == runs[1] != runs[2]
    assert 15 < sum(code is not None for code in runs[0]) < 45
    assert set(runs[0]) == {None, "a", "b"}


@pytest.mark.parametrize(("chance", "code"), [(0, None), (1, "a")])
async def test_never_and_ever(sandbox: Sandbox, chance: float, code: str | None) -> None:
    """A chance of 0, or of 1."""
    sandbox.faults.randomly(chance, [A], seed=1, endpoint=NAMES[TIMESTAMP])
    assert set(await met(sandbox, 20)) == {code}


async def test_which_order_comes_first(sandbox: Sandbox) -> None:
    """`at`, `next`, `randomly`, `always`; a `next` that lost waits, the others have counted."""
    sandbox.faults.always(D)
    sandbox.faults.randomly(1, [C], seed=1, endpoint=NAMES[TIMESTAMP])
    sandbox.faults.next(B)
    sandbox.faults.at(1, A)
    assert await met(sandbox, 3) == ["a", "b", "c"]
    assert await met(sandbox, 1, POINTS) == ["d"]


async def test_faults_count_in_the_window() -> None:
    """HTX counts before it fails; and a fault hides that there was one too many."""
    sandbox = Sandbox(clock=HandClock())
    sandbox.faults.next(A, times=3)
    assert await met(sandbox, 3, POINTS) == ["a", "a", "a"]
    assert [arrival.rate_limited for arrival in sandbox.arrivals] == [False, False, True]
    assert sandbox.rate_limited == 1


def test_orders_that_cannot_be(sandbox: Sandbox) -> None:
    """They are told when they are given."""
    orders = sandbox.faults
    with pytest.raises(ValueError, match="there are GET /v1/account/accounts, "):
        orders.next(A, endpoint="/v2/point/account")
    with pytest.raises(ValueError, match="times must be at least 1"):
        orders.next(A, times=0)
    with pytest.raises(ValueError, match="nth must be at least 1"):
        orders.at(0, A)
    with pytest.raises(ValueError, match="from 0 to 1"):
        orders.randomly(1.5, [A], seed=1)
    with pytest.raises(ValueError, match="at least one fault"):
        orders.randomly(0.5, [], seed=1)
    with pytest.raises(TypeError, match="not a fault"):
        orders.always(faults.html)  # type: ignore[arg-type]
