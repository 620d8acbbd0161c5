"""Downloads stored objects to paths of our choosing, and finds out what is missing.

neptune-query's own download writes `a.b` and `a_b` to one path, does not look at the size, gives up
on an address that ran out at AWS, and returns None for a file that is gone. Here each download has
a path of its own, a Retry-After given to one holds all, and whatever may pass is tried again with a
new address.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path

import httpx
from neptune_query.internal.retrieval.files import SignedFile, download_file

from migration_pipeline.archive.layout import extension_of
from migration_pipeline.sources.fetching import OTHER_SIZE, fetch
from migration_pipeline.sources.neptune3.client import Neptune3Client, hold_back
from migration_pipeline.sources.neptune3.values import StoredFile
from migration_pipeline.sources.patience import Again, Gate
from migration_pipeline.sources.reading import Missing, Remark
from migration_pipeline.sources.source import DownloadedFile

FILES_PER_REQUEST = 200
"""Files signed at once, as neptune-query does."""
_CHUNK = 1 << 20


class Downloader:
    """Signs and downloads; one instance for all threads of a source."""

    def __init__(self, client: Neptune3Client, scratch: Path) -> None:
        self._client = client
        self._scratch = scratch
        self._numbers = itertools.count()

    @cached_property
    def _http(self) -> httpx.Client:
        http = httpx.Client(timeout=httpx.Timeout(60.0), follow_redirects=True)
        hold_back(http, Gate())
        return http

    def close(self) -> None:
        if "_http" in self.__dict__:
            self._http.close()

    def download(self, files: Sequence[StoredFile]) -> Iterator[DownloadedFile | Missing | Remark]:
        """Yields each file as it was downloaded, or what is wrong with it, in their order.

        Raises:
            SourceUnavailableError: after all attempts.
            ArchiveNotWritableError: there is no room for it.
        """
        project = files[0].run.key.project
        signed = self._client.sign(project, [file.path for file in files])
        for file, address in zip(files, signed, strict=True):
            target = self._scratch / str(next(self._numbers))
            if not fetch(
                file.run, file.attribute, target, file.size, self._getter(file, address, target)
            ):
                yield Missing(file.run, _name(file))
                continue
            if (size := target.stat().st_size) != file.size:
                said = f"{_name(file)}: {size} bytes, announced {file.size}"
                yield Remark(file.run, OTHER_SIZE, said)
            extension = extension_of(file.path, file.mime_type, file.attribute)
            yield DownloadedFile(
                file.run, file.attribute, file.type, target, extension, file.step, file.timestamp
            )

    def _getter(self, file: StoredFile, address: SignedFile, target: Path) -> Callable[[int], bool]:
        def get(tries: int) -> bool:
            signed = address
            if tries > 1:
                signed = self._client.sign(file.run.key.project, [file.path])[0]
            azure = signed.provider == "azure"
            return (self._try_azure if azure else self._try_http)(signed, target)

        return get

    def _try_http(self, address: SignedFile, target: Path) -> bool:
        try:
            with self._http.stream("GET", address.url) as answer:
                if answer.status_code == 404:
                    return False
                if answer.status_code != 200:
                    wait = answer.headers.get("retry-after")  # which the gate made a number
                    raise Again(
                        f"the storage answered {answer.status_code}",
                        None if wait is None else float(wait),
                    )
                with target.open("wb") as out:
                    for chunk in answer.iter_bytes(_CHUNK):
                        out.write(chunk)
        except httpx.HTTPError as error:
            raise Again(f"{type(error).__name__}: {error}") from error
        return True

    def _try_azure(self, address: SignedFile, target: Path) -> bool:
        """Through neptune-query: its way to read a blob in ranges."""
        from azure.core.exceptions import AzureError

        try:
            result = download_file(address, target)
        except AzureError as error:
            raise Again(f"{type(error).__name__}: {error}") from error
        if result.status == "success":
            return True
        if result.status == "not_found":
            return False
        raise Again(f"the storage answered {result.status_code}")


def _name(file: StoredFile) -> str:
    return file.attribute if file.step is None else f"{file.attribute} (step {file.step / 1e6:g})"
