"""The checks of sdist and wheel can fail: `nox -s build` builds the real ones."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests import packages

PACKAGE = ["htx_async/__init__.py", "htx_async/py.typed", "htx_async/ratelimit/redis/exchange.lua"]
METADATA = [f"htx_async-1.dist-info/{name}" for name in ("METADATA", "RECORD", "licenses/LICENSE")]


def archive(path: Path, names: list[str], content: bytes = b"") -> Path:
    """Write an archive that has nothing but *names*."""
    if path.suffix == ".whl":
        with zipfile.ZipFile(path, "w") as wheel:
            for name in names:
                wheel.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz") as sdist:
        for name in names:
            info = tarfile.TarInfo(f"htx_async-1/{name}")
            info.size = len(content)
            sdist.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in [*PACKAGE, *packages.ALONE, "tests/test_x.py", "docs/index.md"]:
        file = tmp_path / "root" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path / "root"


SDIST = [*PACKAGE, *packages.ALONE, "tests/test_x.py", "docs/index.md", "PKG-INFO"]


def test_packages_complete_archives_pass(root: Path) -> None:
    """What tools left beside the sources is not expected."""
    for left in ("htx_async/__pycache__/x.pyc", "docs/_build/x.html", "tests/.cache/x.py"):
        (root / left).parent.mkdir(parents=True)
        (root / left).touch()
    wheel = archive(root / "htx_async-1-py3-none-any.whl", PACKAGE + METADATA)
    sdist = archive(root / "htx_async-1.tar.gz", SDIST)
    assert packages.problems(wheel, root) == []
    assert packages.problems(sdist, root) == []


@pytest.mark.parametrize("name", PACKAGE)
def test_packages_missing_file_is_reported(root: Path, name: str) -> None:
    """A package without `py.typed` has no types, one without its script no Redis."""
    wheel = archive(root / "x.whl", [other for other in PACKAGE if other != name])
    assert packages.problems(wheel, root) == [f"x.whl: missing: {name}"]
    sdist = archive(root / "x.tar.gz", [other for other in SDIST if other != name])
    assert packages.problems(sdist, root) == [f"x.tar.gz: missing: {name}"]


@pytest.mark.parametrize(
    "name", ["tests/__init__.py", "htx_async/__pycache__/x.pyc", "htx_async/.env", "LICENSE"]
)
def test_packages_wheel_extra_file_is_reported(root: Path, name: str) -> None:
    """Nothing is installed beside the package, where it would hide another one."""
    wheel = archive(root / "x.whl", [*PACKAGE, *METADATA, name])
    assert packages.problems(wheel, root) == [f"x.whl: does not belong: {name}"]


@pytest.mark.parametrize("name", ["docs/_build/index.html", ".env", "dist/x.whl", "tests/x.pyc"])
def test_packages_sdist_extra_file_is_reported(root: Path, name: str) -> None:
    """Built pages, keys, other packages."""
    sdist = archive(root / "x.tar.gz", [*SDIST, name])
    assert packages.problems(sdist, root) == [f"x.tar.gz: does not belong: {name}"]


def test_packages_unexpected_kind_of_file_is_reported(root: Path) -> None:
    """Also if it is among the sources."""
    (root / "htx_async/keys.pem").touch()
    wheel = archive(root / "x.whl", [*PACKAGE, "htx_async/keys.pem", *METADATA, "x.dist-info/more"])
    assert packages.problems(wheel, root) == [
        "x.whl: unexpected kind: htx_async/keys.pem",
        "x.whl: unexpected kind: x.dist-info/more",
    ]


@pytest.mark.parametrize("name", ["x.whl", "x.tar.gz"])
def test_packages_members_of_archives(tmp_path: Path, name: str) -> None:
    """Names as in the sources, and what is in the files."""
    built = archive(tmp_path / name, ["README.md", "docs/index.md"], b"text")
    assert packages.members(built) == {"README.md": b"text", "docs/index.md": b"text"}


def test_packages_differences_compare_bytes(tmp_path: Path) -> None:
    """The same, another one, none."""
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    archive(folders[0] / "x.tar.gz", ["README.md"])
    (folders[1] / "x.tar.gz").write_bytes((folders[0] / "x.tar.gz").read_bytes())
    assert packages.differences(folders[:2]) == []
    assert packages.differences(folders) == [
        f"not the same in {folders[0]} and {folders[2]}: x.tar.gz"
    ]
    archive(folders[1] / "x.tar.gz", ["README.md"], b"more")
    assert len(packages.differences(folders)) == 2


def test_packages_main_fails_on_a_problem(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An empty folder is one, too."""
    assert packages.main([str(tmp_path)]) == 1
    archive(tmp_path / "x.whl", ["htx_async/odd.py"])
    assert packages.main([str(tmp_path)]) == 1
    assert "x.whl: does not belong: htx_async/odd.py" in capsys.readouterr().out


def test_description_with_relative_link_is_a_problem() -> None:
    """A package index has no other file of the repository."""
    text = b"[one](docs/index.md), ![two](two.svg), [three](https://www.htx.com)"
    problems = packages.problems_of_description({"x.dist-info/METADATA": text, "README.md": text})
    expected = [
        f"relative link in the description: {name}" for name in ("docs/index.md", "two.svg")
    ]
    assert problems == expected
