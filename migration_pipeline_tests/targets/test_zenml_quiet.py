"""A load leaves the process as it was, says nothing by itself and talks to nobody else. The process
has no main file, as a worker that another process started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from migration_pipeline_tests.contract.making import DataSet, RunData, build, curve
from migration_pipeline_tests.targets.zenml_backend import configuration

SCRIPT = """
import json, logging, os, signal, socket, sys, threading
from pathlib import Path

def state():
    root = logging.getLogger()
    signals = [signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    streams = [list(vars(stream)) for stream in (sys.stdout, sys.stderr)]
    hooks = [print, sys.excepthook, threading.excepthook]
    return repr([root.level, root.handlers, signals, streams, hooks])

asked = []
for name in ("connect", "connect_ex"):
    def refuse(self, address, name=name):
        asked.append(repr(address))
        raise OSError("no network")
    setattr(socket.socket, name, refuse)
def lookup(host, *rest, **more):
    asked.append(repr(host))
    raise OSError("no network")
socket.getaddrinfo = lookup
before = state()

from migration_pipeline.archive.archive import Archive
from migration_pipeline.targets.loading import load_runs, plan_load
from migration_pipeline.targets.registry import open_target

folder = Path(sys.argv[1])
target = open_target("zenml")
lazy = "zenml" not in sys.modules
archive = Archive(folder / "data", folder / "files")
plan = plan_load(target, archive, "team/project")
result = load_runs(target, archive, plan.mapping, plan.due, progress=lambda _: None)
after = state()
found = {"lazy": lazy, "good": [r.good for r in result.runs], "asked": asked}
found["changed"] = "" if before == after else [before, after]
found["threads"] = [t.name for t in threading.enumerate() if t is not threading.main_thread()]
Path(sys.argv[1], "found.json").write_text(json.dumps(found))
"""


def test_a_load_is_quiet(tmp_path: Path) -> None:
    build(tmp_path, DataSet("one", (RunData("RUN-1", tuple(curve("m", 20))),)))
    config = configuration(tmp_path / "store")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("ZENML_")}
    environment |= {
        "ZENML_CONFIG_PATH": config.config_path,
        "ZENML_STORE_URL": config.store_url.get_secret_value(),
        "HOME": str(tmp_path / "home"),
    }
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
        timeout=200,
    )
    assert done.stderr == ""
    assert (done.returncode, done.stdout) == (0, "")
    assert json.loads((tmp_path / "found.json").read_text()) == {
        "lazy": True,
        "good": [True],
        "asked": [],
        "changed": "",
        "threads": [],
    }
    assert not (tmp_path / "home").exists()
