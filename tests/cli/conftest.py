"""Environment of CLI tests: 80 columns, no colours, no keys, no proxies."""

from __future__ import annotations

import pytest

_UNSET = ("HTX_ACCESS_KEY", "HTX_SECRET_KEY", "HTX_PRIVATE_KEY", "HTX_BASE_URL", "FORCE_COLOR")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the output independent of the machine."""
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    for name in _UNSET:
        monkeypatch.delenv(name, raising=False)
    for name in ("http", "https", "all", "no"):
        monkeypatch.delenv(f"{name}_proxy", raising=False)
        monkeypatch.delenv(f"{name}_proxy".upper(), raising=False)
