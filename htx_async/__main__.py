"""`htx-async`, also `python -m htx_async`."""

from __future__ import annotations

import sys

from htx_async.version import VERSION


def main() -> None:
    """Run the command line; exit with an error if the extra `cli` is not installed."""
    if sys.argv[1:] == ["--version"]:  # without the imports below, which take as long as the rest
        print(VERSION)  # noqa: T201 - output of the command
        sys.exit(0)
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
