"""How the command ends."""

from __future__ import annotations

OK, FAILED, MISUSED = 0, 1, 2
"""Done; HTX or the network said no; the call, or a setting, was wrong."""

WARNED = 3
"""The doctor found what works, but not for long or not for others."""

INTERRUPTED, UNREAD = 130, 141
"""As shells tell them, 128 and the signal's number: Ctrl-C; nobody reads what it prints."""
