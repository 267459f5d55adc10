"""A caller of the sandbox that shares no code with it, nor with the client of the package."""

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


class HandClock(Clock):
    """A clock whose time passes when a test says so."""

    def __init__(self) -> None:
        self.passed = 0.0

    def now(self) -> float:
        """Return `DAY` and what has passed."""
        return DAY + self.passed

    def monotonic(self) -> float:
        """Return 50 and what has passed."""
        return 50.0 + self.passed


def encoded(pairs: list[tuple[str, str]]) -> str:
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
    **changed: str,
) -> list[tuple[str, str]]:
    """Return all parameters of a signed GET; *changed* ones are signed as changed."""
    auth = {
        "AccessKeyId": access_key,
        "SignatureMethod": "HmacSHA256",
        "SignatureVersion": "2",
        "Timestamp": utc(at),
    }
    pairs = sorted([*(auth | changed).items(), *params])
    text = f"GET\n{host}\n{path}\n{encoded(pairs)}"
    return [*pairs, ("Signature", signature(secret_key, text))]


def url(path: str, *params: tuple[str, str], **options: Any) -> str:
    return f"{path}?{encoded(sign(path, *params, **options))}"


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


async def ask(sandbox: Sandbox, path: str, *params: tuple[str, str], **options: Any) -> Any:
    """Return the JSON that a signed GET is answered with."""
    async with client(sandbox) as http:
        response = await http.get(url(path, *params, **options))
        return response.json()
