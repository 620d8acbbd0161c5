"""What an archive of 2.x holds, as a 2.x server holds it.

In the archive a file set is a zip and a list of its files, an artifact the list alone, and the
references to git, notebook and state are text. Here they become again what they were, so that
what is served and exported again is the same archive. The bytes of an artifact's files are not
served: they never were on a server.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .store import ArtifactFile, Attribute, FileSetValue, FileValue, Run

_REFERENCES = {
    "source_code/git": ("git_ref", "commit"),
    "source_code/notebook": ("notebook_ref", "notebookId"),
}
"""Path → type and what such a reference says at least."""


def restore(run: Run, listed: Mapping[str, tuple[str, list[Path]]]) -> None:
    """Make attributes of what the archive says in other terms.

    Args:
        listed: path → `file_set` or `artifact`, and the files of its rows.
    """
    for path, (type_, files) in listed.items():
        by_suffix = {file.suffix: file for file in files if file.is_file()}
        if type_ == "file_set":
            value: Any = _file_set(run, by_suffix.get(".zip"), by_suffix.get(".json"))
        else:
            value = _artifact(run, by_suffix.get(".json"))
        if value is not None:
            run.attributes[path] = Attribute(type_, value)
    state = run.attributes.get("sys/state")
    if state is not None and state.type == "string":
        run.attributes["sys/state"] = Attribute("run_state", state.value)
    for path, (type_, least) in _REFERENCES.items():
        found = run.attributes.get(path)
        said = _json(found.value) if found is not None and found.type == "string" else None
        if isinstance(said, dict) and least in said:
            run.attributes[path] = Attribute(type_, said)


def _file_set(run: Run, packed: Path | None, listing: Path | None) -> FileSetValue | None:
    """The files by the zip, and what the list says of them; the zip itself is served as it is."""
    said = {one["path"]: one for one in _list(listing)}
    if packed is None and listing is None:
        return None
    sizes = {path: int(one.get("size") or 0) for path, one in said.items()}
    members: dict[str, str] = {}
    if packed is not None:
        with zipfile.ZipFile(packed) as archive:
            files = [one for one in archive.infolist() if not one.is_dir()]
        members = {one.filename.lstrip("/"): one.filename for one in files}
        sizes |= {one.filename.lstrip("/"): one.file_size for one in files}
    value = FileSetValue(zipped=packed)
    project = run.project
    for path in sorted(sizes):
        stored = f"{run.kind}/{run.run_id}/{packed}/{path}"
        name = path.rsplit("/", 1)[-1]
        value.files[path] = FileValue(
            stored, sizes[path], "application/octet-stream", name, Path(name).suffix[1:]
        )
        value.times[path] = _milliseconds(said.get(path, {}).get("mtime"))
        if packed is not None and path in members:
            project.store.blobs.link_member(project.identifier, stored, packed, members[path])
    return value


def _artifact(run: Run, listing: Path | None) -> str | None:
    """Its hash, under which the project then knows its files."""
    said = None if listing is None else _json(listing.read_text())
    if not isinstance(said, dict) or not isinstance(said.get("hash"), str):
        return None
    run.project.artifacts[said["hash"]] = tuple(
        ArtifactFile(
            one["filePath"],
            one["fileHash"],
            one["type"],
            one.get("size"),
            tuple((pair["key"], pair["value"]) for pair in one.get("metadata") or ()),
        )
        for one in said.get("files") or ()
    )
    return str(said["hash"])


def _list(listing: Path | None) -> Iterable[dict[str, Any]]:
    said = None if listing is None else _json(listing.read_text())
    return said if isinstance(said, list) else []


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None


def _milliseconds(moment: object) -> int:
    """0 for a time that the list does not give."""
    if not isinstance(moment, str):
        return 0
    parsed = datetime.fromisoformat(moment)
    parsed = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    return round(parsed.timestamp() * 1000)
