"""Reports appear under their names when all of them is written, or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

from migration_pipeline.errors import ReportNotWritableError


@contextlib.contextmanager
def report_file(path: Path) -> Iterator[TextIO]:
    """A text file (UTF-8, a lone surrogate becomes `?`) that takes the place of an older one.

    Missing directories are made. After an exception the older file is still there, untouched.

    Raises:
        ReportNotWritableError: the operating system refuses, before or while the block writes.
    """
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("x", encoding="utf-8", errors="replace", newline="\n") as file:
            yield file
        os.replace(temporary, path)
    except OSError as error:
        in_the_way = isinstance(error, FileExistsError)
        reason = f"{error.filename} is no directory" if in_the_way else error.strerror
        raise ReportNotWritableError(str(path), reason or str(error)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
