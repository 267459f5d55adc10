"""Large responses, which a caller decodes: each caller gets the result, whoever leaves."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from htx_async import (
    AccountBalance,
    ClientClosedError,
    Credentials,
    DeadlineExceededError,
    HTXClient,
    RetryPolicy,
    ServiceUnavailableError,
)
from htx_async.middleware import parsing
from htx_async.middleware.shared_call import SharedCall, Waiter
from htx_async.options import RequestOptions
from htx_async.ratelimit.token_bucket import RateLimit
from htx_async.request import Endpoint, Request
from htx_async.testing import ScriptedTransport
from tests.virtual import VirtualClock

KEYS = Credentials("access-key", "secret-key")
BUSY = httpx.Response(200, content=b'{"status":"error","err-code":"system-busy","err-msg":"x"}')


@pytest.fixture(autouse=True)
def decoded_by(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tasks in which responses were decoded; each response counts as large."""
    names: list[str] = []
    parse = parsing.parse_response

    def recording(*arguments: Any) -> Any:
        task = asyncio.current_task()
        assert task is not None
        names.append(task.get_name())
        return parse(*arguments)

    monkeypatch.setattr(parsing, "LARGE_BODY", 0)
    monkeypatch.setattr(parsing, "parse_response", recording)
    return names


def balance(usdt: int = 7) -> httpx.Response:
    row = {"currency": "usdt", "type": "trade", "balance": str(usdt)}
    data = {"id": 1, "type": "spot", "state": "working", "list": [row]}
    return httpx.Response(200, content=json.dumps({"status": "ok", "data": data}).encode())


def call(htx: HTXClient, name: str) -> asyncio.Task[AccountBalance]:
    return asyncio.create_task(htx.accounts.balance(1), name=name)


async def decoding_waiter(htx: HTXClient) -> Waiter:
    """Run the loop until a caller is about to decode the response, and return its waiter."""
    while True:
        for shared in htx._coalescing._calls:
            for waiter in shared._waiters:
                if waiter.outcome.done():
                    return waiter
        await asyncio.sleep(0)


async def test_first_caller_decodes_for_all(
    virtual_time: VirtualClock, decoded_by: list[str]
) -> None:
    """Its result is that of the others, too."""
    transport = ScriptedTransport([balance()], delay=1.0, clock=virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        balances = await asyncio.gather(*(call(htx, f"caller {number}") for number in range(3)))
    assert {balance["usdt"].trade for balance in balances} == {7}
    assert len(decoded_by) == 1
    assert decoded_by[0].startswith("caller ")


async def test_task_decodes_if_its_caller_leaves(
    virtual_time: VirtualClock, decoded_by: list[str]
) -> None:
    """The other callers get the result all the same."""
    transport = ScriptedTransport([balance()], clock=virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        callers = [call(htx, f"caller {number}") for number in range(3)]
        waiter = await decoding_waiter(htx)
        (decoding,) = (task for task in callers if task._fut_waiter is waiter.outcome)  # type: ignore[attr-defined]
        decoding.cancel()
        results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results].count(AccountBalance) == 2
    assert decoded_by == ["htx_async /v1/account/accounts/1/balance"]


async def test_task_decodes_without_callers(
    virtual_time: VirtualClock, decoded_by: list[str]
) -> None:
    """They have left while the request was in flight."""
    transport = ScriptedTransport([balance()], delay=1.0, clock=virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        caller = call(htx, "caller")
        await asyncio.sleep(0.5)
        caller.cancel()
        await asyncio.sleep(1.0)
    assert decoded_by == ["htx_async /v1/account/accounts/1/balance"]


async def test_caller_leaves_before_the_task_exists() -> None:
    """In an eager event loop, a call may be rejected while its task is being created."""
    endpoint = Endpoint("/v1/test", RateLimit(1, per=1.0), int)
    shared = SharedCall(Request(endpoint, "/v1/test"), VirtualClock())
    shared.remove_waiter(shared.add_waiter(RequestOptions(), 0.0))
    assert shared.request.call.has_no_waiters


async def test_large_error_is_retried(virtual_time: VirtualClock, decoded_by: list[str]) -> None:
    """The caller that has decoded it waits on."""
    transport = ScriptedTransport([BUSY, balance()], clock=virtual_time)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time) as htx:
        result = await call(htx, "caller")
        assert result["usdt"].trade == 7
        assert htx.limits()["GET /v1/account/accounts/{account-id}/balance"].queued == 0
    assert decoded_by == ["caller", "caller"]


async def test_large_error_without_a_retry_is_raised(virtual_time: VirtualClock) -> None:
    """By all callers."""
    transport = ScriptedTransport([BUSY], delay=1.0, clock=virtual_time)
    once = RetryPolicy(attempts=1)
    async with HTXClient(KEYS, transport=transport, clock=virtual_time, retry=once) as htx:
        callers = (call(htx, f"caller {number}") for number in range(3))
        results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results] == [ServiceUnavailableError] * 3


@pytest.mark.parametrize(
    ("end", "kind"),
    [
        (lambda shared, _: shared.abort(), ClientClosedError),
        (lambda _, clock: clock.advance(2.0), DeadlineExceededError),
    ],
    ids=["closed", "late"],
)
async def test_caller_of_a_large_error_ends(
    end: Callable[..., object], kind: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the client is closed, or its timeout passes, while it decodes."""

    class Late(VirtualClock):
        passed = 0.0

        def monotonic(self) -> float:
            return super().monotonic() + self.passed

        def advance(self, seconds: float) -> None:
            self.passed += seconds

    clock, parse = Late(), parsing.parse_response

    def ending(*arguments: Any) -> Any:
        end(*htx._coalescing._calls, clock)
        return parse(*arguments)

    monkeypatch.setattr(parsing, "parse_response", ending)
    transport = ScriptedTransport(itertools.repeat(BUSY))
    async with HTXClient(KEYS, transport=transport, clock=clock, timeout=1.0) as htx:
        with pytest.raises(kind):
            await call(htx, "caller")


async def test_events_are_in_order(virtual_time: VirtualClock, decoded_by: list[str]) -> None:
    """With a listener, the task decodes: a call ends after its last attempt."""
    kinds: list[str] = []
    transport = ScriptedTransport([balance()], clock=virtual_time)
    async with HTXClient(
        KEYS,
        transport=transport,
        clock=virtual_time,
        on_event=lambda event: kinds.append(event.kind),
    ) as htx:
        await call(htx, "caller")
    assert kinds == ["started", "acquired", "sent", "response", "finished"]
    assert decoded_by == ["htx_async /v1/account/accounts/1/balance"]
