"""`acme/tabular`: a project of Neptune 2.x, logged by the 2.x client itself.

Real scripts (`scripts/`) write to a server on loopback; then the job `migrate` exports what is
there, as it does for everybody. What people had is there: trainings with sources, git and tracked
data, one that failed, one in the trash, a model with two versions, metadata of the project, names
that meet. The clock and the machine's name are made up, and the reference to a notebook, which only
an extension of Jupyter writes.

The tracked files are gone when the export begins, as they are for most people: an artifact's bytes
are never on the server.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import runpy
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from migration_pipeline.archive.archive import Archive
from migration_pipeline.archive.manifest import Manifest
from migration_pipeline.neptune_server.running import RunningServer, running_server
from migration_pipeline.neptune_server.sample.record import milliseconds
from migration_pipeline.neptune_server.store import Attribute, Store

PROJECT, KEY = "acme/tabular", "TAB"
SCRIPTS = Path(__file__).with_name("scripts")
_BEGAN = milliseconds("2025-05-12T08:30:00")
_HOUR = 3_600_000
_TRAININGS = (("2", "0.1"), ("3", "0.1"), ("3", "0.3"), ("1", "60"))
"""Depth and learning rate; the last one diverges."""
_NOTEBOOK = {
    "notebookId": "5c0ffee0-0000-4000-8000-000000000001",
    "notebookName": "explore data.ipynb",
    "checkpointId": "5c0ffee0-0000-4000-8000-000000000002",
    "checkpointName": "before cleaning",
}


class _Clock:
    """The server's clock: stands at `now`, and moves by a millisecond whenever it is asked."""

    def __init__(self) -> None:
        self.now = _BEGAN

    def __call__(self) -> int:
        self.now += 1
        return self.now


def make_tabular(archive: Archive) -> list[Manifest]:
    """Logs the project and exports it; about twenty seconds. Needs scikit-learn and git."""
    store, clock = Store(create_missing_projects=False), _Clock()
    store.clock = clock
    store.project(PROJECT, KEY, version=2)
    with running_server(store) as server, _working_directory() as folder:
        with _environment(server):
            _log(store, clock)
        shutil.rmtree(folder)
        _export(server, archive)
    return [run.manifest for run in archive.runs(PROJECT).values() if run.manifest]


def _log(store: Store, clock: _Clock) -> None:
    for number, (depth, rate) in enumerate(_TRAININGS):
        clock.now = _BEGAN + number * _HOUR
        at = str(clock.now / 1000)
        with contextlib.suppress(FloatingPointError):
            _run("train.py", "--depth", depth, "--rate", rate, "--at", at)
        _end(store, clock, seconds=100)
    clock.now = _BEGAN + 5 * _HOUR
    _run("odd.py", "--at", str(clock.now / 1000))
    _end(store, clock, seconds=70)
    clock.now = _BEGAN + 6 * _HOUR
    _run("register.py", "--at", str(clock.now / 1000))
    _end(store, clock, seconds=4 * 86_400)

    import neptune.management

    neptune.management.trash_objects(PROJECT, [f"{KEY}-{len(_TRAININGS) + 2}"])
    store.projects[PROJECT].runs[f"{KEY}-1"].set("source_code/notebook", "notebook_ref", _NOTEBOOK)


def _run(script: str, *arguments: str) -> None:
    before = sys.argv
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    finally:
        sys.argv = before


def _end(store: Store, clock: _Clock, seconds: int) -> None:
    """Lets the objects that were written since end after some seconds, idle."""
    project = store.projects[PROJECT]
    written = [
        run for run in project.runs.values() if run.attributes["sys/state"].value == "running"
    ]
    clock.now += seconds * 1000
    for run in written:
        created = run.attributes["sys/creation_time"].value
        run.attributes["sys/ping_time"] = Attribute("datetime", clock.now)
        run.attributes["sys/running_time"] = Attribute("float", (clock.now - created) / 1000)
        run.attributes["sys/state"] = Attribute("run_state", "idle")
        run.touch()


@contextlib.contextmanager
def _working_directory() -> Iterator[Path]:
    """A repository with scripts, settings and data, in which a change was not committed."""
    from sklearn.datasets import load_breast_cancer

    folder = Path(tempfile.gettempdir()) / "acme-tabular"
    folder.mkdir()
    try:
        shutil.copytree(SCRIPTS, folder, dirs_exist_ok=True, ignore=_not_a_script)
        (folder / "conf").mkdir()
        (folder / "conf" / "base.json").write_text('{"subsample": 0.8}\n')
        (folder / "README.md").write_text("# Malignant or not\n")
        (folder / ".gitignore").write_text("data/\nmodels/\n.neptune/\n")
        (folder / "data").mkdir()
        data = load_breast_cancer()
        rows = np.column_stack([data.data, data.target])
        rows = rows[np.random.default_rng(7).permutation(len(rows))]
        header = ",".join([*data.feature_names, "benign"])
        for name, part in (("train.csv", rows[:-140]), ("val.csv", rows[-140:])):
            np.savetxt(folder / "data" / name, part, "%g", ",", header=header, comments="")
        _commit(folder)
        (folder / "conf" / "base.json").write_text('{"subsample": 0.8, "seed": 7}\n')
        with contextlib.chdir(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _not_a_script(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith("__")]


def _commit(folder: Path) -> None:
    when = "2025-05-11T17:02:00+00:00"
    who = {"NAME": "Ada", "EMAIL": "ada@example.com", "DATE": when}
    author = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in who.items()}
    for command in (
        ("init", "--quiet", "--initial-branch", "main"),
        ("remote", "add", "origin", "git@example.com:acme/tabular.git"),
        ("add", "."),
        ("commit", "--quiet", "--message", "Boosting on the second quarter's table"),
    ):
        environment = {**os.environ, **author, "GIT_CONFIG_GLOBAL": os.devnull}
        subprocess.run(["git", *command], cwd=folder, env=environment, check=True)


@contextlib.contextmanager
def _environment(server: RunningServer) -> Iterator[None]:
    """What the client reads: token, project, that plain http will do, and this machine's name when
    it is first imported. Its messages are left out."""
    variables = {
        "NEPTUNE_API_TOKEN": server.token,
        "NEPTUNE_PROJECT": PROJECT,
        "OAUTHLIB_INSECURE_TRANSPORT": "1",
    }
    level = logging.getLogger("neptune").level
    os.environ.update(variables)
    node, platform.node = platform.node, lambda: "forge"
    logging.getLogger("neptune").setLevel(logging.ERROR)
    try:
        yield
    finally:
        logging.getLogger("neptune").setLevel(level)
        platform.node = node
        for name in variables:
            os.environ.pop(name, None)


def _export(server: RunningServer, archive: Archive) -> None:
    """The job `migrate`, in a process of its own."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
        variables = {
            "DAGSTER_HOME": home,
            "NEPTUNE_API_TOKEN": server.token,
            "NEPTUNE_PROJECT": PROJECT,
            "MIGRATION_SOURCE": "neptune2",
            "MIGRATION_DATA_PATH": str(archive.data),
            "MIGRATION_FILES_PATH": str(archive.files),
        }
        job = ("-m", "migration_pipeline.definitions", "-j", "migrate")
        subprocess.run(
            [sys.executable, "-m", "dagster", "job", "execute", *job],
            cwd=home,
            env={**os.environ, **variables},
            check=True,
        )
