"""Where things lie in an archive: names on disk that never meet.

Directory and part names are neptune-exporter's (a cleaned original and a digest of it), so that
either tool finds what the other wrote. Files of a run have names of our own, because cleaned names
alone meet: `a.b` and `a_b` are two attributes.
"""

from __future__ import annotations

import hashlib
import mimetypes
import re
from pathlib import PurePosixPath

_PART = re.compile(r"^(?P<stem>.+)_part_(?P<number>\d+)\.parquet$")
_DIGEST = re.compile(r"-([0-9a-f]{16})$")
_EXTENSION = re.compile(r"^\.[A-Za-z0-9]{1,10}$")
MAX_NAME_BYTES = 180  # file systems stop at 255; digest and part number need their share


def digest(text: str) -> str:
    """16 hex digits of blake2b, as neptune-exporter appends them."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()


def clean(text: str) -> str:
    """Every character that is not alphanumeric (Unicode), `_` or `-` becomes `_`."""
    return "".join(c if c.isalnum() or c in "_-" else "_" for c in text)


def _cut(text: str, limit: int) -> str:
    return text.encode("utf-8", "replace")[:limit].decode("utf-8", "ignore")


def name_on_disk(original: str) -> str:
    """The directory of a project or the stem of a run: cleaned original, `-`, digest."""
    return f"{_cut(clean(original), MAX_NAME_BYTES)}-{digest(original)}"


def digest_in(stem: str) -> str:
    """The digest at the end of a name on disk; empty: it has none."""
    match = _DIGEST.search(stem)
    return match[1] if match else ""


def part_name(stem: str, number: int) -> str:
    return f"{stem}_part_{number}.parquet"


def parse_part_name(name: str) -> tuple[str, int] | None:
    """(stem, number) of a part's file name, or None for any other file."""
    match = _PART.match(name)
    return (match["stem"], int(match["number"])) if match else None


def extension_of(stored_path: str, mime_type: str, attribute: str) -> str:
    """The extension a file keeps: of its stored path, else of its type, else of its attribute."""
    for candidate in (
        PurePosixPath(stored_path).suffix,
        mimetypes.guess_extension(mime_type) or "",
        PurePosixPath(attribute).suffix,
    ):
        if _EXTENSION.match(candidate):
            return candidate
    return ""


def file_path(folder: str, attribute: str, step: str, content: str, extension: str) -> str:
    """Where a file lies, relative to the project's files directory.

    `<folder>/<attribute, its slashes kept>/<last name>-<digest><extension>`, where the folder is
    the run's own (`RunKey.folder`). The digest is over attribute, step and content: two attributes
    never meet, and a file that changed lies beside the one that an older manifest still names.
    """
    parts = [_cut(clean(p), 60) or "_" for p in attribute.split("/")]
    if len(parts) > 8:
        parts = [*parts[:7], parts[-1]]
    if step:
        parts.append(f"step_{clean(step)}")
    parts[-1] += f"-{digest(chr(0).join((attribute, step, content)))}{extension}"
    return "/".join([folder, *parts])
