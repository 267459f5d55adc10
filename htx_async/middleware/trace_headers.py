"""Response headers by which HTX, or a CDN in front of it, identifies a request."""

from __future__ import annotations

import re

from htx_async.redaction import auth_values, redact
from htx_async.request import Response

# HTX documents none. Its hosts are behind Cloudflare (`cf-ray`, recorded in public bug reports)
# and CloudFront; the other names are those that gateways use.
_NAME = re.compile(r"([a-z0-9-]{1,40}-)?(request|trace|correlation)-?id|cf-ray|x-amz-cf-id")
_VALUE = re.compile(r"[A-Za-z0-9._:;=+/@-]{1,200}")
_MAX_HEADERS = 10


def trace_headers(response: Response) -> dict[str, str]:
    """Return these headers, without values that repeat the request."""
    secrets = auth_values(response.sent_query)
    selected = (
        (name, redact(value, secrets))
        for name, value in response.headers.items()
        if _NAME.fullmatch(name) and _VALUE.fullmatch(value)
    )
    return dict(sorted(selected)[:_MAX_HEADERS])
