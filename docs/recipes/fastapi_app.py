"""
Accounts, balances and points of one HTX user, over HTTP; balances also live.

    pip install ".[stream]" fastapi uvicorn  # in the directory of the checkout
    uvicorn --app-dir docs/recipes --timeout-graceful-shutdown 2 fastapi_app:app
"""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Depends, FastAPI, HTTPException, Path, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, PlainSerializer, TypeAdapter

import htx_async as sdk


def without_exponent(amount: Decimal) -> str:
    return f"{amount:f}"


# A string in JSON and in the schema: JavaScript parses numbers as floats.
Amount = Annotated[Decimal, PlainSerializer(without_exponent)]


class Currency(BaseModel, from_attributes=True):
    currency: str
    trade: Amount
    frozen: Amount
    total: Amount


class SharedStream:
    """One stream for all callers, opened for the first one and closed at the end."""

    def __init__(self, htx: sdk.HTXClient, stack: AsyncExitStack) -> None:
        self.htx, self.stack, self.lock = htx, stack, asyncio.Lock()
        self.live: sdk.LiveBalances | None = None

    async def open(self) -> sdk.LiveBalances:
        async with self.lock:
            if self.live is None:
                stream = self.htx.accounts.stream()
                self.live = await self.stack.enter_async_context(stream)
            return self.live


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    options: dict[str, Any] = {"timeout": 10.0, "max_connections": 2}
    async with sdk.HTXClient.from_env(**options) as htx, AsyncExitStack() as stack:
        app.state.htx, app.state.stream = htx, SharedStream(htx, stack)
        yield


def client(request: Request) -> sdk.HTXClient:
    htx: sdk.HTXClient = request.app.state.htx
    return htx


async def live_balances(request: Request) -> sdk.LiveBalances:
    shared: SharedStream = request.app.state.stream
    return await shared.open()


HTX = Annotated[sdk.HTXClient, Depends(client)]
Live = Annotated[sdk.LiveBalances, Depends(live_balances)]
AccountId = Annotated[int, Path(ge=1, lt=10**18)]
app = FastAPI(title="Balances", lifespan=lifespan)

# The first match counts.
STATUS: tuple[tuple[type[sdk.HTXError], int], ...] = (
    (sdk.AccountNotFoundError, 404),  # the caller
    (sdk.InvalidInputError, 500),  # this application: an argument or a setting
    (sdk.EventLoopError, 500),
    (sdk.AuthenticationError, 500),  # its key, permission or clock
    (sdk.CredentialsError, 503),  # temporary: its vault, the load, HTX
    (sdk.ClientClosedError, 503),
    (sdk.RateLimitQueueError, 503),
    (sdk.RateLimitedError, 503),
    (sdk.ServiceUnavailableError, 503),
    (sdk.DeadlineExceededError, 504),  # HTX or the network was too slow
    (sdk.HTXError, 502),  # another error of HTX or the network
)


@app.exception_handler(sdk.HTXError)
async def error_response(_: Request, error: sdk.HTXError) -> JSONResponse:
    status = next(status for kind, status in STATUS if isinstance(error, kind))
    seconds = error.retry_after or 1
    headers = {"Retry-After": str(math.ceil(seconds))} if error.retryable else {}
    content = {"error": type(error).__name__, "detail": str(error)}
    return JSONResponse(content, status, headers)


@app.get("/accounts")
async def accounts(htx: HTX) -> tuple[sdk.Account, ...]:
    return await htx.accounts.list()


@app.get("/accounts/{account_id}/balance", response_model=list[Currency])
async def balance(account_id: AccountId, htx: HTX) -> Any:
    return (await htx.accounts.balance(account_id)).nonzero()


KEEP_ALIVE = 15.0  # seconds: proxies close a connection that is silent


async def server_sent_events(
    live: sdk.LiveBalances, account_id: int
) -> AsyncIterator[str]:
    events = live.events()  # from now on, so that no change is missed
    rows = TypeAdapter(list[Currency]).validate_python(
        live[account_id].balance().nonzero(), from_attributes=True
    )
    data = TypeAdapter(list[Currency]).dump_json(rows).decode()
    yield f"event: balance\ndata: {data}\n\n"
    while True:
        try:
            async with asyncio.timeout(KEEP_ALIVE):
                event = await anext(events)
        except TimeoutError:
            yield ": keep-alive\n\n"
        except StopAsyncIteration:  # the application stops
            return
        else:
            if event.change is None:
                yield f'event: {event.kind}\ndata: {{"status":"{live.status}"}}\n\n'
            elif event.change.account_id == account_id:
                yield f"event: change\ndata: {event.change.to_json()}\n\n"


@app.get("/accounts/{account_id}/events")
async def account_events(account_id: AccountId, live: Live) -> StreamingResponse:
    try:
        await live.verified(account_id, max_age=live.bound)  # raises what HTX refused
    except KeyError as error:
        raise HTTPException(404, "the stream does not follow this account") from error
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = server_sent_events(live, account_id)
    return StreamingResponse(events, headers=headers, media_type="text/event-stream")


@app.get("/points")
async def points(htx: HTX) -> sdk.PointBalance:
    return await htx.points.balance()


@app.get("/health")
async def health(htx: HTX) -> dict[str, int]:
    return {name: status.available for name, status in htx.limits().items()}
