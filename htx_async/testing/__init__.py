"""
Test doubles for programs that use an `HTXClient`.

`htx_async.sandbox` responds as HTX does; a `ScriptedTransport` responds as the test decides.
`htx_async.testing.plugin` is a pytest plugin with fixtures; nothing else needs pytest.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from htx_async.testing.scripted_transport import ScriptedTransport, Step

__all__ = ["ScriptedTransport", "Step"]


def __getattr__(name: str) -> object:
    # Imported when they are used: pytest imports the plugin, and so this package, in every project.
    if name in __all__:
        from htx_async.testing import scripted_transport  # noqa: PLC0415 - see above

        return getattr(scripted_transport, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
