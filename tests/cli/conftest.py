"""A narrow terminal, no colours, no keys, no proxies: whatever the machine has."""

from __future__ import annotations

import pytest

_UNSET = ("HTX_ACCESS_KEY", "HTX_SECRET_KEY", "HTX_PRIVATE_KEY", "HTX_BASE_URL", "FORCE_COLOR")


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the command run as a stranger would run it."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    for name in _UNSET:
        monkeypatch.delenv(name, raising=False)
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
