"""A 2.x run from its logs: every operation in its order, as a server would have carried it out.

What takes something back (a deletion, a cleared series) is looked for first, so that points can be
written as they are read and nothing has to be held but single values and the names of files.
Operations are the client's own classes (`neptune.internal.operation`).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from migration_pipeline.sources.neptune_local.client2 import OPERATIONS
from migration_pipeline.sources.neptune_local.finding import Execution
from migration_pipeline.sources.neptune_local.floats import Floats, parse
from migration_pipeline.sources.neptune_local.log import Json, Log
from migration_pipeline.sources.neptune_local.points import NO_STEP, Points
from migration_pipeline.sources.neptune_local.uploads import Uploads
from migration_pipeline.sources.reading import Damage, Item, Remark, Selected, Task
from migration_pipeline.sources.source import DownloadedFile, RunRef, Selection
from migration_pipeline.sources.steps import check_step, to_micros

_EACH = 1 << 40
"""Numbers of operations are counted on by so many with each execution."""
_SERIES = {
    "LogFloats": "float_series",
    "LogStrings": "string_series",
    "LogImages": "file_series",
}
_PARAMETERS = {
    "AssignFloat": "float",
    "AssignInt": "int",
    "AssignBool": "bool",
    "AssignString": "string",
}
_CONFIGURED = "ranges and units of series, which the archive does not hold: {list}"
_DESCRIBED = "descriptions of images, which the archive does not hold: {list}"
_NOT_COPIED = "attributes copied from other objects, whose values only the server has: {list}"
_UNKNOWN = "operations that this version does not know: {list}"
_NAMED = "{list}"


def operation_of(obj: Json) -> Any:
    """The client's operation that an object of a log says; None: no such operation is known.

    Raises:
        KeyError, TypeError, ValueError: it lacks something.
    """
    kind = OPERATIONS.get(obj.get("type", ""))
    return None if kind is None else kind.from_dict(obj)


class Replay2(Task):
    """The logs of one run, one execution after another.

    Args:
        executions: in the order in which they ran.
        said: sentences for the manifest, about what the directories do not hold.
    """

    def __init__(
        self,
        run: RunRef,
        executions: Sequence[Execution],
        selection: Selection,
        uploads: Uploads,
        said: Sequence[str],
    ) -> None:
        super().__init__([run])
        self._run, self._executions, self._said = run, executions, said
        self._selection, self._uploads = selection, uploads

    def advance(self) -> Iterator[Item]:
        self._points = Points(self._run, self._selection)
        self._values: dict[str, tuple[str, Any]] = {}
        logs = [Log(one.path) for one in self._executions]
        self._cuts = self._taken_back(logs)
        for number, (log, execution) in enumerate(zip(logs, self._executions, strict=True)):
            self._log, self._base = log, number * _EACH
            self._uploads.of(execution)
            for block in log.blocks():
                yield from self._block(block)
            log.finish()
            for text in log.damage:
                yield Damage(self._run, f"{execution.path.name}: {text}")
        yield from self._at_the_end()
        self.finished = True

    def _taken_back(self, logs: Sequence[Log]) -> dict[str, int]:
        """Attribute → the last operation that deletes or clears it."""
        cuts = {}
        for number, log in enumerate(logs):
            for version, obj in log.changes():
                if str(obj.get("type")).startswith(("Delete", "Clear")) and obj["type"] not in (
                    "DeleteFiles",
                ):
                    cuts["/".join(obj["path"])] = number * _EACH + version
        return cuts

    def _block(self, block: bytes) -> Iterator[Item]:
        if self._log.takes_back(block):
            points, others = None, block.split(b"\n")
        else:
            points, others = parse(block)
        versions = [] if points is None else points.operations.tolist()
        if points is not None:
            yield from self._floats(points)
        for line in others:
            found = self._log.decoded(line)
            if found is None:
                continue
            version = int(found.get("version") or self._log.next_version)
            versions.append(version)
            yield from self._operation(version, found["obj"])
        versions.sort()
        self._log.count(versions)

    def _floats(self, found: Floats) -> Iterator[Item]:
        keep = np.ones(len(found.codes), bool)
        for code, path in enumerate(found.paths):
            if (cut := self._cuts.get(path)) is not None:
                keep &= (found.codes != code) | (found.versions + self._base > cut)
        codes, given, values = found.codes[keep], found.steps[keep], found.values[keep]
        if not len(codes):
            return
        unset = np.isnan(given)
        steps = to_micros(self._run, found.paths[0], np.where(unset, 0.0, given))
        steps[unset] = NO_STEP
        # As the client sends it: `int(value.ts * 1000)`.
        yield from self._points.floats(
            found.paths, codes, steps, (found.times[keep] * 1000).astype(np.int64), values
        )

    def _operation(self, version: int, obj: Json) -> Iterator[Item]:
        name, path = str(obj.get("type")), obj.get("path")
        try:
            known = operation_of(obj)
            if known is None or not isinstance(path, list):
                yield Remark(self._run, _UNKNOWN, name)
                return
            attribute = "/".join(known.path)
            if name in _SERIES:
                if self._base + version > self._cuts.get(attribute, -1):
                    yield from self._log_values(name, attribute, known)
            elif name in _PARAMETERS or name == "AssignDatetime":
                # The client makes a datetime of the milliseconds, which would be local time.
                kind = _PARAMETERS.get(name, "datetime")
                self._assign(attribute, kind, obj["value"])
            else:
                yield from self._other(name, attribute, known)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            said = f"operation {version} ({name} of {path}) cannot be carried out: {error!r}"
            self._log.damage.append(said[:300])

    def _assign(self, path: str, kind: str, value: Any) -> None:
        if kind == "float":
            value = float(value)
        elif kind == "string":
            value = _text(value)
        if self._points.takes(path, kind):
            self._values[path] = (kind, value)

    def _log_values(self, name: str, path: str, operation: Any) -> Iterator[Item]:
        kind = _SERIES[name]
        if not self._points.takes(path, kind, len(operation.values)):
            return
        wanted = self._points.wants(path, kind)
        for one in operation.values:
            step = None if one.step is None else self._micros(path, float(one.step))
            step, time = self._points.next_step(path, step), int(one.ts * 1000)
            if not wanted:
                continue
            if name == "LogImages":
                yield from self._image(path, one.value, step, time)
            else:
                value = float(one.value) if name == "LogFloats" else _text(one.value)
                yield from self._points.row(path, kind, value, step, time)

    def _micros(self, path: str, step: float) -> int:
        check_step(self._run, path, step)
        return int(to_micros(self._run, path, np.array([step]))[0])

    def _image(self, path: str, image: Any, step: int, time: int) -> Iterator[Item]:
        if image.data is None:
            return
        try:
            content = base64.b64decode(image.data, validate=True)
        except binascii.Error as error:
            raise ValueError(str(error)) from error
        if image.description:
            yield Remark(self._run, _DESCRIBED, f"{path} (step {step / 1e6:g})")
        target = self._uploads.written(content)
        extension = ".png" if content[1:4] == b"PNG" else ".img"
        yield DownloadedFile(
            self._run, path, "file_series", target, extension, step, time, image.name
        )

    def _other(self, name: str, path: str, operation: Any) -> Iterator[Item]:
        match name:
            case "AddStrings" | "RemoveStrings" | "ClearStringSet":
                if self._points.takes(path, "string_set"):
                    members = dict.fromkeys(self._values.get(path, ("", ()))[1])
                    if name == "AddStrings":
                        members |= dict.fromkeys(sorted(map(_text, operation.values)))
                    elif name == "RemoveStrings":
                        members = {m: None for m in members if m not in operation.values}
                    else:
                        members = {}
                    self._values[path] = ("string_set", list(members))
            case "DeleteAttribute":
                self._values.pop(path, None)
                self._uploads.forget(path)
                self._points.forget(path)
            case "ClearFloatLog" | "ClearStringLog" | "ClearImageLog":
                self._points.last.pop(path, None)
            case "ClearArtifact" | "DeleteFiles":
                self._uploads.take_back(path, operation)
            case "UploadFile" | "UploadFileContent":
                if self._points.takes(path, "file"):
                    self._uploads.file(path, operation)
            case "UploadFileSet":
                if self._points.takes(path, "file_set"):
                    self._uploads.file_set(path, operation)
            case "TrackFilesToArtifact" | "AssignArtifact":
                if self._points.takes(path, "artifact"):
                    self._uploads.artifact(path, operation)
            case "ConfigFloatSeries":
                yield Remark(self._run, _CONFIGURED, path)
            case "CopyAttribute":
                yield from self._copy(path, operation)
            case _:
                yield Remark(self._run, _UNKNOWN, f"{name} of {path}")

    def _copy(self, path: str, operation: Any) -> Iterator[Item]:
        """Of its own attributes; those of other objects are the server's to know."""
        source = "/".join(operation.source_path)
        own = operation.container_id in {one.container for one in self._executions}
        if own and source in self._values:
            self._assign(path, *self._values[source])
        else:
            yield Remark(self._run, _NOT_COPIED, f"{path} (from {source})")
            self._log.damage.append(f"{path} was copied from {source}, which is not here")

    def _at_the_end(self) -> Iterator[Item]:
        created = next((one.metadata.get("createdAt") for one in self._executions), None)
        if created and "sys/creation_time" not in self._values:
            moment = datetime.fromisoformat(str(created))
            self._assign("sys/creation_time", "datetime", int(moment.timestamp() * 1000))
        for path, (kind, value) in sorted(self._values.items()):
            if self._points.wants(path, kind):
                yield from self._points.row(path, kind, value)
        yield from self._points.rows()
        yield from self._uploads.items(self._points.wants)
        yield from self._points.remarks()
        for sentence in self._said:
            yield Remark(self._run, _NAMED, sentence)
        yield Selected(self._run, len(self._points.attributes))


def _text(value: Any) -> str:
    """Text that Arrow holds: a half of a surrogate pair, which JSON may have, becomes `?`."""
    return str(value).encode("utf-8", "replace").decode()
