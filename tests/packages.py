"""
Check that sdist and wheel are complete, have nothing else, and are the same when built twice.

`python -m tests.packages FIRST SECOND ...` compares folders that were built from the same sources.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
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
    """Return the source files in *folders*, without what tools left there."""
    paths = (path for folder in folders for path in (root / folder).rglob("*") if path.is_file())
    names = (path.relative_to(root) for path in paths)
    return {name.as_posix() for name in names if not _is_left_over(name)}


def _is_left_over(path: Path) -> bool:
    return any(part.startswith(".") or part in {"__pycache__", "_build"} for part in path.parts)


def problems_of_wheel(names: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Return what is wrong with the files of a wheel: the package and its metadata."""
    actual = set(names)
    metadata = {name for name in actual if name.split("/")[0].endswith(".dist-info")}
    strange = {name for name in metadata if PurePosixPath(name).name not in IN_DIST_INFO}
    lines = _problems(actual - metadata, set(expected), IN_PACKAGE)
    return lines + _lines("unexpected kind", strange)


def problems_of_sdist(names: Iterable[str], expected: Iterable[str]) -> list[str]:
    """Return what is wrong with the files of an sdist: the package, its tests and its docs."""
    return _problems(set(names) - BY_THE_BUILDER, set(expected), IN_SDIST | {""})


def _problems(actual: set[str], expected: set[str], kinds: frozenset[str]) -> list[str]:
    strange = {name for name in actual if PurePosixPath(name).suffix not in kinds}
    return (
        _lines("missing", expected - actual)
        + _lines("does not belong", actual - expected)
        + _lines("unexpected kind", strange & expected)
    )


def _lines(problem: str, names: Iterable[str]) -> list[str]:
    return [f"{problem}: {name}" for name in sorted(names)]


def problems(archive: Path, root: Path = ROOT) -> list[str]:
    """Return all that is wrong with an archive that was built from *root*."""
    is_wheel = archive.suffix == ".whl"
    expected = sources(root, [PACKAGE]) if is_wheel else sources(root, FOLDERS) | ALONE
    check: Callable[..., list[str]] = problems_of_wheel if is_wheel else problems_of_sdist
    files = members(archive)
    lines = check(files, expected) + problems_of_description(files)
    return [f"{archive.name}: {problem}" for problem in lines]


def problems_of_description(files: Mapping[str, bytes]) -> list[str]:
    """Return the links in the description that do not work on a package index."""
    texts = (
        text.decode()
        for name, text in files.items()
        if PurePosixPath(name).name in {"METADATA", "PKG-INFO"}
    )
    relative = {link for text in texts for link in re.findall(r"\]\((?!https:)([^)]*)\)", text)}
    return _lines("relative link in the description", relative)


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
    """Check folders of archives, and print what is wrong."""
    folders = [Path(argument) for argument in arguments]
    archives = sorted(path for path in folders[0].iterdir() if path.suffix in {".whl", ".gz"})
    lines = [problem for archive in archives for problem in problems(archive)]
    lines += differences(folders)
    sizes = [f"{archive.name}: {len(members(archive))} files" for archive in archives]
    sys.stdout.write("\n".join([*sizes, *lines, ""]))
    return 1 if lines or not archives else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
