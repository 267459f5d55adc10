"""What is looked for in the sdist and the wheel is found: `nox -s build` makes the real ones."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests import packages

PACKAGE = ["htx_async/__init__.py", "htx_async/py.typed", "htx_async/ratelimit/redis/leases.lua"]
FACTS = [f"htx_async-1.dist-info/{name}" for name in ("METADATA", "RECORD", "licenses/LICENSE")]


def written(path: Path, names: list[str], content: bytes = b"") -> Path:
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


def test_what_is_whole_has_no_fault(root: Path) -> None:
    """What tools left beside the sources is not missed."""
    for left in ("htx_async/__pycache__/x.pyc", "docs/_build/x.html", "tests/.cache/x.py"):
        (root / left).parent.mkdir(parents=True)
        (root / left).touch()
    wheel = written(root / "htx_async-1-py3-none-any.whl", PACKAGE + FACTS)
    sdist = written(root / "htx_async-1.tar.gz", SDIST)
    assert packages.faults(wheel, root) == []
    assert packages.faults(sdist, root) == []


@pytest.mark.parametrize("name", PACKAGE)
def test_what_is_missing_is_told(root: Path, name: str) -> None:
    """A package without `py.typed` has no types, one without its script no Redis."""
    wheel = written(root / "x.whl", [each for each in PACKAGE if each != name])
    assert packages.faults(wheel, root) == [f"x.whl: missing: {name}"]
    sdist = written(root / "x.tar.gz", [each for each in SDIST if each != name])
    assert packages.faults(sdist, root) == [f"x.tar.gz: missing: {name}"]


@pytest.mark.parametrize(
    "name", ["tests/__init__.py", "htx_async/__pycache__/x.pyc", "htx_async/.env", "LICENSE"]
)
def test_what_does_not_belong_in_a_wheel_is_told(root: Path, name: str) -> None:
    """Nothing lands beside the package, where it would hide another one."""
    wheel = written(root / "x.whl", [*PACKAGE, *FACTS, name])
    assert packages.faults(wheel, root) == [f"x.whl: does not belong: {name}"]


@pytest.mark.parametrize("name", ["docs/_build/index.html", ".env", "dist/x.whl", "tests/x.pyc"])
def test_what_does_not_belong_in_an_sdist_is_told(root: Path, name: str) -> None:
    """Built pages, keys, other packages."""
    sdist = written(root / "x.tar.gz", [*SDIST, name])
    assert packages.faults(sdist, root) == [f"x.tar.gz: does not belong: {name}"]


def test_strange_kinds_of_files_are_told_though_they_stand_among_the_sources(root: Path) -> None:
    """Somebody put them there."""
    (root / "htx_async/keys.pem").touch()
    wheel = written(root / "x.whl", [*PACKAGE, "htx_async/keys.pem", *FACTS, "x.dist-info/more"])
    assert packages.faults(wheel, root) == [
        "x.whl: strange: htx_async/keys.pem",
        "x.whl: strange: x.dist-info/more",
    ]


@pytest.mark.parametrize("name", ["x.whl", "x.tar.gz"])
def test_archives_are_read(tmp_path: Path, name: str) -> None:
    """Names as in the sources, and what is in the files."""
    archive = written(tmp_path / name, ["README.md", "docs/index.md"], b"text")
    assert packages.members(archive) == {"README.md": b"text", "docs/index.md": b"text"}


def test_archives_are_compared_byte_for_byte(tmp_path: Path) -> None:
    """The same, another one, none."""
    folders = [tmp_path / name for name in "abc"]
    for folder in folders:
        folder.mkdir()
    written(folders[0] / "x.tar.gz", ["README.md"])
    (folders[1] / "x.tar.gz").write_bytes((folders[0] / "x.tar.gz").read_bytes())
    assert packages.differences(folders[:2]) == []
    found = packages.differences(folders)
    assert found == [f"not the same in {folders[0]} and {folders[2]}: x.tar.gz"]
    written(folders[1] / "x.tar.gz", ["README.md"], b"more")
    assert len(packages.differences(folders)) == 2


def test_a_fault_fails_and_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """So does a folder with nothing in it."""
    assert packages.main([str(tmp_path)]) == 1
    written(tmp_path / "x.whl", ["htx_async/odd.py"])
    assert packages.main([str(tmp_path)]) == 1
    assert "x.whl: does not belong: htx_async/odd.py" in capsys.readouterr().out
