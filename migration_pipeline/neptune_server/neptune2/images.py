"""Series of images, and the fork's series of pages and files.

A real server addresses elements by index and gives neither the steps they were logged at nor
their names and descriptions. minfx.neptune_v2 logs HTML and other files too, each into a series of
its own type, and finds what it downloads by an address that comes with the value.
"""

from __future__ import annotations

import base64
import io
import mimetypes
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlencode

from PIL import Image, UnidentifiedImageError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from migration_pipeline.neptune_server.series import ObjectSeries
from migration_pipeline.neptune_server.store import FileValue, Run, Store
from migration_pipeline.neptune_server.types3 import ApiError

from .finding import find_attribute, number
from .json_numbers import refuse_late, step_of
from .storage import UNKNOWN, keep, new_part, send, writable
from .zips import Zips

_SINGLE = "/api/leaderboard/v1/attributes/series/image/single"
_IMAGES = "/api/leaderboard/v1/images/"
Entries = Iterable[Mapping[str, Any]]


def log_images(run: Run, path: str, entries: Entries) -> None:
    """Append what `logImages` carries: `{value: {data}, step, timestampMilliseconds}`.

    `data` is base64. Without entries the series is created empty. ValueError when the path has
    another type, and, after the others were stored, when steps did not increase (only those
    points are dropped).
    """
    _log(run, path, "imageSeries", entries, lambda content, _: _image_type(content))


def log_html(run: Run, path: str, entries: Entries) -> None:
    """As `log_images`, for the fork's `logHtml`."""
    _log(run, path, "htmlSeries", entries, lambda *_: "text/html")


def log_files(run: Run, path: str, entries: Entries) -> None:
    """As `log_images`, for the fork's `logFiles`, whose values have an `extension`."""
    _log(run, path, "fileSeries", entries, _file_type)


def clear_images(run: Run, path: str) -> None:
    """Take all elements out; the series stays, if there is one. ValueError for another type."""
    with run.project.store.lock:
        found = writable(run, path, "file_series")
        if found is not None:
            found.value = ObjectSeries()
            run.touch()


def wire_type(series: ObjectSeries) -> str:
    """imageSeries, or the fork's htmlSeries or fileSeries, by what was logged first."""
    mime_type = series.values[0].mime_type if len(series) else "image/"
    if mime_type.startswith("image/"):
        return "imageSeries"
    return "htmlSeries" if mime_type == "text/html" else "fileSeries"


class Images:
    """The series' endpoints; one instance per server."""

    def __init__(self, store: Store, zips: Zips) -> None:
        self.store = store
        self.zips = zips

    def handlers(self) -> dict[str, Callable[[Request, bytes], Response]]:
        """operationId → method."""
        return {
            "getImageSeriesValues": self.images,
            "getHtmlSeriesValues": self.pages,
            "getFileSeriesValues": self.files,
            "getImageSeriesValue": self.single,
            "getImageSeriesValuesZip": self.all,
        }

    def images(self, request: Request, _: bytes) -> Response:
        """How many there are, and addresses, which only minfx asks for."""
        return self._values(request, "imageSeries")

    def pages(self, request: Request, _: bytes) -> Response:
        """As `images`, of HTML; only minfx asks. 404 for a series of anything else."""
        return self._values(request, "htmlSeries")

    def files(self, request: Request, _: bytes) -> Response:
        """As `images`, of other files; only minfx asks. 404 for a series of anything else."""
        return self._values(request, "fileSeries")

    def single(self, request: Request, _: bytes) -> Response:
        """The bytes at `index`, which the client names by index and subtype of Content-Type."""
        run, path, series = self._series(request)
        index = number(request, "index", 0)
        if index >= len(series):
            raise ApiError(404, "ATTRIBUTE_NOT_FOUND", f"{path} has no element {index}")
        file = series.values[index]
        return send(run.project, file, element_name(index, file), file.mime_type)

    def all(self, request: Request, _: bytes) -> Response:
        """A zip of the elements by the names that the client gives them (names assumed)."""
        run, path, series = self._series(request)
        named = {element_name(index, file): file for index, file in enumerate(series.values)}
        return self.zips.send(run.project, named, f"{path.rsplit('/', 1)[-1]}.zip")

    def _series(self, request: Request) -> tuple[Run, str, ObjectSeries]:
        run, path, attribute = find_attribute(self.store, request, "file_series")
        return run, path, attribute.value

    def _values(self, request: Request, wanted: str) -> Response:
        run, path, series = self._series(request)
        if wire_type(series) != wanted:
            raise ApiError(404, "ATTRIBUTE_NOT_FOUND", f"{run.sys_id} has no {wanted} {path!r}")
        offset, limit = number(request, "offset", 0), number(request, "limit", 1000)
        page = range(offset, min(offset + limit, len(series)))
        values = [{_address_field(wanted): _address(run, path, wanted, at)} for at in page]
        return JSONResponse({"totalItemCount": len(series), "values": values})


def element_name(index: int, file: FileValue) -> str:
    """`<index>.<subtype>`, as the client calls the images that it downloads.

    What is no image keeps the extension that it was logged with.
    """
    kind, _, subtype = file.mime_type.partition("/")
    return f"{index}.{subtype if kind == 'image' else file.extension or subtype}"


def _address_field(wanted: str) -> str:
    return wanted.replace("Series", "Url")


def _address(run: Run, path: str, wanted: str, index: int) -> str:
    """minfx knows an image by the beginning of its address, and then asks by index."""
    if wanted == "imageSeries":
        return f"{_IMAGES}{run.uuid}/{index}"
    query = {"experimentId": run.uuid, "attribute": path, "index": index}
    return f"{_SINGLE}?{urlencode(query)}"


def _log(
    run: Run,
    path: str,
    wanted: str,
    entries: Entries,
    mime_type: Callable[[bytes, Mapping[str, Any]], str],
) -> None:
    points = [(entry, _stored(run, path, entry["value"], mime_type)) for entry in entries]
    with run.project.store.lock:
        writable(run, path, "file_series")
        series = run.object_series(path, "file_series")
        if len(series) and wire_type(series) != wanted:
            raise ValueError(f"Attribute {path} of {run.sys_id} is {wire_type(series)}")
        late = []
        for entry, file in points:
            last = series.steps[-1] if len(series) else None
            step = step_of(entry, last)
            if last is not None and step <= last:
                late.append(step)
                continue
            series.append(step, int(entry["timestampMilliseconds"]), file)
        run.touch()
    refuse_late(path, late)


def _stored(
    run: Run,
    path: str,
    value: Mapping[str, Any],
    mime_type: Callable[[bytes, Mapping[str, Any]], str],
) -> FileValue:
    content = base64.b64decode(value.get("data") or "")
    part = new_part(run)
    part.write_bytes(content)
    return keep(
        run,
        path,
        part,
        value.get("name") or "element",
        mime_type=mime_type(content, value),
        extension=value.get("extension") or "",
    )


def _image_type(content: bytes) -> str:
    """The client sends only what Pillow knows, and nothing in place of an image above 32 MB."""
    try:
        with Image.open(io.BytesIO(content)) as image:
            return image.get_format_mimetype() or "image/unknown"
    except UnidentifiedImageError:
        return "image/unknown"


def _file_type(_: bytes, value: Mapping[str, Any]) -> str:
    guessed = mimetypes.guess_type(f"file.{value.get('extension') or ''}")[0] or UNKNOWN
    return UNKNOWN if guessed.startswith("image/") or guessed == "text/html" else guessed
