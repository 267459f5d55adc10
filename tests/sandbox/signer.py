"""Signed requests to the sandbox, without code of the sandbox or of the client."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import httpx

from htx_async.clock import Clock
from htx_async.sandbox import Sandbox
from tests.virtual import DAY

HOST = "api.huobi.pro"


class ManualClock(Clock):
    """Clock whose time is set by the test."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        """Return `DAY` plus the time passed."""
        return DAY + self.passed

    def monotonic(self) -> float:
        """Return 50 plus the time passed."""
        return 50.0 + self.passed


def encode_query(pairs: list[tuple[str, str]]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in pairs)


def utc(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at))


def signature(secret_key: str, text: str) -> str:
    mac = hmac.new(secret_key.encode(), text.encode(), hashlib.sha256)
    return base64.b64encode(mac.digest()).decode()


def sign(
    path: str,
    *params: tuple[str, str],
    access_key: str = "access-key",
    secret_key: str = "secret-key",  # noqa: S107
    host: str = HOST,
    at: float = DAY,
    **overrides: str,
) -> list[tuple[str, str]]:
    """Return all parameters of a signed GET; *overrides* replace authentication parameters."""
    auth_params = {
        "AccessKeyId": access_key,
        "SignatureMethod": "HmacSHA256",
        "SignatureVersion": "2",
        "Timestamp": utc(at),
    }
    pairs = sorted([*(auth_params | overrides).items(), *params])
    text = f"GET\n{host}\n{path}\n{encode_query(pairs)}"
    return [*pairs, ("Signature", signature(secret_key, text))]


def signed_url(path: str, *params: tuple[str, str], **options: Any) -> str:
    return f"{path}?{encode_query(sign(path, *params, **options))}"


@contextlib.asynccontextmanager
async def client(
    sandbox: Sandbox, ip: str = "127.0.0.1", host: str = HOST
) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app=sandbox, client=(ip, 4711))
    # trust_env: reading certificates from the environment takes longer than a whole test.
    async with httpx.AsyncClient(
        transport=transport, base_url=f"https://{host}", trust_env=False
    ) as http:
        yield http


async def get_json(sandbox: Sandbox, path: str, *params: tuple[str, str], **options: Any) -> Any:
    """Return the JSON of the response to a signed GET."""
    async with client(sandbox) as http:
        response = await http.get(signed_url(path, *params, **options))
        return response.json()
