"""
Fuzzes for some time: with atheris, which is guided by branch coverage, or with hypothesis.

A finding ends it with an error; atheris leaves the bytes in the folder that it prints.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import long, seeds


def main() -> int:
    """Fuzz, and return the status for the shell."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--engine", choices=["atheris", "hypothesis"])
    options = parser.parse_args()
    has_atheris = importlib.util.find_spec("atheris") is not None
    engine = options.engine or ("atheris" if has_atheris else "hypothesis")
    _print(f"{engine}, {options.seconds} s")
    return _atheris(options.seconds) if engine == "atheris" else _hypothesis(options.seconds)


def _print(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _atheris(seconds: int) -> int:
    """Run it in a process of its own: atheris ends the process that it runs in."""
    folder = Path(tempfile.mkdtemp(prefix="htx_async-fuzz-"))
    corpus = folder / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(seeds.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    words = folder / "words"
    escaped = ("".join(f"\\x{byte:02x}" for byte in word) for word in seeds.WORDS)
    words.write_text("".join(f'"{word}"\n' for word in escaped), encoding="ascii")
    flags = [
        f"-max_total_time={seconds}",
        f"-dict={words}",
        f"-artifact_prefix={folder}/",
        "-max_len=4096",
        "-print_final_stats=1",
        "-verbosity=0",
    ]
    command = [sys.executable, "-m", "tests.fuzz.target", *flags, str(corpus)]
    return subprocess.run(command, check=False).returncode


def _hypothesis(seconds: int) -> int:
    began = time.monotonic()
    count = 0
    while time.monotonic() < began + seconds:
        count += long.run(seed=int(time.monotonic() * 1000))
    _print(f"{count} examples in {time.monotonic() - began:.0f} s, no finding")
    return 0


if __name__ == "__main__":
    sys.exit(main())
