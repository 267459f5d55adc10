"""The sandbox as a whole: who is let in, who is counted, what is remembered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from htx_async.sandbox import APIKey, ReceivedRequest, Sandbox, SandboxUser
from htx_async.sandbox.app import ARRIVALS_KEPT
from tests.sandbox.signer import HandClock, ask, client, url
from tests.virtual import DAY, VirtualClock, run

ACCOUNTS = "/v1/account/accounts"
POINTS = "/v2/point/account"
TIMESTAMP = "/v1/common/timestamp"
TWIN_KEYS = (APIKey("a", "b"), APIKey("a", "c"))


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def sandbox(clock: HandClock) -> Sandbox:
    return Sandbox(clock=clock)


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sandbox) as http:
        yield http


def keyed(*keys: APIKey) -> Sandbox:
    return Sandbox((SandboxUser(5, keys),), clock=HandClock())


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            ACCOUNTS,
            {
                "status": "error",
                "err-code": "api-signature-not-valid",
                "err-msg": "Signature not valid: Verification failure [校验失败]",
                "data": None,
            },
        ),
        (POINTS, {"code": 1003, "message": "invalid signature"}),
    ],
)
async def test_a_wrong_signature_is_refused_in_the_words_of_the_path(
    http: httpx.AsyncClient, path: str, body: Any
) -> None:
    """With HTTP status 200, and without a count."""
    response = await http.get(url(path, secret_key="wrong"))
    assert response.status_code == 200
    assert response.json() == body
    assert "x-hb-ratelimit-requests-remain" not in response.headers


async def test_the_signature_covers_the_host_that_was_asked(sandbox: Sandbox) -> None:
    """Whatever its name, in lower case and without port."""
    async with client(sandbox, host="API-AWS.huobi.pro:8443") as http:
        response = await http.get(url(ACCOUNTS, host="api-aws.huobi.pro"))
        assert response.json()["status"] == "ok"
        response = await http.get(url(ACCOUNTS))
        assert response.json()["status"] == "error"


@pytest.mark.parametrize(
    ("options", "cause", "v2_code"),
    [
        ({"access_key": "x"}, "Incorrect Access key [Access key错误]", 1003),
        ({"at": DAY - 301}, "Invalid submission time or incorrect time format", 1003),
        ({"access_key": "old"}, "APIkey has expired", 12004),
        ({"access_key": "idle"}, "API key has no permission [API Key没有权限]", 1002),
        ({"access_key": "away"}, "Incorrect IP address [IP地址错误]:127.0.0.1", 12005),
    ],
)
async def test_each_cause_is_told(options: Any, cause: str, v2_code: int) -> None:
    """By its text on v1 paths, by its code on v2 paths."""
    sandbox = keyed(
        APIKey("access-key", "secret-key"),
        APIKey("old", "secret-key", expired=True),
        APIKey("idle", "secret-key", permissions=("trade",)),
        APIKey("away", "secret-key", ip_addresses=("10.0.0.1", "10.0.0.2")),
    )
    answer = await ask(sandbox, ACCOUNTS, **options)
    assert answer["err-code"] == "api-signature-not-valid"
    assert answer["err-msg"].startswith(f"Signature not valid: {cause}")
    assert (await ask(sandbox, POINTS, **options))["code"] == v2_code


async def test_a_bound_key_works_from_its_addresses() -> None:
    """Each of them."""
    sandbox = keyed(APIKey("access-key", "secret-key", ip_addresses=("10.0.0.1", "10.0.0.2")))
    async with client(sandbox, ip="10.0.0.2") as http:
        assert (await http.get(url(ACCOUNTS))).json()["status"] == "ok"


async def test_who_does_not_sign_must_log_in(http: httpx.AsyncClient) -> None:
    """On v1 paths by name."""
    assert (await http.get(ACCOUNTS)).json()["err-code"] == "login-required"
    assert (await http.get(POINTS)).json()["code"] == 1003


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/nowhere"), ("POST", ACCOUNTS), ("GET", ACCOUNTS.upper())]
)
async def test_a_wrong_path_or_method_is_not_allowed(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    """With HTTP status 405, before the signature is looked at."""
    response = await http.request(method, path)
    assert response.status_code == 405
    assert response.json()["err-code"] == "method-not-allowed"


async def test_a_get_with_a_body_is_forbidden(http: httpx.AsyncClient) -> None:
    """With HTTP status 403 and a page that is not JSON, before the signature is looked at."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"{}"

    for response in (
        await http.request("GET", url(ACCOUNTS), json={}),
        await http.request("GET", ACCOUNTS, content=parts()),
    ):
        assert response.status_code == 403
        assert response.headers["content-type"] == "text/html"
        assert not response.text.startswith("{")


async def test_excess_is_refused_until_the_window_ends(
    http: httpx.AsyncClient, sandbox: Sandbox, clock: HandClock
) -> None:
    """2 requests per second for points: the third one gets 429, and 1006."""
    remains: list[str] = []
    for _ in range(3):
        response = await http.get(url(POINTS, at=clock.now()))
        remains.append(response.headers["x-hb-ratelimit-requests-remain"])
        clock.passed += 0.25
    assert remains == ["1", "0", "0"]
    assert response.status_code == 429
    assert response.json() == {"code": 1006, "message": "Exceed rate limit"}
    assert response.headers["x-hb-ratelimit-requests-expire"] == "500"
    assert (sandbox.requests, sandbox.rate_limited) == (3, 1)
    clock.passed += 0.25
    assert (await http.get(url(POINTS, at=clock.now()))).status_code == 200


async def test_excess_on_v1_is_told_in_its_words(http: httpx.AsyncClient) -> None:
    """The 101st balance within 2 s, over all accounts together."""
    for number in range(100):
        path = f"{ACCOUNTS}/{1000001 + number % 4}/balance"
        assert (await http.get(url(path))).status_code == 200
    response = await http.get(url(f"{ACCOUNTS}/1000001/balance"))
    assert response.status_code == 429
    assert response.json() == {
        "status": "error",
        "err-code": "rate-too-many-requests",
        "err-msg": "exceeded rate limit",
        "data": None,
    }
    # The list of accounts has a limit of its own.
    assert (await http.get(url(ACCOUNTS))).status_code == 200


async def test_requests_are_counted_per_user(sandbox: Sandbox) -> None:
    """Two keys of one user share the limit, a sub user has its own."""
    owner = SandboxUser(5, (APIKey("a", "s"), APIKey("b", "s")))
    sandbox = Sandbox((owner, SandboxUser(6, (APIKey("c", "s"),), parent=5)), clock=HandClock())
    answers = [await ask(sandbox, POINTS, access_key=key, secret_key="s") for key in "abac"]
    assert [answer["code"] for answer in answers] == [200, 200, 1006, 200]


async def test_the_timestamp_is_counted_per_address(sandbox: Sandbox) -> None:
    """10 per second for each."""
    for ip in ("10.0.0.1", "10.0.0.2"):
        async with client(sandbox, ip=ip) as http:
            codes = [(await http.get(TIMESTAMP)).status_code for _ in range(11)]
        assert codes == [200] * 10 + [429]


async def test_what_is_refused_at_the_door_does_not_count(http: httpx.AsyncClient) -> None:
    """A wrong signature of a known key leaves its user's window alone."""
    for _ in range(5):
        assert (await http.get(url(POINTS, secret_key="x"))).json()["code"] == 1003
    response = await http.get(url(POINTS))
    assert response.headers["x-hb-ratelimit-requests-remain"] == "1"


async def test_what_is_refused_inside_counts(http: httpx.AsyncClient) -> None:
    """An unknown sub user was asked for all the same."""
    await http.get(url(POINTS, ("subUid", "5")))
    response = await http.get(url(POINTS))
    assert response.headers["x-hb-ratelimit-requests-remain"] == "0"


@pytest.mark.parametrize(
    ("limits", "allowed"), [(True, 2), (False, 50), (2, 4), (0.5, 1), (1.5, 3)]
)
async def test_limits_can_be_switched_off_or_scaled(limits: Any, allowed: int) -> None:
    """Without limits there are no headers either."""
    sandbox = Sandbox(limits=limits, clock=HandClock())
    async with client(sandbox) as http:
        responses = [await http.get(url(POINTS)) for _ in range(50)]
    assert sum(response.status_code == 200 for response in responses) == allowed
    assert ("x-hb-ratelimit-requests-expire" in responses[0].headers) == (limits is not False)


@pytest.mark.parametrize(
    ("window", "codes"),
    [
        ("fixed", [200, 200, 429, 200, 200]),
        ("sliding", [200, 200, 429, 200, 429]),
        ("bucket", [200, 200, 200, 200, 429]),
    ],
)
async def test_the_rule_of_counting_can_be_chosen(window: Any, codes: list[int]) -> None:
    """Points asked for at 0, 0.6, 0.9, 1.1 and 1.2 s."""
    clock = HandClock()
    sandbox = Sandbox(window=window, clock=clock)
    seen: list[int] = []
    async with client(sandbox) as http:
        for clock.passed in (0.0, 0.6, 0.9, 1.1, 1.2):
            seen.append((await http.get(url(POINTS))).status_code)
    assert seen == codes


async def test_the_unit_of_the_window_s_end_can_be_chosen() -> None:
    """Seconds since 1970 for instance."""
    async with client(Sandbox(expire_unit="epoch_seconds", clock=HandClock())) as http:
        response = await http.get(url(ACCOUNTS))
    assert response.headers["x-hb-ratelimit-requests-expire"] == "1700000002"


async def test_arrivals_are_remembered_without_secrets(
    http: httpx.AsyncClient, sandbox: Sandbox, clock: HandClock
) -> None:
    """In order, with what became of them."""
    balance = f"{ACCOUNTS}/{{account-id}}/balance"
    await http.get(url(f"{ACCOUNTS}/7/balance"))
    clock.passed = 1.5
    await http.get(url(POINTS, secret_key="x"))
    await http.get("/nowhere?secret=1")
    await http.get(TIMESTAMP, headers={"content-length": "5"})
    inexistent = "account-get-balance-account-inexistent-error"
    assert list(sandbox.arrivals) == [
        ReceivedRequest(
            50.0, "GET", f"{ACCOUNTS}/7/balance", balance, 1000, 200, inexistent, rate_limited=False
        ),
        ReceivedRequest(51.5, "GET", POINTS, POINTS, None, 200, 1003, rate_limited=False),
        ReceivedRequest(
            51.5, "GET", "/nowhere", None, None, 405, "method-not-allowed", rate_limited=False
        ),
        ReceivedRequest(51.5, "GET", TIMESTAMP, TIMESTAMP, None, 403, None, rate_limited=False),
    ]
    assert sandbox.arrivals.maxlen == ARRIVALS_KEPT


async def test_arrivals_tell_refusals_for_excess(sandbox: Sandbox) -> None:
    """By a flag, and a count; `reset` forgets both and opens all windows anew."""
    for _ in range(3):
        await ask(sandbox, POINTS)
    assert [arrival.rate_limited for arrival in sandbox.arrivals] == [False, False, True]
    assert (sandbox.arrivals[-1].uid, sandbox.arrivals[-1].code) == (1000, 1006)
    sandbox.reset()
    assert (len(sandbox.arrivals), sandbox.rate_limited) == (0, 0)
    assert (await ask(sandbox, POINTS))["code"] == 200


async def test_a_large_balance_is_zipped() -> None:
    """3,000 rows of it, for a client that accepts gzip, and plain for others."""
    async with client(Sandbox(currencies=1500, clock=HandClock())) as http:
        path = f"{ACCOUNTS}/1000001/balance"
        zipped = await http.get(url(path))
        plain = await http.get(url(path), headers={"accept-encoding": "identity"})
    assert zipped.headers["content-encoding"] == "gzip"
    assert int(zipped.headers["content-length"]) < len(plain.content) / 5
    assert "content-encoding" not in plain.headers
    assert zipped.json() == plain.json()
    assert len(plain.json()["data"]["list"]) == 3000


def test_windows_run_on_virtual_time() -> None:
    """A second of the loop's time opens the window again, and moves the date."""

    async def main() -> list[tuple[int, str]]:
        clock = VirtualClock()
        async with client(Sandbox(clock=clock)) as http:
            seen: list[tuple[int, str]] = []
            for pause in (0, 0, 0, 1):
                await asyncio.sleep(pause)
                response = await http.get(url(POINTS))
                seen.append((response.status_code, response.headers["date"][-6:]))
            return seen

    codes = [code for code, _ in run(main())]
    assert codes == [200, 200, 429, 200]


async def test_the_date_is_that_of_the_clock(http: httpx.AsyncClient, clock: HandClock) -> None:
    """So that a client can see how wrong its own clock is."""
    clock.passed = 3600.0
    response = await http.get(TIMESTAMP)
    assert response.headers["date"] == "Tue, 14 Nov 2023 23:13:20 GMT"


async def test_a_sandbox_speaks_lifespan() -> None:
    """Servers that start and stop their apps are answered."""
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])
    sent: list[Any] = []

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        sent.append(message)

    await Sandbox()({"type": "lifespan"}, receive, send)
    assert sent == [{"type": "lifespan.startup.complete"}, {"type": "lifespan.shutdown.complete"}]
    with pytest.raises(NotImplementedError, match="http only, not websocket"):
        await Sandbox()({"type": "websocket"}, receive, send)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"users": (), "currencies": 5}, "not together with users"),
        ({"users": (), "accounts": 5}, "not together with users"),
        (
            {"users": (SandboxUser(1, (APIKey("a", "b"), APIKey("a", "c"))),)},
            "access key occurs twice: a",
        ),
        ({"limits": 0}, "limits must be"),
        ({"window": "leaky"}, "window must be one of"),
        ({"expire_unit": "seconds"}, "expire_unit must be one of"),
    ],
)
def test_what_makes_no_sense_is_refused(options: Any, message: str) -> None:
    """When the sandbox is made."""
    with pytest.raises(ValueError, match=message):
        Sandbox(**options)


async def test_the_users_are_those_that_were_given() -> None:
    """In order."""
    users = (SandboxUser(1), SandboxUser(2, parent=1))
    assert Sandbox(users).users == users
