"""Keys from the environment: `HTX_ACCESS_KEY`, `HTX_SECRET_KEY`, `HTX_PRIVATE_KEY`, `…_FILE`."""

from __future__ import annotations

import os

NAMES = ("HTX_ACCESS_KEY", "HTX_SECRET_KEY", "HTX_PRIVATE_KEY")


def read_keys() -> tuple[str, str | None, str | None, str | None]:
    """
    Return what is wrong with the environment (`""`: nothing), and the value of each name.

    An empty variable is not set if another one has the value: Docker Compose passes those that the
    host does not have as empty ones.
    """
    variables = [_variable(name) for name in NAMES]
    problem = next((problem for problem, _ in variables if problem), "")
    access_key, secret_key, private_key = (value for _, value in variables)
    secret_key = secret_key or (None if private_key else secret_key)
    private_key = private_key or (None if secret_key else private_key)
    if not problem and secret_key and private_key:
        problem = "HTX_SECRET_KEY and HTX_PRIVATE_KEY are both set. Unset one of them."
    if not problem and (access_key is None or secret_key is private_key):
        missing = [NAMES[0]] if access_key is None else []
        missing += [NAMES[1]] if secret_key is private_key else []
        problem = f"keys are missing: set {' and '.join(missing)} in the environment"
    return problem, access_key, secret_key, private_key


def source_of(name: str) -> str:
    """Return where the value of *name* comes from, for an error."""
    return f"the file in {name}_FILE" if os.environ.get(f"{name}_FILE") else name


def _variable(name: str) -> tuple[str, str | None]:
    """Return what is wrong with a variable or its file, and its value; `None` if it is not set."""
    path, value = os.environ.get(f"{name}_FILE"), os.environ.get(name)
    if not path:
        return "", value
    if value:
        return f"{name} and {name}_FILE are both set. Unset one of them.", None
    try:
        # Some editors begin a file with a byte order mark.
        with open(path, encoding="utf-8-sig") as file:  # noqa: PTH123 - importing pathlib takes 4 ms
            return "", file.read().removesuffix("\n").removesuffix("\r")
    except (OSError, ValueError) as error:
        return f"{source_of(name)} cannot be read ({type(error).__name__})", None
