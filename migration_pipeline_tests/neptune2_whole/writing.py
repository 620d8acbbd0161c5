"""Writes one of everything that Neptune 2.x knows with the real client, and notes what it wrote.

    NEPTUNE_API_TOKEN=… python -m migration_pipeline_tests.neptune2_whole.writing PROJECT DIR

DIR, which lies in the working directory and is given relative to it, takes the files that are
uploaded; the client names the members of a file set relative to the working directory. What was
written is printed as JSON, one object a line: the notes of `Written`. Values are in the archive's
terms: steps in millionths, times in milliseconds, bytes in base64.
"""

from __future__ import annotations

import base64
import io
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np

from migration_pipeline.neptune_server.store import Store

PROJECT = "acme/everything"
QUIET = {
    "capture_hardware_metrics": False,
    "capture_stdout": False,
    "capture_stderr": False,
    "capture_traceback": False,
}
NOON = 1_700_000_000
POINTS = 2_345
"""More than two pages of a server that gives 1,000 points at a time."""
MANY_BYTES = 11 * 1024 * 1024
"""More than the client sends in one piece."""


@dataclass
class Written:
    """One object at the server: path → [type, value], types by the archive's names."""

    kind: str
    id: str
    attributes: dict[str, list[Any]] = field(default_factory=dict)

    def note(self, path: str, type_: str, value: Any) -> None:
        self.attributes[path] = [type_, value]


def empty_project() -> Store:
    """What the server has before."""
    store = Store()
    store.project(PROJECT, version=2)
    return store


def main(project: str, folder: Path) -> None:
    import neptune

    for written in write_everything(neptune, project, folder):
        print(json.dumps(asdict(written)), flush=True)


def write_everything(neptune: Any, project: str, folder: Path) -> Iterator[Written]:
    """Each object when it is closed."""
    repository = folder / "repository"
    repository.mkdir(parents=True)
    commit_something(repository)
    with neptune.init_run(
        project=project,
        name="one of everything",
        description="a run\nwith every type of field",
        tags=["first", "schön"],
        custom_run_id="custom-1",
        git_ref=neptune.types.GitRef(repository_path=repository),
        source_files=[str(repository / "train.py")],
        **QUIET,
    ) as run:
        written = Written("run", run["sys/id"].fetch())
        written.note("sys/name", "string", "one of everything")
        written.note("sys/description", "string", "a run\nwith every type of field")
        written.note("sys/custom_run_id", "string", "custom-1")
        written.note("sys/tags", "string_set", ["first", "schön"])
        written.note("source_code/git", "git", git_says(repository))
        written.note("source_code/diff", "file", encoded(diff_of(repository)))
        files = {str(repository / "train.py"): encoded((repository / "train.py").read_bytes())}
        written.note("source_code/files", "file_set", files)
        note_entrypoint(run, written)
        write_values(run, written)
        write_series(run, written)
        write_files(neptune, run, written, folder)
        write_artifact(run, written, folder)
    yield written

    with neptune.init_run(project=project, source_files=[], git_ref=False, **QUIET) as bare:
        written = Written("run", bare["sys/id"].fetch())
        note_entrypoint(bare, written)
    yield written

    yield from write_failed(neptune, project)
    yield from write_models(neptune, project, folder)

    with neptune.init_project(project=project) as metadata:
        written = Written("project", metadata["sys/id"].fetch())
        write_values(metadata, written)
        metadata["notes"].append("about the whole project", step=1, timestamp=NOON)
        written.note("notes", "string_series", [[10**6, NOON * 1000, "about the whole project"]])
    yield written


def write_values(holder: Any, written: Written) -> None:
    """Single values, at the edges of what the client sends."""
    values: dict[str, tuple[str, Any]] = {
        "values/int": ("int", 2**31 - 1),
        "values/negative": ("int", -(2**31)),
        "values/float": ("float", 0.1 + 0.2),
        "values/tiny": ("float", 5e-324),
        "values/huge": ("float", 1.7976931348623157e308),
        "values/minus zero": ("float", -0.0),
        "values/yes": ("bool", True),
        "values/no": ("bool", False),
        "values/text": ("string", "line\nline\t'\"`\\ 漢字 🚀 \u2028 end"),
        "values/empty": ("string", ""),
        "values/long": ("string", "ä" * 16_000),
        "a.b": ("int", 1),
        "a_b": ("int", 2),
        "with spaces/and, commas|bars%": ("string", "legal in a path"),
        "deep/" * 12 + "leaf": ("float", 1.5),
    }
    for path, (type_, value) in values.items():
        holder[path] = value
        written.note(path, type_, value)
    moment = datetime(2024, 2, 29, 23, 59, 59, 123_456, tzinfo=timezone(timedelta(hours=5.5)))
    holder["values/when"] = moment
    written.note("values/when", "datetime", math.floor(moment.timestamp() * 1000))
    naive = datetime(2024, 7, 1, 12)  # local time, says the client
    holder["values/naive"] = naive
    written.note("values/naive", "datetime", round(naive.astimezone(UTC).timestamp() * 1000))
    holder["deleted"] = 1
    holder.wait()
    del holder["deleted"]
    holder["sys/group_tags"].add(["group b", "group a"])
    written.note("sys/group_tags", "string_set", ["group a", "group b"])


def write_series(run: Any, written: Written) -> None:
    generator = np.random.default_rng(11)
    values = [float(v) for v in generator.normal(size=POINTS)]
    steps = [i / 8 for i in range(POINTS)]
    times = [NOON + i * 0.25 for i in range(POINTS)]
    run["metrics/loss"].extend(values, steps=steps, timestamps=times)
    points = zip(steps, times, values, strict=True)
    written.note(
        "metrics/loss",
        "float_series",
        [[round(s * 10**6), round(t * 1000), v] for s, t, v in points],
    )
    run["metrics/sparse"].append(3.5, step=0.000001, timestamp=NOON + 0.001)
    run["metrics/sparse"].append(-4.5, step=4_000_000_000.5, timestamp=NOON + 1)
    written.note(
        "metrics/sparse",
        "float_series",
        [[1, NOON * 1000 + 1, 3.5], [4_000_000_000_500_000, NOON * 1000 + 1000, -4.5]],
    )
    texts = [f"epoch {i}: füße {'x' * (i % 50)}\n" for i in range(1_100)]
    run["logs/out"].extend(
        texts, steps=list(range(1_100)), timestamps=[NOON + i for i in range(1_100)]
    )
    written.note(
        "logs/out",
        "string_series",
        [[i * 10**6, (NOON + i) * 1000, text] for i, text in enumerate(texts)],
    )


def write_files(neptune: Any, run: Any, written: Written, folder: Path) -> None:
    from neptune.types import File

    pixels = np.random.default_rng(3).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    contents = {
        "files/table.csv": b"a,b\n1,2\n",
        "files/empty.txt": b"",
        "files/no_extension": bytes(range(256)),
        "files/large.bin": np.random.default_rng(5).bytes(MANY_BYTES),
        "files/größe.json": b"{}",
    }
    for path, content in contents.items():
        name = path.rpartition("/")[2]
        (folder / name).write_bytes(content)
        field_ = path.partition(".")[0]
        run[field_].upload(str(folder / name))
        written.note(field_, "file", encoded(content))
    run["files/in_memory"].upload(File.from_content("<p>ü</p>", extension="html"))
    written.note("files/in_memory", "file", encoded("<p>ü</p>".encode()))
    for path, content in (("same.name", b"dot"), ("same_name", b"underscore")):
        run[path].upload(File.from_content(content, extension="txt"))
        written.note(path, "file", encoded(content))

    tree = folder / "set"
    members = {"top.txt": b"top", "deep/er/inner.bin": bytes(1000), "deep/empty": b""}
    for name, content in members.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    run["files/set"].upload_files([str(tree)])
    expected = {f"{tree}/{name}": encoded(content) for name, content in members.items()}
    written.note("files/set", "file_set", expected)

    images = []
    for i in range(3):
        image = File.as_image((pixels + i).astype(np.uint8) / 255)
        run["images"].append(image, step=10 * i, timestamp=NOON + i)
        images.append(encoded(image.content))
    written.note("images", "file_series", images)
    run.wait()


def write_artifact(run: Any, written: Written, folder: Path) -> None:
    tracked = folder / "tracked"
    members = {"train.csv": b"x,y\n", "deep/test.csv": b"1,2\n" * 100}
    for name, content in members.items():
        (tracked / name).parent.mkdir(parents=True, exist_ok=True)
        (tracked / name).write_bytes(content)
    run["dataset"].track_files(f"file://{tracked}")
    run.wait()
    value = {
        "hash": run["dataset"].fetch_hash(),
        "files": {name: encoded(content) for name, content in members.items()},
    }
    written.note("dataset", "artifact", value)
    (folder / "vanishing").write_bytes(b"gone when it is exported")
    run["gone"].track_files(f"file://{folder / 'vanishing'}")
    run.wait()
    written.note("gone", "artifact", {"hash": run["gone"].fetch_hash(), "files": {}})
    (folder / "vanishing").unlink()


def note_entrypoint(run: Any, written: Written) -> None:
    """The client wrote the name of this script by itself."""
    run.wait()
    path = "source_code/entrypoint"
    written.note(path, "string", run[path].fetch())
    assert Path(written.attributes[path][1]).name == Path(__file__).name


def write_failed(neptune: Any, project: str) -> Iterator[Written]:
    """A run left by an exception, then trashed."""
    options = QUIET | {"capture_traceback": True}
    try:
        with neptune.init_run(project=project, source_files=[], git_ref=False, **options) as run:
            written = Written("run", run["sys/id"].fetch())
            note_entrypoint(run, written)
            run["before"] = 1
            written.note("before", "int", 1)
            raise RuntimeError("out of memory")
    except RuntimeError:
        pass
    written.note("sys/failed", "bool", True)
    from neptune import management

    management.trash_objects(project, [written.id])
    written.note("sys/trashed", "bool", True)
    yield written


def write_models(neptune: Any, project: str, folder: Path) -> Iterator[Written]:
    with neptune.init_model(project=project, key="NET", name="the net") as model:
        written = Written("model", model["sys/id"].fetch())
        written.note("sys/name", "string", "the net")
        write_values(model, written)
        (folder / "signature.json").write_bytes(b'{"in": 3}')
        model["signature"].upload(str(folder / "signature.json"))
        written.note("signature", "file", encoded(b'{"in": 3}'))
    yield written
    for number, stage in ((1, "production"), (2, None)):
        with neptune.init_model_version(project=project, model=written.id) as version:
            of_version = Written("model_version", version["sys/id"].fetch())
            version["weights"].upload(
                neptune.types.File.from_content(b"weights %d" % number, extension="pt")
            )
            of_version.note("weights", "file", encoded(b"weights %d" % number))
            version["validation/accuracy"] = 0.9 + number / 100
            of_version.note("validation/accuracy", "float", 0.9 + number / 100)
            of_version.note("sys/model_id", "string", written.id)
            if stage:
                version.change_stage(stage)
            of_version.note("sys/stage", "string", stage or "none")
        yield of_version


def commit_something(repository: Path) -> None:
    """A repository with one commit and a change that is not committed."""
    (repository / "train.py").write_text("print('training')\n")
    environment = os.environ | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    author = ["-c", "user.name=Ada", "-c", "user.email=ada@example.com"]
    for command in (
        ["init", "-q", "-b", "main"],
        ["remote", "add", "origin", "https://example.com/net.git"],
        ["add", "."],
        [*author, "commit", "-q", "-m", "first: größer"],
    ):
        subprocess.run(["git", *command], cwd=repository, check=True, env=environment)
    (repository / "train.py").write_text("print('training more')\n")


def git_says(repository: Path) -> dict[str, Any]:
    asked = subprocess.run(
        ["git", "log", "-1", "--format=%H%n%s%n%an%n%ae%n%ct"],
        cwd=repository,
        check=True,
        capture_output=True,
        text=True,
    )
    commit, message, author, email, seconds = asked.stdout.splitlines()
    return {
        "commitId": commit,
        "message": message,
        "authorName": author,
        "authorEmail": email,
        "commitDate": int(seconds) * 1000,
        "repositoryDirty": True,
        "currentBranch": "main",
        "remotes": ["https://example.com/net.git"],
    }


def diff_of(repository: Path) -> bytes:
    """As GitPython asks for it."""
    command = ["git", "diff", "--no-ext-diff", "HEAD"]
    return subprocess.run(command, cwd=repository, check=True, capture_output=True).stdout


def encoded(content: bytes | io.IOBase) -> str:
    return base64.b64encode(content if isinstance(content, bytes) else content.read()).decode()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
