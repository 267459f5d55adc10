"""Exit codes of `htx-async`."""

from __future__ import annotations

OK, FAILED, USAGE_ERROR = 0, 1, 2
"""Success; an error of HTX or the network; a wrong argument or setting."""

WARNING = 3
"""`htx-async doctor` found a problem that does not prevent calls."""

INTERRUPTED, SIGPIPE = 130, 141
"""128 plus a signal's number, as shells report it: Ctrl-C; the reader of a pipe has gone."""
