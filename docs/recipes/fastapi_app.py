"""
Accounts, balances and points of one HTX user, over HTTP.

    pip install . fastapi uvicorn  # in the directory of the checkout
    uvicorn --app-dir docs/recipes fastapi_app:app
"""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Path, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, PlainSerializer

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


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with sdk.HTXClient.from_env(timeout=10.0, max_connections=2) as app.state.htx:
        yield


def client(request: Request) -> sdk.HTXClient:
    htx: sdk.HTXClient = request.app.state.htx
    return htx


HTX = Annotated[sdk.HTXClient, Depends(client)]
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


@app.get("/points")
async def points(htx: HTX) -> sdk.PointBalance:
    return await htx.points.balance()


@app.get("/health")
async def health(htx: HTX) -> dict[str, int]:
    return {name: status.available for name, status in htx.limits().items()}
