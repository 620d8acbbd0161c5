"""Real ZenML for tests: a local store copied from one whose tables were made once, and a server on
loopback with authentication."""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import json
import os
import re
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from migration_pipeline.targets.target import Target
from migration_pipeline.targets.zenml.client import ZenmlTarget
from migration_pipeline.targets.zenml.config import ZenmlConfig
from migration_pipeline_tests.targets.stores import free_port, in_a_process
from migration_pipeline_tests.targets.watching import WatchedObject

DATABASE = "local_stores/default_zen_store/zenml.db"


@functools.cache
def _template() -> Path:
    """Making the tables takes ZenML seconds; copying the file takes none."""
    folder = Path(tempfile.mkdtemp(prefix="zenml-template-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    url = f"sqlite:///{folder}/{DATABASE}"
    (folder / DATABASE).parent.mkdir(parents=True)
    ZenmlTarget(ZenmlConfig(config_path=str(folder), store_url=url)).check()
    return folder


def configuration(folder: Path) -> ZenmlConfig:
    """Of the store below a folder; a new, empty one when there is none."""
    url = f"sqlite:///{folder}/{DATABASE}"
    if not (folder / DATABASE).exists():
        shutil.copytree(_template(), folder, dirs_exist_ok=True)
        (folder / "config.yaml").unlink()
    return ZenmlConfig(config_path=str(folder), store_url=url)


def make(folder: Path) -> ZenmlTarget:
    return ZenmlTarget(configuration(folder))


def watch(target: Target, before: Callable[[str], None], after: Callable[[str], None]) -> None:
    assert isinstance(target, ZenmlTarget)
    opened = target._to._opened
    target._to.__dict__["_opened"] = replace(
        opened,
        store=WatchedObject(opened.store, before, after),
        artifacts=WatchedObject(opened.artifacts, before, after),
    )


_IDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|-[0-9a-f]{12}(?=/)")


def whole(folder: Path) -> Any:
    """Every model version with its description, tags and cards, every artifact with its metadata
    and the digests of its files, and what is linked to what. Ids are cut out."""
    with closing(sqlite3.connect(folder / DATABASE)) as database:

        def rows(query: str) -> list[tuple[Any, ...]]:
            return sorted(database.execute(query).fetchall(), key=repr)

        versions = rows(
            "SELECT m.name, v.name, v.description FROM model_version v"
            " JOIN model m ON m.id = v.model_id"
        )
        tags = rows(
            "SELECT v.name, t.name FROM tag_resource r JOIN tag t ON t.id = r.tag_id"
            " JOIN model_version v ON v.id = r.resource_id"
        )
        artifacts = rows(
            "SELECT a.name, v.version, v.uri FROM artifact_version v"
            " JOIN artifact a ON a.id = v.artifact_id"
        )
        links = rows(
            "SELECT m.name, a.name, v.version FROM model_versions_artifacts l"
            " JOIN model_version m ON m.id = l.model_version_id"
            " JOIN artifact_version v ON v.id = l.artifact_version_id"
            " JOIN artifact a ON a.id = v.artifact_id"
        )
        return {
            "versions": versions,
            "tags": tags,
            "cards": _metadata(database, "model_version", "name"),
            "marks": _metadata(database, "artifact_version", "version"),
            "artifacts": [(name, version, _files(Path(uri))) for name, version, uri in artifacts],
            "links": links,
            "folders": sorted(
                _IDS.sub("", f"/{path.relative_to(folder)}/")
                for path in folder.glob("local_stores/*/neptune-export*/**/*")
                if path.is_dir()
            ),
        }


def _metadata(database: sqlite3.Connection, table: str, name: str) -> dict[str, Any]:
    """Of each resource that is there: key → value, later ones over earlier ones."""
    found: dict[str, Any] = {}
    for owner, resource, key, value in database.execute(
        f"SELECT v.{name}, v.id, m.key, m.value FROM run_metadata m"
        f" JOIN run_metadata_resource r ON r.run_metadata_id = m.id"
        f" JOIN {table} v ON v.id = r.resource_id WHERE r.resource_type = '{table}'"
        " ORDER BY m.created"
    ):
        # The same version name may occur for data and files, and in two models.
        cards = found.setdefault(f"{owner} {resource}", {})
        cards.setdefault(key, {}).update(json.loads(value))
    return json.loads(
        _IDS.sub("", json.dumps(sorted(([k.split(" ")[0], v] for k, v in found.items()), key=repr)))
    )


def _files(folder: Path) -> list[tuple[str, str]]:
    return sorted(
        (path.relative_to(folder).as_posix(), hashlib.blake2b(path.read_bytes()).hexdigest())
        for path in folder.rglob("*")
        if path.is_file()
    )


@contextlib.contextmanager
def zenml_server(folder: Path, auth: str = "OAUTH2_PASSWORD_BEARER") -> Iterator[str]:
    """A real ZenML server; yields its address. The user `default` has no password."""
    configuration(folder / "server")
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "zenml.zen_server.zen_server_api:app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
    settings = {
        "ZENML_CONFIG_PATH": str(folder / "server"),
        "ZENML_STORE_TYPE": "sql",
        "ZENML_STORE_URL": f"sqlite:///{folder}/server/{DATABASE}",
        "ZENML_SERVER_AUTH_SCHEME": auth,
        "ZENML_SERVER_AUTO_ACTIVATE": "true",
        "ZENML_ANALYTICS_OPT_IN": "false",
        "ZENML_LOGGING_VERBOSITY": "WARNING",
    }
    others = {k: v for k, v in os.environ.items() if not k.startswith("ZENML_")}
    log = folder / "server.log"
    with in_a_process(command, others | settings, port, log) as address:
        yield address
