"""Where an archive, a part or a file lies: a folder's path, or one on an object store.

What both kinds can do under one name they do as `pathlib` calls it; the rest is here.
"""

from __future__ import annotations

import contextlib
import os
import stat as modes
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from migration_pipeline.archive.store import SEPARATOR, StoreEntry, StorePath, StoreStat
from migration_pipeline.archive.store_errors import PACKAGES
from migration_pipeline.errors import ArchiveNotWritableError, ConfigError

Location = Path | StorePath
Entry = os.DirEntry[str] | StoreEntry


def location(text: str, setting: str) -> Location:
    """A path as somebody set it: absolute, or on an object store.

    Raises:
        ConfigError: another kind of address, one without a bucket, or one with credentials in it.
    """
    protocol, separator, key = text.partition(SEPARATOR)
    if not separator:
        return Path(text).absolute()
    if protocol not in PACKAGES:
        known = ", ".join(f"{name}{SEPARATOR}" for name in PACKAGES)
        raise ConfigError(
            f"{setting} begins with {protocol[:20]!r}{SEPARATOR}, which is no store that is known",
            f"Set it to a folder, or to an address that begins with one of {known}.",
        )
    if "@" in key.partition("/")[0] or "?" in key:
        raise ConfigError(
            f"{setting} holds more than bucket and folder",
            f"Credentials and options go into {PACKAGES[protocol].variables}, never into the path.",
        )
    plain = "/".join(part for part in key.split("/") if part not in ("", "."))
    if not plain or ".." in plain.split("/"):
        raise ConfigError(
            f"{setting} is {text!r}, which names no bucket and folder",
            f"Set it to {protocol}{SEPARATOR}bucket/folder.",
        )
    return StorePath(protocol, plain)


def is_inside(root: Location, path: str) -> bool:
    """Whether a path from there stays there, links followed."""
    if isinstance(root, Path):
        return (root / path).resolve().is_relative_to(root.resolve())
    return (root / path).resolve().is_relative_to(root)


def scandir(directory: Location) -> contextlib.AbstractContextManager[Iterator[Entry]]:
    """`os.scandir` of either kind."""
    if isinstance(directory, Path):
        return os.scandir(directory)
    return contextlib.nullcontext(directory.scandir())


def stats(root: Location, paths: Sequence[str]) -> Iterator[os.stat_result | StoreStat | None]:
    """What lies at each path below `root`; None: nothing, or no name that the system takes.

    On a store one listing of the folder that they share answers for all.
    """
    if isinstance(root, Path):
        yield from map(_stat_or_none, (os.path.join(root, path) for path in paths))
        return
    listed: dict[str, StoreStat] = {}
    for folder in {path.partition("/")[0] for path in paths if "/" in path}:
        listed |= {f"{folder}/{path}": found for path, found in (root / folder).walk().items()}
    for path in paths:
        found = listed.get(path)
        if found is None and "/" not in path:
            found = _stored_or_none(root / path)
        elif found is None and any(name.startswith(f"{path}/") for name in listed):
            found = StoreStat(0, 0.0, modes.S_IFDIR)
        yield found


def _stat_or_none(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)
    except (OSError, ValueError):  # ValueError: a zero byte in the name
        return None


def _stored_or_none(path: StorePath) -> StoreStat | None:
    try:
        return path.stat()
    except FileNotFoundError:
        return None


def replace(source: Location, to: Location) -> None:
    """A rename; on a store, which has none, a copy and then a removal."""
    if isinstance(source, Path) and isinstance(to, Path):
        os.replace(source, to)
    elif isinstance(source, StorePath) and isinstance(to, StorePath):
        source.copy_to(to)
        source.unlink(missing_ok=True)
    else:
        raise TypeError(f"{source} and {to} are of two kinds")


def folders_in(root: Location) -> list[Location]:
    """What lies right below and is no file, sorted; of a store nothing further down is listed.

    Raises:
        FileNotFoundError: `root` is not there.
    """
    found: list[Location] = []
    if isinstance(root, Path):
        found.extend(sorted(path for path in root.iterdir() if path.is_dir()))
    else:
        found.extend(sorted(root.folders()))
    return found


def files_below(folder: Location) -> list[str]:
    """Of all files in it and in its folders: their paths from there, folder by folder."""
    if isinstance(folder, Path):
        inside = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        return [path.as_posix() for path in sorted(inside)]
    return sorted(folder.walk(), key=PurePosixPath)


def below(path: Location, root: Location) -> PurePosixPath:
    """The path from there."""
    if isinstance(path, Path) and isinstance(root, Path):
        return PurePosixPath(path.relative_to(root))
    if isinstance(path, StorePath) and isinstance(root, StorePath):
        return path.relative_to(root)
    raise ValueError(f"{path} is not below {root}")


def local(path: Location, what: str) -> Path:
    """The same, as what has to be a folder or a file of this machine.

    Raises:
        ConfigError: it is on an object store.
    """
    if isinstance(path, Path):
        return path
    raise ConfigError(f"{what} is {path}, on an object store", "Name a folder of this machine.")


def names_in(directory: Location) -> list[str]:
    """`os.listdir` of either kind; empty: nothing is there."""
    try:
        with scandir(directory) as entries:
            return [entry.name for entry in entries]
    except FileNotFoundError:
        return []


def remove_files(files: Iterable[Location]) -> None:
    for file in files:
        file.unlink(missing_ok=True)


def sync(path: Location) -> None:
    """fsync of a file or a directory; what a store has answered is durable there."""
    if isinstance(path, StorePath):
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(path: Location) -> Iterator[None]:
    """Names the place when the operating system refuses to write."""
    try:
        yield
    except OSError as error:
        raise ArchiveNotWritableError(str(path), error.strerror or str(error)) from error
