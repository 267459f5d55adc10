"""Declaration of an endpoint: path, rate limit, permission and envelope."""

from __future__ import annotations

import functools
import re
from typing import Any

import attrs

_VARIABLE = re.compile(r"\{[^}]*\}")


@attrs.frozen
class PageOf:
    """Rows of a list; *next_id*: the id that the next page begins with, if there is one."""

    rows: Any
    next_id: int | None = None


@attrs.frozen
class Endpoint:
    """
    Endpoint of HTX: at most *limit* requests per *per* seconds.

    Requests are counted per UID, over all values of the path variables together; per IP address on
    an unsigned endpoint. *permission*: the one that a key needs; `None`: unsigned.
    *success_field*: the field of a v2 envelope that is true on success; "": it has none.
    *is_routed*: whether a test declared it; then the signature is checked if there is one.
    *envelope_version*: 1 or 2; `None`: that of the path.
    """

    path: str
    limit: int = attrs.field(kw_only=True)
    per: float = attrs.field(kw_only=True)
    permission: str | None = "read"
    success_field: str = "success"
    method: str = "GET"
    is_routed: bool = False
    envelope_version: int | None = None

    @property
    def name(self) -> str:
        """Return method and path, as HTX's pages write them."""
        return f"{self.method} {self.path}"

    @property
    def version(self) -> int:
        """Return the version of the envelope: 1 or 2."""
        return self.envelope_version or (2 if self.path.startswith("/v2/") else 1)

    def match(self, method: str, path: str) -> tuple[str, ...] | None:
        """Return the values of the path variables; `None` for another method or path."""
        match = _pattern(self.path).fullmatch(path)
        return match.groups() if match and method == self.method else None

    def envelope(self, data: Any) -> dict[str, Any]:
        """Return *data* in a success envelope."""
        further: dict[str, Any] = {}
        if isinstance(data, PageOf):
            name = "next-id" if self.version == 1 else "nextId"
            further = {} if data.next_id is None else {name: data.next_id}
            data = data.rows
        if self.version == 1:
            return {"status": "ok", "data": data, **further}
        success = {self.success_field: True} if self.success_field else {}
        return {"code": 200, "data": data, **further, **success}


@functools.cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile("([^/]*)".join(map(re.escape, _VARIABLE.split(path))))
