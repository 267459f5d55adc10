"""`htx-async`, also `python -m htx_async`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exit with an error if the extra `cli` is not installed."""
    try:
        from htx_async.cli.main import run  # noqa: PLC0415 - needs the extra `cli`
    except ImportError as error:
        sys.exit(
            f'htx-async needs {error.name}, which is in the extra "cli": '
            'pip install "htx-async[cli]"'
        )
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
