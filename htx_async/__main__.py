"""`htx-async`, also `python -m htx_async`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command, or say what it lacks."""
    try:
        from htx_async.cli.main import run  # noqa: PLC0415 - an extra, needed by nobody else
    except ImportError as error:
        sys.exit(
            f'htx-async needs {error.name}, which is in the extra "cli": '
            'pip install "htx-async[cli]"'
        )
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
