"""What a caller may decide, for a client or for a few calls of it."""

from __future__ import annotations

import attrs

from htx_async import inputs


def _seconds(_: object, attribute: attrs.Attribute[float], value: object) -> None:
    inputs.seconds(value, attribute.name)


@attrs.frozen(kw_only=True)
class Options:
    """
    How a read is made.

    Attributes:
        timeout: Seconds for the whole call: waiting, connecting, reading.
    """

    timeout: float = attrs.field(default=30.0, validator=_seconds)
