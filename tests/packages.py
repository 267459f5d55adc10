"""
What is in the sdist and the wheel: nothing missing, nothing that does not belong, the same twice.

`python -m tests.packages FIRST SECOND ...` looks at folders that were built from the same sources.
"""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PACKAGE: Final = "htx_async"
IN_PACKAGE: Final = frozenset({".py", ".typed", ".lua"})
IN_DIST_INFO: Final = frozenset({"METADATA", "WHEEL", "RECORD", "entry_points.txt", "LICENSE"})
IN_SDIST: Final = IN_PACKAGE | {".css", ".json", ".md", ".svg", ".toml", ".txt"}
FOLDERS: Final = (PACKAGE, "tests", "docs")
ALONE: Final = frozenset(
    {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "LICENSE"}
    | {"pyproject.toml", "noxfile.py"}
)
BY_THE_BUILDER: Final = frozenset({"PKG-INFO", ".gitignore"})


def members(archive: Path) -> dict[str, bytes]:
    """Return all files of a wheel or an sdist; those of an sdist without its one folder."""
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return {name: wheel.read(name) for name in wheel.namelist()}
    with tarfile.open(archive) as sdist:
        files = {info.name: sdist.extractfile(info) for info in sdist.getmembers()}
        return {name.partition("/")[2]: file.read() for name, file in files.items() if file}


def sources(root: Path, folders: Iterable[str]) -> set[str]:
    """Return the files in *folders* that are ours: not what tools left there."""
    found = (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    names = (path.relative_to(root).as_posix() for path in found)
    return {name for name in names if not _left(PurePosixPath(name))}


def _left(path: PurePosixPath) -> bool:
    return any(part.startswith(".") or part in {"__pycache__", "_build"} for part in path.parts)


def faults_of_wheel(names: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return what is wrong with the files of a wheel: the package and its facts, all of it."""
    there = set(names)
    facts = {name for name in there if name.split("/")[0].endswith(".dist-info")}
    strange = {name for name in facts if PurePosixPath(name).name not in IN_DIST_INFO}
    return _faults(there - facts, set(wanted), IN_PACKAGE) + _told("strange", strange)


def faults_of_sdist(names: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return what is wrong with the files of an sdist: all that is tested, and how it is."""
    return _faults(set(names) - BY_THE_BUILDER, set(wanted), IN_SDIST | {""})


def _faults(there: set[str], wanted: set[str], kinds: frozenset[str]) -> list[str]:
    strange = {name for name in there if PurePosixPath(name).suffix not in kinds}
    return (
        _told("missing", wanted - there)
        + _told("does not belong", there - wanted)
        + _told("strange", strange & wanted)
    )


def _told(fault: str, names: Iterable[str]) -> list[str]:
    return [f"{fault}: {name}" for name in sorted(names)]


def faults(archive: Path, root: Path = ROOT) -> list[str]:
    """Return all that is wrong with an archive that was built from *root*."""
    is_wheel = archive.suffix == ".whl"
    wanted = sources(root, [PACKAGE]) if is_wheel else sources(root, FOLDERS) | ALONE
    check: Callable[..., list[str]] = faults_of_wheel if is_wheel else faults_of_sdist
    return [f"{archive.name}: {fault}" for fault in check(members(archive), wanted)]


def differences(folders: Sequence[Path]) -> list[str]:
    """Return which archives are not the same in all *folders*, byte for byte."""
    first, *others = folders
    return [
        f"not the same in {first} and {other}: {archive.name}"
        for archive in sorted(first.iterdir())
        for other in others
        if not _same(archive, other / archive.name)
    ]


def _same(one: Path, other: Path) -> bool:
    return other.is_file() and one.read_bytes() == other.read_bytes()


def main(arguments: Sequence[str]) -> int:
    """Look at folders of archives, and tell what is wrong."""
    folders = [Path(each) for each in arguments]
    archives = sorted(each for each in folders[0].iterdir() if each.suffix in {".whl", ".gz"})
    found = [fault for archive in archives for fault in faults(archive)] + differences(folders)
    shown = [f"{archive.name}: {len(members(archive))} files" for archive in archives]
    sys.stdout.write("\n".join([*shown, *found, ""]))
    return 1 if found or not archives else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
