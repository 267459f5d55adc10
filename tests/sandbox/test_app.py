"""The sandbox as a whole: authentication, rate limits and recorded requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from htx_async.sandbox import APIKey, ReceivedRequest, Sandbox, SandboxUser
from htx_async.sandbox.app import MAX_ARRIVALS
from tests.sandbox.signer import ManualClock, client, get_json, signed_url
from tests.virtual import DAY, VirtualClock

ACCOUNTS = "/v1/account/accounts"
POINTS = "/v2/point/account"
TIMESTAMP = "/v1/common/timestamp"
TWIN_KEYS = (APIKey("a", "b"), APIKey("a", "c"))


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def sandbox(clock: ManualClock) -> Sandbox:
    return Sandbox(clock=clock)


@pytest.fixture
async def http(sandbox: Sandbox) -> AsyncIterator[httpx.AsyncClient]:
    async with client(sandbox) as http:
        yield http


def sandbox_with(*keys: APIKey) -> Sandbox:
    return Sandbox((SandboxUser(5, keys),), clock=ManualClock())


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
async def test_authentication_error_has_the_envelope_of_the_path(
    http: httpx.AsyncClient, path: str, body: Any
) -> None:
    """With HTTP status 200, and without counting the request."""
    response = await http.get(signed_url(path, secret_key="wrong"))
    assert response.status_code == 200
    assert response.json() == body
    assert "x-hb-ratelimit-requests-remain" not in response.headers


async def test_signature_covers_the_host(sandbox: Sandbox) -> None:
    """Whatever its name, in lower case and without port."""
    async with client(sandbox, host="API-AWS.huobi.pro:8443") as http:
        response = await http.get(signed_url(ACCOUNTS, host="api-aws.huobi.pro"))
        assert response.json()["status"] == "ok"
        response = await http.get(signed_url(ACCOUNTS))
        assert response.json()["status"] == "error"


async def test_signature_may_cover_host_and_port(sandbox: Sandbox) -> None:
    """As ccxt signs it; but not another port."""
    async with client(sandbox, host="127.0.0.1:8443") as http:
        statuses = [
            (await http.get(signed_url(ACCOUNTS, host=host))).json()["status"]
            for host in ("127.0.0.1", "127.0.0.1:8443", "127.0.0.1:443", "127.0.0.2:8443", "")
        ]
    assert statuses == ["ok", "ok", "error", "error", "error"]


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
async def test_authentication_error_names_its_cause(options: Any, cause: str, v2_code: int) -> None:
    """By its text on v1 paths, by its code on v2 paths."""
    sandbox = sandbox_with(
        APIKey("access-key", "secret-key"),
        APIKey("old", "secret-key", expired=True),
        APIKey("idle", "secret-key", permissions=("trade",)),
        APIKey("away", "secret-key", ip_addresses=("10.0.0.1", "10.0.0.2")),
    )
    response = await get_json(sandbox, ACCOUNTS, **options)
    assert response["err-code"] == "api-signature-not-valid"
    assert response["err-msg"].startswith(f"Signature not valid: {cause}")
    assert (await get_json(sandbox, POINTS, **options))["code"] == v2_code


async def test_bound_key_is_accepted_from_its_addresses() -> None:
    sandbox = sandbox_with(
        APIKey("access-key", "secret-key", ip_addresses=("10.0.0.1", "10.0.0.2"))
    )
    async with client(sandbox, ip="10.0.0.2") as http:
        assert (await http.get(signed_url(ACCOUNTS))).json()["status"] == "ok"


async def test_unsigned_request_is_a_login_required_error(http: httpx.AsyncClient) -> None:
    """With a code of its own on v1 paths."""
    assert (await http.get(ACCOUNTS)).json()["err-code"] == "login-required"
    assert (await http.get(POINTS)).json()["code"] == 1003


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/nowhere"), ("POST", ACCOUNTS), ("GET", ACCOUNTS.upper())]
)
async def test_unknown_path_or_method_is_not_allowed(
    http: httpx.AsyncClient, method: str, path: str
) -> None:
    """With HTTP status 405, before the signature is checked."""
    response = await http.request(method, path)
    assert response.status_code == 405
    assert response.json()["err-code"] == "method-not-allowed"


async def test_request_with_a_body_is_forbidden(http: httpx.AsyncClient) -> None:
    """With HTTP status 403 and an HTML page, before the signature is checked."""

    async def parts() -> AsyncIterator[bytes]:
        yield b"{}"

    for response in (
        await http.request("GET", signed_url(ACCOUNTS), json={}),
        await http.request("GET", ACCOUNTS, content=parts()),
    ):
        assert response.status_code == 403
        assert response.headers["content-type"] == "text/html"
        assert not response.text.startswith("{")


async def test_rate_limit_returns_429_until_the_window_ends(
    http: httpx.AsyncClient, sandbox: Sandbox, clock: ManualClock
) -> None:
    """2 requests per second for points: the third one gets 429, with code 1006."""
    remains: list[str] = []
    for _ in range(3):
        response = await http.get(signed_url(POINTS, at=clock.now()))
        remains.append(response.headers["x-hb-ratelimit-requests-remain"])
        clock.passed += 0.25
    assert remains == ["1", "0", "0"]
    assert response.status_code == 429
    assert response.json() == {"code": 1006, "message": "Exceed rate limit"}
    assert response.headers["x-hb-ratelimit-requests-expire"] == "500"
    assert (sandbox.requests, sandbox.rate_limited) == (3, 1)
    clock.passed += 0.25
    assert (await http.get(signed_url(POINTS, at=clock.now()))).status_code == 200


async def test_rate_limit_on_v1_path_has_the_v1_envelope(http: httpx.AsyncClient) -> None:
    """The 101st balance within 2 s, over all accounts together."""
    for number in range(100):
        path = f"{ACCOUNTS}/{1000001 + number % 4}/balance"
        assert (await http.get(signed_url(path))).status_code == 200
    response = await http.get(signed_url(f"{ACCOUNTS}/1000001/balance"))
    assert response.status_code == 429
    assert response.json() == {
        "status": "error",
        "err-code": "rate-too-many-requests",
        "err-msg": "exceeded rate limit",
        "data": None,
    }
    # The list of accounts has a limit of its own.
    assert (await http.get(signed_url(ACCOUNTS))).status_code == 200


async def test_rate_limit_is_counted_per_user() -> None:
    """Two keys of one user share the limit, a sub user has its own."""
    owner = SandboxUser(5, (APIKey("a", "s"), APIKey("b", "s")))
    sandbox = Sandbox((owner, SandboxUser(6, (APIKey("c", "s"),), parent=5)), clock=ManualClock())
    responses = [await get_json(sandbox, POINTS, access_key=key, secret_key="s") for key in "abac"]
    assert [response["code"] for response in responses] == [200, 200, 1006, 200]


async def test_rate_limit_of_the_timestamp_is_counted_per_address(sandbox: Sandbox) -> None:
    """10 per second for each."""
    for ip in ("10.0.0.1", "10.0.0.2"):
        async with client(sandbox, ip=ip) as http:
            codes = [(await http.get(TIMESTAMP)).status_code for _ in range(11)]
        assert codes == [200] * 10 + [429]


async def test_rate_limit_does_not_count_unauthenticated_requests(http: httpx.AsyncClient) -> None:
    """A wrong signature of a known key does not use the limit of its user."""
    for _ in range(5):
        assert (await http.get(signed_url(POINTS, secret_key="x"))).json()["code"] == 1003
    response = await http.get(signed_url(POINTS))
    assert response.headers["x-hb-ratelimit-requests-remain"] == "1"


async def test_rate_limit_counts_requests_that_are_api_errors(http: httpx.AsyncClient) -> None:
    """The request for an unknown sub user uses the limit."""
    await http.get(signed_url(POINTS, ("subUid", "5")))
    response = await http.get(signed_url(POINTS))
    assert response.headers["x-hb-ratelimit-requests-remain"] == "0"


@pytest.mark.parametrize(
    ("limits", "allowed"), [(True, 2), (False, 50), (2, 4), (0.5, 1), (1.5, 3)]
)
async def test_limits_option_disables_or_scales_the_limits(limits: Any, allowed: int) -> None:
    """Without limits there are no headers either."""
    sandbox = Sandbox(limits=limits, clock=ManualClock())
    async with client(sandbox) as http:
        responses = [await http.get(signed_url(POINTS)) for _ in range(50)]
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
async def test_window_option_selects_the_rule(window: Any, codes: list[int]) -> None:
    """Requests for points at 0, 0.6, 0.9, 1.1 and 1.2 s."""
    clock = ManualClock()
    sandbox = Sandbox(window=window, clock=clock)
    statuses: list[int] = []
    async with client(sandbox) as http:
        for clock.passed in (0.0, 0.6, 0.9, 1.1, 1.2):
            statuses.append((await http.get(signed_url(POINTS))).status_code)
    assert statuses == codes


async def test_expire_unit_option_selects_the_unit() -> None:
    async with client(Sandbox(expire_unit="epoch_seconds", clock=ManualClock())) as http:
        response = await http.get(signed_url(ACCOUNTS))
    assert response.headers["x-hb-ratelimit-requests-expire"] == "1700000002"


async def test_arrivals_are_recorded_without_secrets(
    http: httpx.AsyncClient, sandbox: Sandbox, clock: ManualClock
) -> None:
    """In order, with the outcome of each."""
    balance = f"{ACCOUNTS}/{{account-id}}/balance"
    await http.get(signed_url(f"{ACCOUNTS}/7/balance"))
    clock.passed = 1.5
    await http.get(signed_url(POINTS, secret_key="x"))
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
    assert sandbox.arrivals.maxlen == MAX_ARRIVALS


async def test_arrivals_record_rate_limited_requests(sandbox: Sandbox) -> None:
    """With a flag and a count; `reset` clears both and opens new windows."""
    for _ in range(3):
        await get_json(sandbox, POINTS)
    assert [arrival.rate_limited for arrival in sandbox.arrivals] == [False, False, True]
    assert (sandbox.arrivals[-1].uid, sandbox.arrivals[-1].code) == (1000, 1006)
    sandbox.reset()
    assert (len(sandbox.arrivals), sandbox.rate_limited) == (0, 0)
    assert (await get_json(sandbox, POINTS))["code"] == 200


async def test_large_balance_is_compressed() -> None:
    """3,000 rows: with gzip for a client that accepts it, plain for others."""
    async with client(Sandbox(currencies=1500, clock=ManualClock())) as http:
        path = f"{ACCOUNTS}/1000001/balance"
        compressed = await http.get(signed_url(path))
        plain = await http.get(signed_url(path), headers={"accept-encoding": "identity"})
    assert compressed.headers["content-encoding"] == "gzip"
    assert int(compressed.headers["content-length"]) < len(plain.content) / 5
    assert "content-encoding" not in plain.headers
    assert compressed.json() == plain.json()
    assert len(plain.json()["data"]["list"]) == 3000


async def test_rate_limit_runs_on_virtual_time(virtual_time: VirtualClock) -> None:
    """One second of the loop's time opens a new window and changes the date."""
    responses: list[httpx.Response] = []
    async with client(Sandbox(clock=virtual_time)) as http:
        for pause in (0, 0, 0, 1):
            await asyncio.sleep(pause)
            responses.append(await http.get(signed_url(POINTS)))
    assert [response.status_code for response in responses] == [200, 200, 429, 200]
    assert [response.headers["date"][-6:-4] for response in responses] == ["20", "20", "20", "21"]


async def test_date_header_is_the_time_of_the_clock(
    http: httpx.AsyncClient, clock: ManualClock
) -> None:
    """So that a client can measure the error of its own clock."""
    clock.passed = 3600.0
    response = await http.get(TIMESTAMP)
    assert response.headers["date"] == "Tue, 14 Nov 2023 23:13:20 GMT"


async def test_lifespan_is_served() -> None:
    """Other scopes than http and lifespan are an error."""
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
        ({"users": (), "currencies": 5}, "Omit them, or users"),
        ({"users": (), "accounts": 5}, "Omit them, or users"),
        (
            {"users": (SandboxUser(1, (APIKey("a", "b"), APIKey("a", "c"))),)},
            "access key occurs twice: a",
        ),
        ({"limits": 0}, "limits must be"),
        ({"window": "leaky"}, "window must be one of"),
        ({"expire_unit": "seconds"}, "expire_unit must be one of"),
    ],
)
def test_sandbox_rejects_invalid_options(options: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Sandbox(**options)


async def test_users_are_those_of_the_constructor() -> None:
    """In order."""
    users = (SandboxUser(1), SandboxUser(2, parent=1))
    assert Sandbox(users).users == users
