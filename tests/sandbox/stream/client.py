"""A client of the sandbox's stream without a socket."""

from __future__ import annotations

import json
from typing import Any

from htx_async.sandbox import Sandbox
from htx_async.sandbox.request import ParsedRequest
from tests.sandbox.signer import HOST, encode_query, signature, utc
from tests.virtual import DAY

SUBSCRIPTION = {"action": "sub", "ch": "accounts.update#2"}


def auth_request(
    *,
    access_key: str = "access-key",
    secret_key: str = "secret-key",  # noqa: S107 - that of the sandbox
    host: str = HOST,
    at: float = DAY,
    **overrides: Any,
) -> dict[str, Any]:
    """Return a signed request; *overrides* replace parameters, `None` removes one."""
    signed = {
        "accessKey": access_key,
        "signatureMethod": "HmacSHA256",
        "signatureVersion": "2.1",
        "timestamp": utc(at),
    }
    text = f"GET\n{host}\n/ws/v2\n{encode_query(sorted(signed.items()))}"
    params = {"authType": "api", **signed, "signature": signature(secret_key, text), **overrides}
    params = {name: value for name, value in params.items() if value is not None}
    return {"action": "req", "ch": "auth", "params": params}


class Client:
    """Connection that collects what it gets, decoded."""

    def __init__(self, sandbox: Sandbox, host: str = HOST, ip: str = "127.0.0.1") -> None:
        self.outputs: list[Any] = []
        handshake = ParsedRequest("GET", host, "/ws/v2", b"", ip)
        self.session = sandbox._hub.open(handshake, self.outputs.extend)

    def send(self, request: Any) -> list[Any]:
        """Send one message, and return all messages that have come since the last time."""
        text = request if isinstance(request, str | bytes) else json.dumps(request)
        self.outputs += self.session.receive(text)
        return self.take()

    def tick(self) -> list[Any]:
        """Let the sandbox send what is due."""
        self.outputs += self.session.tick()
        return self.take()

    def take(self) -> list[Any]:
        """Return the messages that have come since the last time."""
        items = [output.item for output in self.outputs]
        self.outputs.clear()
        return [item.json if hasattr(item, "data") else item for item in items]

    def subscribe(self, channel: str = "accounts.update#2", **auth: Any) -> list[Any]:
        """Authenticate and subscribe; return the messages of the snapshot."""
        assert self.send(auth_request(**auth))[0]["code"] == 200
        ack, *snapshot = self.send({"action": "sub", "ch": channel})
        assert ack["code"] == 200
        return snapshot
