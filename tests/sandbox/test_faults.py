"""Response faults, one test each, and the fault schedule."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from htx_async.sandbox import Fault, Sandbox, faults
from tests.sandbox.signer import ManualClock, client, signed_url
from tests.virtual import DAY

ACCOUNTS = "/v1/account/accounts"
BALANCE = "/v1/account/accounts/1000001/balance"
POINTS = "/v2/point/account"
TIMESTAMP = "/v1/common/timestamp"
NAMES = {path: f"GET {path}" for path in (ACCOUNTS, POINTS, TIMESTAMP)}


@pytest.fixture
def sandbox() -> Sandbox:
    return Sandbox(clock=ManualClock(), limits=False)


async def get(sandbox: Sandbox, path: str = TIMESTAMP) -> httpx.Response:
    """Send one request."""
    async with client(sandbox) as http:
        return await http.get(signed_url(path))


async def codes_of(sandbox: Sandbox, count: int, path: str = TIMESTAMP) -> list[Any]:
    """Return the error codes of *count* requests."""
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
async def test_refusal_has_the_envelope_of_the_path(sandbox: Sandbox, path: str, body: Any) -> None:
    """With the given status, which the record has too."""
    sandbox.faults.next(faults.refusal("no", "never", status=503))
    response = await get(sandbox, path)
    assert (response.status_code, response.json()) == (503, body)
    assert (sandbox.arrivals[0].status, sandbox.arrivals[0].code) == (503, "no")


@pytest.mark.parametrize("name", faults.CATALOGUE)
async def test_catalogue_entry_is_sent_and_recorded(sandbox: Sandbox, name: str) -> None:
    """The name of an entry starts with its code."""
    sandbox.faults.next(faults.CATALOGUE[name])
    sandbox.faults.next(faults.CATALOGUE[name])
    for path in (ACCOUNTS, POINTS):
        response = await get(sandbox, path)
        arrival = sandbox.arrivals[-1]
        assert arrival.status == response.status_code
        if name != "403 page":
            body = response.json()
            code = body.get("err-code") or body.get("err_code") or body["code"]
            assert (body.get("status"), code) != ("ok", 200)
            assert code == arrival.code
        if name[0].islower() and path == ACCOUNTS:
            assert name.startswith(str(arrival.code))


def test_catalogue_is_immutable() -> None:
    """It is shared by all sandboxes."""
    assert len(faults.CATALOGUE) > 90
    with pytest.raises(TypeError):
        faults.CATALOGUE["mine"] = faults.html()  # type: ignore[index]


async def test_maintenance_has_both_envelopes(sandbox: Sandbox) -> None:
    """The v2 code is a number."""
    sandbox.faults.always(faults.maintenance())
    assert (await get(sandbox, ACCOUNTS)).json()["err-code"] == "system-maintenance"
    body = (await get(sandbox, POINTS)).json()
    assert body == {"code": 500, "message": "System is in maintenance!"}


@pytest.mark.parametrize(
    ("status", "title"), [(502, "502 Bad Gateway"), (520, "520"), (403, "403 Forbidden")]
)
async def test_html_is_a_page_without_rate_limit_headers(status: int, title: str) -> None:
    sandbox = Sandbox(clock=ManualClock())
    sandbox.faults.next(faults.html(status))
    response = await get(sandbox)
    assert response.status_code == status
    assert f"<title>{title}</title>" in response.text
    assert response.headers["content-type"] == "text/html"
    assert "x-hb-ratelimit-requests-remain" not in response.headers
    assert sandbox.arrivals[0].code is None


async def test_too_many_has_rate_limit_headers() -> None:
    """Nothing remains until the end of the window."""
    sandbox = Sandbox(clock=ManualClock())
    sandbox.faults.next(faults.too_many())
    response = await get(sandbox, POINTS)
    assert (response.status_code, response.json()["code"]) == (429, 1006)
    assert response.headers["x-hb-ratelimit-requests-remain"] == "0"
    assert response.headers["x-hb-ratelimit-requests-expire"] == "1000"
    assert "retry-after" not in response.headers
    assert sandbox.rate_limited == 0


async def test_too_many_without_limits_uses_the_window_of_the_endpoint(sandbox: Sandbox) -> None:
    """The window of an unknown path lasts 1 s."""
    sandbox.faults.always(faults.too_many())
    for path, expire in ((ACCOUNTS, "2000"), ("/nowhere", "1000")):
        response = await get(sandbox, path)
        assert response.headers["x-hb-ratelimit-requests-expire"] == expire


async def test_too_many_without_headers() -> None:
    """Or only with `Retry-After`."""
    sandbox = Sandbox(clock=ManualClock())
    sandbox.faults.next(faults.too_many(headers=False))
    sandbox.faults.next(faults.too_many(headers=False, retry_after=1.5))
    response = await get(sandbox)
    assert response.status_code == 429
    assert not [name for name in response.headers if name.startswith("x-hb")]
    assert "retry-after" not in response.headers
    assert (await get(sandbox)).headers["retry-after"] == "1.5"


async def test_skewed_changes_the_clock_of_the_request(sandbox: Sandbox) -> None:
    """In the body, in the header `Date`, and in the check of the timestamp."""
    sandbox.faults.always(faults.skewed(600))
    response = await get(sandbox)
    assert response.json()["data"] == (DAY + 600) * 1000
    assert response.headers["date"] == "Tue, 14 Nov 2023 22:23:20 GMT"
    assert "Invalid submission time" in (await get(sandbox, ACCOUNTS)).json()["err-msg"]
    sandbox.faults.clear()
    assert (await get(sandbox, ACCOUNTS)).json()["status"] == "ok"


@pytest.mark.parametrize("value", [None, "a lot", 1.5, True, [], {"a": "b"}, -1])
async def test_field_replaces_a_value(sandbox: Sandbox, value: Any) -> None:
    """The rest of the response is unchanged."""
    original = (await get(sandbox, BALANCE)).json()
    sandbox.faults.next(faults.field("data.list[1].balance", value))
    body = (await get(sandbox, BALANCE)).json()
    assert body["data"]["list"][1]["balance"] == value
    body["data"]["list"][1]["balance"] = original["data"]["list"][1]["balance"]
    assert body == original


async def test_field_missing_removes_the_field(sandbox: Sandbox) -> None:
    """Or the element of a list."""
    original = (await get(sandbox, BALANCE)).json()
    sandbox.faults.next(faults.field("data.list[0].balance", faults.MISSING))
    sandbox.faults.next(faults.field("data.list[0]", faults.MISSING))
    assert "balance" not in (await get(sandbox, BALANCE)).json()["data"]["list"][0]
    assert (await get(sandbox, BALANCE)).json()["data"]["list"] == original["data"]["list"][1:]


async def test_field_adds_a_new_field(sandbox: Sandbox) -> None:
    """As HTX may do at any time."""
    sandbox.faults.next(faults.field("data.new", 1))
    assert (await get(sandbox, BALANCE)).json()["data"]["new"] == 1


@pytest.mark.parametrize("path", ["data.list[9].balance", "data.id.x", "[0]", "data.gone.x"])
@pytest.mark.parametrize("value", [1, faults.MISSING])
async def test_field_ignores_a_path_that_the_response_does_not_have(
    sandbox: Sandbox, path: str, value: Any
) -> None:
    """The response is sent unchanged: it may be an API error."""
    original = (await get(sandbox, BALANCE)).json()
    sandbox.faults.next(faults.field(path, value))
    assert (await get(sandbox, BALANCE)).json() == original


async def test_field_ignores_an_html_page(sandbox: Sandbox) -> None:
    sandbox.faults.next(faults.field("data", 1))
    async with client(sandbox) as http:
        response = await http.request("GET", TIMESTAMP, content=b"{}")
    assert (response.status_code, response.text[:6]) == (403, "<html>")


@pytest.mark.parametrize("path", ["", "data[x]", "data..list", "data[0", "data.list[0]."])
def test_field_rejects_a_malformed_path(path: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(path))):
        faults.field(path, None)


@pytest.mark.parametrize("size", [100_000, 65_536, 70, 10])
async def test_huge_pads_the_body(sandbox: Sandbox, size: int) -> None:
    """Valid JSON of exactly that size, never compressed, never shorter than before."""
    original = await get(sandbox)
    sandbox.faults.next(faults.huge(size))
    response = await get(sandbox)
    assert len(response.content) == max(size, len(original.content))
    assert response.headers["content-length"] == str(len(response.content))
    assert response.json() == original.json()


async def test_huge_holds_little_memory(sandbox: Sandbox) -> None:
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


async def test_redirect_sends_a_location(sandbox: Sandbox) -> None:
    """The default is another host."""
    sandbox.faults.next(faults.redirect())
    sandbox.faults.next(faults.redirect("https://evil.example/x"))
    response = await get(sandbox)
    assert (response.status_code, response.headers["location"]) == (302, "https://example.com/")
    assert (await get(sandbox)).headers["location"] == "https://evil.example/x"


async def test_gzip_garbage_cannot_be_decoded(sandbox: Sandbox) -> None:
    """Also for a client that does not accept gzip."""
    sandbox.faults.next(faults.gzip_garbage())
    with pytest.raises(httpx.DecodingError):
        await get(sandbox)
    assert sandbox.arrivals[0].status == 200


CONNECTION_FAULTS: list[Callable[[], Fault]] = [
    faults.refuse,
    faults.hang,
    faults.cut,
    faults.reset,
    faults.trickle,
    faults.wrong_length,
    faults.answer_and_close,
]


@pytest.mark.parametrize("make", CONNECTION_FAULTS)
async def test_connection_fault_needs_a_connection(
    sandbox: Sandbox, make: Callable[[], Fault]
) -> None:
    """With `ASGITransport` there is none; the request is counted and recorded."""
    sandbox.faults.next(make())
    with pytest.raises(RuntimeError, match=r"needs a connection, see Sandbox\.serve"):
        await get(sandbox)
    assert len(sandbox.arrivals) == 1


async def test_faults_are_values(sandbox: Sandbox) -> None:
    """Equal, hashable and frozen; `Fault()` changes nothing."""
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
def test_faults_reject_invalid_arguments(make: Callable[[], Fault]) -> None:
    with pytest.raises(ValueError, match=r"must|status"):
        make()


A, B, C, D = (faults.refusal(code) for code in "abcd")


async def test_schedule_next_applies_in_order(sandbox: Sandbox) -> None:
    """Each as often as given."""
    sandbox.faults.next(A, times=2)
    sandbox.faults.next(B)
    assert await codes_of(sandbox, 4) == ["a", "a", "b", None]


async def test_schedule_next_waits_for_its_endpoint(sandbox: Sandbox) -> None:
    """The values of path variables do not matter."""
    sandbox.faults.next(A, endpoint=NAMES[POINTS])
    sandbox.faults.next(B, endpoint="GET /v1/account/accounts/{account-id}/balance")
    assert await codes_of(sandbox, 2, ACCOUNTS) == [None, None]
    assert await codes_of(sandbox, 2, BALANCE) == ["b", None]
    assert await codes_of(sandbox, 2, POINTS) == ["a", None]


async def test_schedule_at_counts_from_now_per_endpoint(sandbox: Sandbox) -> None:
    await codes_of(sandbox, 1)
    sandbox.faults.at(2, A, endpoint=NAMES[TIMESTAMP])
    sandbox.faults.at(3, B)
    assert await codes_of(sandbox, 1, POINTS) == [None]
    assert await codes_of(sandbox, 3) == [None, "a", None]
    sandbox.faults.at(2, B)
    assert await codes_of(sandbox, 1, POINTS) == [None]
    assert await codes_of(sandbox, 2) == ["b", None]


async def test_schedule_always_applies_until_clear(sandbox: Sandbox) -> None:
    """`reset()` clears the counts, not the schedule."""
    sandbox.faults.always(A, endpoint=NAMES[TIMESTAMP])
    assert await codes_of(sandbox, 2) == ["a", "a"]
    assert await codes_of(sandbox, 1, POINTS) == [None]
    sandbox.reset()
    assert await codes_of(sandbox, 1) == ["a"]
    sandbox.faults.clear()
    assert await codes_of(sandbox, 1) == [None]


async def test_schedule_randomly_is_reproducible(sandbox: Sandbox) -> None:
    """The same seed gives the same faults, about as often as given."""
    runs = []
    for seed in (7, 7, 8):
        sandbox.faults.clear()
        sandbox.faults.randomly(0.3, [A, B], seed=seed)
        runs.append(await codes_of(sandbox, 100))
    assert runs[0] == runs[1] != runs[2]
    assert 15 < sum(code is not None for code in runs[0]) < 45
    assert set(runs[0]) == {None, "a", "b"}


@pytest.mark.parametrize(("chance", "code"), [(0, None), (1, "a")])
async def test_schedule_randomly_with_a_chance_of_0_or_1(
    sandbox: Sandbox, chance: float, code: str | None
) -> None:
    sandbox.faults.randomly(chance, [A], seed=1, endpoint=NAMES[TIMESTAMP])
    assert set(await codes_of(sandbox, 20)) == {code}


async def test_schedule_precedence(sandbox: Sandbox) -> None:
    """`at`, `next`, `randomly`, `always`; a `next` that does not win waits, the others count."""
    sandbox.faults.always(D)
    sandbox.faults.randomly(1, [C], seed=1, endpoint=NAMES[TIMESTAMP])
    sandbox.faults.next(B)
    sandbox.faults.at(1, A)
    assert await codes_of(sandbox, 3) == ["a", "b", "c"]
    assert await codes_of(sandbox, 1, POINTS) == ["d"]


async def test_faults_count_against_the_rate_limit() -> None:
    """HTX counts before it fails; and the fault replaces the 429."""
    sandbox = Sandbox(clock=ManualClock())
    sandbox.faults.next(A, times=3)
    assert await codes_of(sandbox, 3, POINTS) == ["a", "a", "a"]
    assert [arrival.rate_limited for arrival in sandbox.arrivals] == [False, False, True]
    assert sandbox.rate_limited == 1


def test_schedule_rejects_invalid_arguments(sandbox: Sandbox) -> None:
    schedule = sandbox.faults
    with pytest.raises(ValueError, match="must be one of GET /v1/account/accounts, "):
        schedule.next(A, endpoint="/v2/point/account")
    with pytest.raises(ValueError, match="times must be at least 1"):
        schedule.next(A, times=0)
    with pytest.raises(ValueError, match="nth must be at least 1"):
        schedule.at(0, A)
    with pytest.raises(ValueError, match="from 0 to 1"):
        schedule.randomly(1.5, [A], seed=1)
    with pytest.raises(ValueError, match="at least one fault"):
        schedule.randomly(0.5, [], seed=1)
    with pytest.raises(TypeError, match="not a fault"):
        schedule.always(faults.html)  # type: ignore[arg-type]
