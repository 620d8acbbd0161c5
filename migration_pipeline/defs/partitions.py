"""The two sets of partitions, and keys that Dagster can always carry.

A run id may hold anything, while Dagster's page and command line give commas and `...` a meaning,
and databases index only so many bytes. So a key is the readable name with as little changed as
possible: what cannot stand in it is percent-encoded, what is too long is cut and told apart by a
digest. Two names never get one key, and no run is refused because of its name.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from urllib.parse import unquote_to_bytes

import dagster as dg

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.archive.manifest import KINDS

projects = dg.DynamicPartitionsDefinition(name="neptune_projects")
"""Key: `project_partition(project)`."""
runs = dg.DynamicPartitionsDefinition(name="neptune_runs")
"""Key: `run_partition(key)`."""

MAX_BYTES = 500
"""Of a whole key in UTF-8; PostgreSQL's index refuses somewhat above 2,700."""
_PROJECT_BYTES = 200
_CUT = "%~"
"""Before the digest of a name that was cut. Every other `%` is followed by two hex digits in upper
case, or by the name of a kind in lower case, or by that of `_ALL`."""
_ALL = "%all"
"""Instead of a run: all of them."""
_MARKS = {kind: "" if kind == "run" else f"%{kind}|" for kind in KINDS}
_PARTIAL_ESCAPE = re.compile(r"%[0-9A-F]?$")


def project_partition(project: str) -> str:
    """The partition key of a project; it never holds a `|`."""
    return _cut(_encode(project, also="|"), project, _PROJECT_BYTES)


def run_partition(key: RunKey) -> str:
    """The partition key of a run: `workspace/project|run id`.

    Of any other kind of object: `workspace/project|%model|id`, which no run id is encoded as.
    """
    before = prefix_of(key.project) + _MARKS[key.kind]
    return before + _cut(_encode(key.run), key.run, MAX_BYTES - len(before.encode()))


def project_of(partition: str) -> str:
    """The project of a project's or a run's partition key.

    Raises:
        ValueError: its name was cut.
    """
    return _decode(partition.partition("|")[0])


def key_of(partition: str) -> RunKey:
    """What a run's partition key stands for.

    Raises:
        ValueError: it was cut; then only the record's metadata has the name. Or it stands for all
            runs of a project.
    """
    project, _, run = partition.partition("|")
    if run == _ALL:
        raise ValueError(f"{partition!r} stands for all runs of a project")
    for kind, mark in _MARKS.items():
        if mark and run.startswith(mark):
            return RunKey(_decode(project), _decode(run.removeprefix(mark)), kind)
    return RunKey(_decode(project), _decode(run))


def all_runs_partition(project: str) -> str:
    """The key that stands for all runs of a project: `workspace/project|%all`, no run's key."""
    return prefix_of(project) + _ALL


def is_all_runs(partition: str) -> bool:
    return partition.partition("|")[2] == _ALL


def prefix_of(project: str) -> str:
    """What the keys of all runs of a project begin with, and no others."""
    return f"{project_partition(project)}|"


def _encode(name: str, also: str = "") -> str:
    """Percent-encodes what Dagster or a database cannot hold, byte by byte of its UTF-8."""
    escaped = "".join(_escape(c) if c in "%," or c in also or _is_odd(c) else c for c in name)
    return escaped.replace("...", "%2E%2E%2E")


def _is_odd(character: str) -> bool:
    """Control characters, line separators and lone surrogates."""
    return unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp")


def _escape(character: str) -> str:
    return "".join(f"%{byte:02X}" for byte in character.encode("utf-8", "surrogatepass"))


def _cut(encoded: str, original: str, limit: int) -> str:
    if len(encoded.encode()) <= limit:
        return encoded
    data = original.encode("utf-8", "surrogatepass")
    mark = _CUT + hashlib.blake2b(data, digest_size=16).hexdigest()
    kept = encoded.encode()[: limit - len(mark)].decode("utf-8", "ignore")
    return _PARTIAL_ESCAPE.sub("", kept) + mark


def _decode(encoded: str) -> str:
    if _CUT in encoded:
        raise ValueError(f"{encoded!r} was cut, its original name cannot be read from it")
    return unquote_to_bytes(encoded).decode("utf-8", "surrogatepass")
