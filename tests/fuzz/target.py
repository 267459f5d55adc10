"""The target of atheris (libFuzzer for Python); its options are those of libFuzzer."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["htx_async"]):
    from tests.fuzz import properties

if __name__ == "__main__":
    atheris.Setup(sys.argv, properties.check)
    atheris.Fuzz()
