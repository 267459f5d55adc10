"""Declaration of an endpoint: path, rate limit, permission and envelope."""

from __future__ import annotations

import functools
import re
from typing import Any

import attrs

_VARIABLE = re.compile(r"\{[^}]*\}")


@attrs.frozen
class Endpoint:
    """
    Endpoint of HTX: at most *limit* requests per *per* seconds.

    Requests are counted per UID, over all values of the path variables together; per IP address on
    an unsigned endpoint. *permission*: the one that a key needs; `None`: unsigned.
    *success_field*: the field of a v2 envelope that is true on success. *is_routed*: whether a test
    declared it; then the signature is checked if there is one.
    """

    path: str
    limit: int = attrs.field(kw_only=True)
    per: float = attrs.field(kw_only=True)
    permission: str | None = "read"
    success_field: str = "success"
    method: str = "GET"
    is_routed: bool = False

    @property
    def name(self) -> str:
        """Return method and path, as HTX's pages write them."""
        return f"{self.method} {self.path}"

    @property
    def version(self) -> int:
        """Return the version of the envelope: 1 or 2."""
        return 2 if self.path.startswith("/v2/") else 1

    def match(self, method: str, path: str) -> tuple[str, ...] | None:
        """Return the values of the path variables; `None` for another method or path."""
        match = _pattern(self.path).fullmatch(path)
        return match.groups() if match and method == self.method else None

    def envelope(self, data: Any) -> dict[str, Any]:
        """Return *data* in a success envelope."""
        if self.version == 1:
            return {"status": "ok", "data": data}
        return {"code": 200, "data": data, self.success_field: True}


@functools.cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("([^/]*)".join(map(re.escape, _VARIABLE.split(path))))
