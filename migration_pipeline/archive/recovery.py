"""Puts an archive's directories in order after writers died.

What a dead writer left is told from a living one's work by a lock that died with it, or on an
object store by a sign that nobody renews. A swap that was cut off is finished; the rest is removed.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
from pathlib import Path

from migration_pipeline.archive import layout, lease
from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.location import Location, names_in, remove_files, writing
from migration_pipeline.archive.manifest import GENERATION_KEY, KINDS, Manifest, read_manifest
from migration_pipeline.archive.staging import (
    SIGN,
    STAGING,
    TMP_PART,
    footer_metadata,
    locked,
    publish,
    remove_unnamed_files,
    tmp_name,
    work_root,
)
from migration_pipeline.archive.store import StorePath
from migration_pipeline.errors import (
    DamagedPartError,
    ObjectStoreRefusedError,
    ObjectStoreUnavailableError,
)

_STAGED = re.compile(r".*\.\w{8}$", re.DOTALL)


def recover(archive: Archive, project: str) -> list[str]:
    """Puts a project's directories in order after writers died; call it before writing there.

    Swaps that were cut off between two renames are finished: a set of parts is whole when its
    temporary part 0 has a manifest, every other part of that generation is there, under its
    temporary or its final name, and every file has its place. What else dead writers left is
    removed; what another tool left is not touched.

    Returns:
        The stems of the runs whose swap was finished.
    """
    finished = []
    files_root = archive.files_root(project)
    staging = files_root / STAGING
    # Listed before it is asked who lives: who does not now has not begun since.
    cut = _cut_uploads(archive, project)
    alive = _living_writers(staging)
    if isinstance(staging, StorePath):
        _living_writers(work_root())
    for path, upload, writer in cut:
        if writer not in alive:
            # Its writer was done with it just now, or to give up is a right that is not given.
            with contextlib.suppress(FileNotFoundError, ObjectStoreRefusedError):
                path.give_up(upload)
    for kind in KINDS:
        directory = archive.project_directory(project, kind)
        if not directory.is_dir():
            continue
        if isinstance(directory, StorePath) and not _needs_recovery(directory):
            continue
        with writing(directory), locked(directory) as still_ours:
            tmp = [m for name in sorted(names_in(directory)) if (m := TMP_PART.match(name))]
            # Asked after the listing: who lives now may have begun since, who does not is done.
            alive = _living_writers(staging)
            dead = [m for m in tmp if m["writer"] and m["writer"] not in alive]
            for match in dead:
                if match["number"] == "0" and _is_published(directory, match):
                    continue
                if match["number"] == "0" and (whole := _whole_set(directory, match, files_root)):
                    publish(directory, match["stem"], whole.generation, whole.parts, still_ours)
                    remove_unnamed_files(files_root, RunKey(project, whole.run, kind), whole)
                    finished.append(match["stem"])
            for match in dead:
                (directory / match.string).unlink(missing_ok=True)
            _remove_headless_parts(directory)
    return finished


def _cut_uploads(archive: Archive, project: str) -> list[tuple[StorePath, str, str]]:
    """Parts and files of ours of which a store has some pieces: place, upload, writer."""
    found = []
    for root in (archive.project_directory(project), archive.files_root(project)):
        # To list uploads is a right of its own, and not every store of that kind can.
        with contextlib.suppress(ObjectStoreRefusedError, ObjectStoreUnavailableError):
            for path, upload in root.unfinished() if isinstance(root, StorePath) else []:
                part = TMP_PART.match(path.name)
                if part and part["writer"]:
                    found.append((path, upload, part["writer"]))
                elif _STAGED.match(path.parent.name) and path.parent.parent.name == STAGING:
                    found.append((path, upload, path.parent.name[-8:]))
    return found


def _needs_recovery(directory: StorePath) -> bool:
    """Whether a look without a turn finds anything that a dead writer may have left."""
    names = list(names_in(directory))
    stems = {parsed for name in names if (parsed := layout.parse_part_name(name))}
    headless = any((stem, 0) not in stems for stem, _ in stems)
    return headless or any(TMP_PART.match(name) for name in names)


def _living_signs(root: StorePath) -> set[str]:
    """The same on a store, where a sign that is renewed stands for the lock."""
    staged: dict[str, list[str]] = {}
    for path in root.walk():
        staged.setdefault(path.partition("/")[0], []).append(path)
    alive: set[str] = set()
    clock = lease.store_clock(root / "clocks")
    for name, paths in staged.items():
        if _STAGED.match(name) is None:
            continue
        if lease.is_dead(root / name / SIGN, clock):
            remove_files([root / path for path in paths])
        else:
            alive.add(name[-8:])
    return alive


def _living_writers(root: Location) -> set[str]:
    """Writers that hold the lock of their staging directory; the others' are removed."""
    if isinstance(root, StorePath):
        return _living_signs(root)
    alive: set[str] = set()
    if not root.is_dir():
        return alive
    with writing(root), locked(root):
        for staging in root.glob("*.????????"):
            try:
                descriptor = os.open(staging, os.O_RDONLY)
            except FileNotFoundError:
                continue  # its owner was done with it just now
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(staging, ignore_errors=True)
            except BlockingIOError:
                alive.add(staging.name[-8:])
            finally:
                os.close(descriptor)
    return alive


def _remove_headless_parts(directory: Location) -> None:
    """Parts of ours without a part 0: left by a swap that another export will repeat."""
    by_stem: dict[str, list[int]] = {}
    for name in names_in(directory):
        if parsed := layout.parse_part_name(name):
            by_stem.setdefault(parsed[0], []).append(parsed[1])
    for stem, numbers in by_stem.items():
        for number in [] if 0 in numbers else numbers:
            part = directory / layout.part_name(stem, number)
            if GENERATION_KEY in footer_metadata(part):
                part.unlink()


def _is_published(directory: Location, part_0: re.Match[str]) -> bool:
    """On a store: a copy was made, and the process died before it removed what it had copied."""
    if isinstance(directory, Path):
        return False
    said = footer_metadata(directory / layout.part_name(part_0["stem"], 0))
    return said.get(GENERATION_KEY, b"").decode()[:8] == part_0["writer"]


def _whole_set(directory: Location, part_0: re.Match[str], files_root: Location) -> Manifest | None:
    """The manifest of a temporary part 0 whose other parts and files are all there."""
    try:
        manifest = read_manifest(directory / part_0.string)
    except (DamagedPartError, ValueError):
        return None
    if manifest is None or not _all_there(directory, part_0["stem"], manifest):
        return None
    # Files have the digest of their content in their names and get them in one rename.
    if not all((files_root / entry.path).is_file() for entry in manifest.files):
        return None
    return manifest


def _all_there(directory: Location, stem: str, manifest: Manifest) -> bool:
    for number in range(1, manifest.parts):
        tmp = directory / tmp_name(stem, number, manifest.generation)
        candidate = tmp if tmp.exists() else directory / layout.part_name(stem, number)
        if footer_metadata(candidate).get(GENERATION_KEY, b"").decode() != manifest.generation:
            return False
    return True
