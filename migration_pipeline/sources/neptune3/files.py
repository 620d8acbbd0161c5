"""Downloads stored objects to paths of our choosing, and finds out what is missing.

neptune-query's own download writes `a.b` and `a_b` to one path, does not look at the size, gives up
on an address that ran out at AWS, and returns None for a file that is gone. Here each download has
a path of its own, a Retry-After given to one holds all, whatever may pass is tried again with a new
address, and a size that is not the announced one is tried again and then said: several steps may
name one stored object, which holds only what was uploaded last.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import httpx
import stamina
from neptune_query.internal.retrieval.files import SignedFile, download_file

from migration_pipeline.archive.layout import extension_of
from migration_pipeline.archive.writer import writing
from migration_pipeline.errors import SourceUnavailableError
from migration_pipeline.sources.neptune3.client import Gate, Neptune3Client
from migration_pipeline.sources.neptune3.values import StoredFile
from migration_pipeline.sources.source import DownloadedFile

FILES_PER_REQUEST = 200
"""Files signed at once, as neptune-query does."""
_ATTEMPTS = 8
_SIZE_ATTEMPTS = 3
_CHUNK = 1 << 20


class _Again(Exception):
    """This download may pass with a new address."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        self.wait = wait
        super().__init__(reason)


@dataclass(frozen=True)
class SizeDiffers:
    """A file that was downloaded whole and has another size than the server announced."""

    file: StoredFile
    size: int


class Downloader:
    """Signs and downloads; one instance for all threads of a source."""

    def __init__(self, client: Neptune3Client, scratch: Path) -> None:
        self._client = client
        self._scratch = scratch
        self._numbers = itertools.count()

    @cached_property
    def _http(self) -> httpx.Client:
        gate = Gate()
        return httpx.Client(
            timeout=httpx.Timeout(60.0),
            follow_redirects=True,
            event_hooks={"request": [gate.wait], "response": [gate.note]},
        )

    def close(self) -> None:
        if "_http" in self.__dict__:
            self._http.close()

    def download(
        self, files: Sequence[StoredFile]
    ) -> Iterator[DownloadedFile | StoredFile | SizeDiffers]:
        """Yields each file downloaded, or as it was given when the storage does not have it.

        Raises:
            SourceUnavailableError: after all attempts.
            ArchiveNotWritableError: there is no room for it.
        """
        project = files[0].run.key.project
        signed = self._client.sign(project, [file.path for file in files])
        for file, address in zip(files, signed, strict=True):
            target = self._scratch / str(next(self._numbers))
            if not self._fetch(file, address, target):
                yield file
                continue
            if (size := target.stat().st_size) != file.size:
                yield SizeDiffers(file, size)
            extension = extension_of(file.path, file.mime_type, file.attribute)
            yield DownloadedFile(
                file.run, file.attribute, file.type, target, extension, file.step, file.timestamp
            )

    def _fetch(self, file: StoredFile, address: SignedFile, target: Path) -> bool:
        """Downloads one file; False when it is not there."""
        tries = 0
        try:
            for attempt in stamina.retry_context(on=_wait_for, attempts=_ATTEMPTS, timeout=300):
                with attempt:
                    tries += 1
                    if tries > 1:
                        address = self._client.sign(file.run.key.project, [file.path])[0]
                    azure = address.provider == "azure"
                    with writing(target):
                        found = (self._try_azure if azure else self._try_http)(address, target)
                    if found and target.stat().st_size != file.size and tries < _SIZE_ATTEMPTS:
                        raise _Again(f"{target.stat().st_size} bytes, not {file.size}", 0.1)
                    return found
        except _Again as error:
            target.unlink(missing_ok=True)
            raise SourceUnavailableError(
                f"run {file.run.key}: file {file.attribute!r} could not be downloaded: {error}",
                "Start the job again; it does only what is missing.",
            ) from None
        raise AssertionError("unreachable")

    def _try_http(self, address: SignedFile, target: Path) -> bool:
        try:
            with self._http.stream("GET", address.url) as answer:
                if answer.status_code == 404:
                    return False
                if answer.status_code != 200:
                    wait = answer.headers.get("retry-after")  # which the gate made a number
                    raise _Again(
                        f"the storage answered {answer.status_code}",
                        None if wait is None else float(wait),
                    )
                with target.open("wb") as out:
                    for chunk in answer.iter_bytes(_CHUNK):
                        out.write(chunk)
        except httpx.HTTPError as error:
            raise _Again(f"{type(error).__name__}: {error}") from error
        return True

    def _try_azure(self, address: SignedFile, target: Path) -> bool:
        """Through neptune-query: its way to read a blob in ranges."""
        from azure.core.exceptions import AzureError

        try:
            result = download_file(address, target)
        except AzureError as error:
            raise _Again(f"{type(error).__name__}: {error}") from error
        if result.status == "success":
            return True
        if result.status == "not_found":
            return False
        raise _Again(f"the storage answered {result.status_code}")


def _wait_for(error: Exception) -> bool | float:
    """stamina's hook: whether to try again, and after how long if the server said so."""
    if not isinstance(error, _Again):
        return False
    return True if error.wait is None else error.wait
