"""What a Neptune server knows: projects, runs, typed attributes and series, in memory.

It is neutral to the protocol: attribute types carry the archive's names, datetimes are
milliseconds since 1970 (UTC), steps are doubles because that is what every Neptune protocol
sends. The endpoints of both protocols read and write it. Float series are numpy arrays with
amortized growth, so that one series of 50 million points costs 24 bytes a point and a page of it
is a view.
"""

import re
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .blobs import BlobFiles
from .series import FloatSeries, ObjectSeries

REF_TYPES = frozenset({"run_state", "git_ref", "notebook_ref"})
"""Attributes of 2.x that no client writes as such; 3.x does not know them."""
SCALAR_TYPES = REF_TYPES | {
    "float",
    "int",
    "string",
    "bool",
    "datetime",
    "string_set",
    "file",
    "artifact",
    "file_set",
}
OBJECT_SERIES_TYPES = frozenset({"string_series", "histogram_series", "file_series"})
CONFIG_TYPES = frozenset({"float", "int", "string", "bool", "datetime", "string_set"})


@dataclass(frozen=True, slots=True)
class FileValue:
    """A stored object's path within its project, its size in bytes and its MIME type.

    `name` and `extension` are what 2.x says of a file; 3.x has them in the path.
    """

    path: str
    size: int
    mime_type: str
    name: str = ""
    extension: str = ""


@dataclass(slots=True)
class FileSetValue:
    """Files of a set by their path within it, and when each was put there (ms since 1970).

    `zipped` is the zip that an archive has of just these files.
    """

    files: dict[str, FileValue] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    zipped: Path | None = None


@dataclass(frozen=True, slots=True)
class ArtifactFile:
    """A file that an artifact lists. Its bytes are where `metadata` says, never on the server.

    `type` is Local or S3 (and what else a client's drivers write); `size` in bytes or unknown.
    """

    path: str
    hash: str
    type: str
    size: int | None
    metadata: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class HistogramValue:
    """`type` is COUNTING or DENSITY; one edge more than values."""

    type: str
    edges: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(slots=True)
class Attribute:
    """A value with its type, one of the archive's names.

    `value` is a float, int, str, bool, int of milliseconds (datetime), tuple of str (string_set),
    FileValue (file), FileSetValue (file_set), the hash of one of the project's artifacts
    (artifact), a dict as 2.x sends it (git_ref, notebook_ref), str (run_state), FloatSeries, or
    ObjectSeries of str, HistogramValue or FileValue.
    """

    type: str
    value: Any


@dataclass(eq=False)
class Run:
    """A run, model, model version or project as a holder of attributes; `kind` says which.

    Its `sys_id` and `run_id` address it even when no attribute says them. 2.x has no run id but
    the custom one: there `run_id` is that or the `sys_id`.
    """

    project: "Project"
    run_id: str
    sys_id: str
    kind: str = "run"
    attributes: dict[str, Attribute] = field(default_factory=dict)
    parent: "Run | None" = None
    fork_step: float | None = None
    uuid: str = field(default_factory=lambda: str(uuid.uuid4()))

    def lookup(self, path: str) -> Attribute | None:
        """The attribute; for names that every run can be searched by, what holds without one.

        Only searching asks so: a run from an archive without `sys/id` must be found by one, yet
        has no such attribute to export. The 2.x clients ask for runs that are not trashed, by
        default and by name.
        """
        if path == "sys/id":
            return Attribute("string", self.sys_id)
        if path == "sys/custom_run_id" and self.project.version != 2:
            return Attribute("string", self.run_id)
        found = self.attributes.get(path)
        if found is None and path == "sys/trashed" and self.project.version == 2:
            return Attribute("bool", False)
        return found

    @property
    def experiment(self) -> str | None:
        """The name of the experiment it belongs to, head or not."""
        name = self.attributes.get("sys/name")
        return name.value if name is not None and name.type == "string" else None

    def set(self, path: str, type_: str, value: Any) -> None:
        """Set a scalar, and the modification time. Raises ValueError for a series type."""
        if type_ not in SCALAR_TYPES:
            raise ValueError(f"{path}: {type_!r} is not the type of a single value")
        with self.project.store.lock:
            self.attributes[path] = Attribute(type_, value)
            if path != "sys/modification_time":
                self.touch()
            self.project.store.changes += 1

    def set_file(self, path: str, content: bytes, destination: str, mime_type: str) -> FileValue:
        """Store `content` under `destination` and let the attribute `path` refer to it."""
        self.project.store.blobs.write(self.project.identifier, destination, content)
        value = FileValue(destination, len(content), mime_type)
        self.set(path, "file", value)
        return value

    def extend_float_series(
        self,
        path: str,
        steps: "np.typing.ArrayLike",
        timestamps: "np.typing.ArrayLike",
        values: "np.typing.ArrayLike",
    ) -> None:
        """Append points: float steps (increasing), int64 milliseconds, float values."""
        with self.project.store.lock:
            series = self.float_series(path)
            series.extend(
                np.asarray(steps, np.float64),
                np.asarray(timestamps, np.int64),
                np.asarray(values, np.float64),
            )
            self.touch()

    def extend_series(
        self, path: str, type_: str, points: Iterable[tuple[float, int, Any]]
    ) -> None:
        """Append (step, timestamp in ms, value) to a string, histogram or file series."""
        with self.project.store.lock:
            series = self.object_series(path, type_)
            for step, timestamp, value in points:
                series.append(step, timestamp, value)
            self.touch()

    def float_series(self, path: str) -> FloatSeries:
        """The float series `path`, made when absent. TypeError when it has another type."""
        found = self.attributes.setdefault(path, Attribute("float_series", None))
        if found.type != "float_series":
            raise TypeError(f"{path} of {self.run_id} is {found.type}, not float_series")
        if found.value is None:
            found.value = FloatSeries()
        series: FloatSeries = found.value
        return series

    def object_series(self, path: str, type_: str) -> ObjectSeries:
        """The series `path` of `type_`, made when absent. TypeError when it has another type."""
        if type_ not in OBJECT_SERIES_TYPES:
            raise ValueError(f"{path}: {type_!r} is not a string, histogram or file series")
        found = self.attributes.get(path)
        if found is None:
            found = self.attributes[path] = Attribute(type_, ObjectSeries())
        if found.type != type_:
            raise TypeError(f"{path} of {self.run_id} is {found.type}, not {type_}")
        series: ObjectSeries = found.value
        return series

    def touch(self) -> None:
        """Move the modification time forward, by at least a millisecond."""
        old = self.attributes.get("sys/modification_time")
        now = self.project.store.clock()
        if old is not None:
            now = max(now, old.value + 1)
        self.attributes["sys/modification_time"] = Attribute("datetime", now)
        self.project.store.changes += 1


class Project:
    """What `workspace/name` holds, in the order of creation; iterating gives its runs alone.

    `version` is 2 or 3: which clients it was made for. `visibility` is priv, pub or workspace.
    `runs` are objects of every kind by `sys_id`, `metadata` is the one that is the project itself.
    `artifacts` are lists of files by their hash, None while their metadata has not arrived.
    """

    def __init__(
        self, store: "Store", identifier: str, key: str | None = None, version: int = 3
    ) -> None:
        self.store = store
        self.version = version
        self.created = store.clock()
        self.visibility = "priv"
        self.description = ""
        self.artifacts: dict[str, tuple[ArtifactFile, ...] | None] = {}
        self.identifier = identifier
        self.workspace, self.name = identifier.split("/", 1)
        self.uuid = str(uuid.uuid5(uuid.NAMESPACE_URL, identifier))
        self.key = key or (re.sub(r"[^A-Z0-9]", "", self.name.upper())[:5] or "RUN")
        self.runs: dict[str, Run] = {}
        self.metadata: Run | None = None
        self._by_run_id: dict[str, Run] = {}
        self._last_number = 0
        self._last_versions: dict[str, int] = {}

    def __iter__(self) -> Iterator[Run]:
        return (run for run in self.runs.values() if run.kind == "run")

    def find(self, identifier: str) -> Run | None:
        """A run by the id its writer gave it."""
        return self._by_run_id.get(identifier)

    def add(self, run: Run) -> Run:
        """Register an object made elsewhere under its ids.

        ValueError when its `sys_id` is taken.
        """
        if run.sys_id in self.runs:
            raise ValueError(f"{self.identifier} already has a run {run.sys_id}")
        self.runs[run.sys_id] = run
        self.store.by_uuid[run.uuid] = run
        self.store.changes += 1
        if run.kind == "project":
            self.metadata = run
        stem, _, number = run.sys_id.rpartition("-")
        if run.kind == "run":
            self._by_run_id.setdefault(run.run_id, run)
            if stem == self.key and number.isdecimal():
                self._last_number = max(self._last_number, int(number))
        elif run.kind == "model_version" and number.isdecimal():
            self._last_versions[stem] = max(self._last_versions.get(stem, 0), int(number))
        return run

    def remove(self, run: Run) -> None:
        """Forget an object for good. Its number is not given again."""
        del self.runs[run.sys_id]
        self.store.by_uuid.pop(run.uuid, None)
        self.store.changes += 1
        if self._by_run_id.get(run.run_id) is run:
            del self._by_run_id[run.run_id]

    def next_sys_id(self) -> str:
        """KEY-n with the next free n."""
        return f"{self.key}-{self._last_number + 1}"

    def next_version_id(self, model: Run) -> str:
        """KEY-MODELKEY-n with the next free n of the model."""
        return f"{model.sys_id}-{self._last_versions.get(model.sys_id, 0) + 1}"

    def create_run(
        self,
        run_id: str,
        *,
        experiment: str | None = None,
        parent: str | Run | None = None,
        fork_step: float | None = None,
        created: int | None = None,
        owner: str = "owner",
    ) -> Run:
        """Create a run with the system attributes that a server gives it.

        `parent` is a run or the id of one in this project, `created` milliseconds. The new run
        becomes the head of `experiment`. ValueError when `run_id` exists, KeyError when the
        parent does not. Which system attributes there are: Neptune's own end-to-end tests and
        the table of known names in neptune-query; the names under sys/forking are assumed.
        """
        with self.store.lock:
            if run_id in self._by_run_id:
                raise ValueError(f"{self.identifier} already has a run {run_id!r}")
            above = self._by_run_id[parent] if isinstance(parent, str) else parent
            run = Run(self, run_id, self.next_sys_id(), parent=above, fork_step=fork_step)
            now = self.store.clock()
            created = now if created is None else created
            system: dict[str, tuple[str, Any]] = {
                "id": ("string", run.sys_id),
                "custom_run_id": ("string", run_id),
                "owner": ("string", owner),
                "family": ("string", run_id),
                "creation_time": ("datetime", created),
                "modification_time": ("datetime", now),
                "ping_time": ("datetime", now),
                "archived": ("bool", False),
                "failed": ("bool", False),
                "trashed": ("bool", False),
                "forking/depth": ("int", _depth(run)),
                "diagnostics/project_uuid": ("string", self.uuid),
                "diagnostics/run_uuid": ("string", run.uuid),
            }
            if above is not None:
                system["forking/parent"] = ("string", above.sys_id)
                system["forking/step"] = ("float", fork_step)
            for name, (type_, value) in system.items():
                run.attributes[f"sys/{name}"] = Attribute(type_, value)
            if experiment is not None:
                self.make_head(run, experiment)
            return self.add(run)

    def make_head(self, run: Run, experiment: str) -> None:
        """Let `run` be the newest of the experiment: runs before it keep the name."""
        for other in self:
            if other.experiment == experiment:
                other.attributes["sys/experiment/is_head"] = Attribute("bool", False)
        run.attributes["sys/name"] = Attribute("string", experiment)
        run.attributes["sys/experiment/name"] = Attribute("string", experiment)
        run.attributes["sys/experiment/is_head"] = Attribute("bool", True)

    def heads(self) -> list[Run]:
        """One run per experiment: the one marked as its head, else the one created last."""
        chosen: dict[str, Run] = {}
        for run in self:
            name = run.experiment
            if name is None:
                continue
            before = chosen.get(name)
            if before is None or _marked_head(run) or not _marked_head(before):
                chosen[name] = run
        return list(chosen.values())


class Store:
    """All projects of a server. `lock` guards every change and every look at more than one value.

    `create_missing_projects` lets a script write to a project nobody created; a real server
    answers PROJECT_NOT_FOUND. Without a `model_registry` the 2.x protocol has no models.
    `changes` grows with every change, so that what was computed from the store can be kept until
    then.
    """

    def __init__(self, *, create_missing_projects: bool = True) -> None:
        self.lock = threading.RLock()
        self.projects: dict[str, Project] = {}
        self.by_uuid: dict[str, Run] = {}
        self.changes = 0
        self.blobs = BlobFiles()
        self.create_missing_projects = create_missing_projects
        self.model_registry = True
        self.clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000

    def project(self, identifier: str, key: str | None = None, version: int = 3) -> Project:
        """The project `workspace/name`, created when absent."""
        with self.lock:
            if identifier not in self.projects:
                if not re.fullmatch(r"[^/]+/[^/]+", identifier):
                    raise ValueError(f"a project is workspace/name, not {identifier!r}")
                self.projects[identifier] = Project(self, identifier, key, version)
            return self.projects[identifier]

    def resolve(self, holder: str) -> Run | None:
        """A run by `workspace/project/SYS-ID` or `CUSTOM/workspace/project/run id`."""
        custom = holder.startswith("CUSTOM/")
        parts = holder.removeprefix("CUSTOM/").split("/", 2)
        project = self.projects.get("/".join(parts[:2]))
        if project is None or len(parts) < 3:
            return None
        found = project.find(parts[2]) if custom else project.runs.get(parts[2])
        return found if found is not None and found.kind == "run" else None


def _marked_head(run: Run) -> bool:
    mark = run.attributes.get("sys/experiment/is_head")
    return mark is not None and mark.value is True


def _depth(run: Run) -> int:
    depth, above = 0, run.parent
    while above is not None:
        depth, above = depth + 1, above.parent
    return depth
