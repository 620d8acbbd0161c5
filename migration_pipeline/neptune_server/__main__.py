"""`python -m migration_pipeline.neptune_server`: serve an archive, the sample, or nothing yet."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import signal
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from migration_pipeline.errors import MigrationError

from .archive_store import load_archive
from .faults import Faults
from .running import http_server, listen, make_server
from .store import Store

SAMPLE = Path(__file__).parent / "sample"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until interrupted. Prints one line, the export of NEPTUNE_API_TOKEN.

    Returns 2 after a message on standard error when there is nothing to serve.
    """
    parser = argparse.ArgumentParser(prog="python -m migration_pipeline.neptune_server")
    parser.add_argument("--sample", action="store_true", help="serve the sample workspace")
    parser.add_argument("--data", type=Path, help="an archive's data directory")
    parser.add_argument("--files", type=Path, help="the same archive's files directory")
    parser.add_argument("--port", type=int, default=0, help="on 127.0.0.1; 0 takes a free one")
    parser.add_argument(
        "--store",
        metavar="MODULE:FUNCTION",
        help="serve the Store that a Python function returns; for benchmarks and tests",
    )
    given = parser.parse_args(arguments)
    if (given.data is None) != (given.files is None):
        parser.error("--data and --files belong together")
    if sum([given.sample, given.data is not None, given.store is not None]) > 1:
        parser.error("--sample, --data and --store exclude each other")
    # Ending by SystemExit lets the temporary folders be removed.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with (
        contextlib.suppress(KeyboardInterrupt),
        tempfile.TemporaryDirectory(prefix="neptune-sample-") as scratch,
    ):
        try:
            store = _store(given, Path(scratch))
            listening = listen(given.port)
        except (MigrationError, OSError, ImportError, AttributeError) as error:
            print(f"neptune_server: {error}", file=sys.stderr)
            return 2
        server = make_server(store, Faults(), listening)
        print(f"export NEPTUNE_API_TOKEN={server.token}", flush=True)
        http_server(server.app).run(sockets=[listening])
    return 0


def _store(given: argparse.Namespace, scratch: Path) -> Store:
    if given.store is not None:
        module, _, function = given.store.partition(":")
        made: Store = getattr(importlib.import_module(module), function)()
        return made
    store = Store()
    if given.sample:
        load_sample(store, scratch)
    elif given.data is not None:
        if not given.data.is_dir():
            raise FileNotFoundError(f"{given.data} is not a directory")
        load_archive(store, given.data, given.files)
    return store


def load_sample(store: Store, scratch: Path) -> None:
    """Load the sample workspace, from its folder or from `sample.zip`, unpacked to `scratch`.

    FileNotFoundError when neither is there.
    """
    folder = SAMPLE
    if not (folder / "data").is_dir():
        packed = [SAMPLE.with_suffix(".zip"), SAMPLE / "sample.zip"]
        found = next((path for path in packed if path.is_file()), None)
        if found is None:
            raise FileNotFoundError(
                f"there is no sample workspace: neither {SAMPLE / 'data'} nor {packed[0]} exists. "
                "Make it with the script in the repository, or serve an archive with --data and "
                "--files."
            )
        with zipfile.ZipFile(found) as archive:
            archive.extractall(scratch)
        folder = scratch / "sample" if (scratch / "sample" / "data").is_dir() else scratch
    load_archive(store, folder / "data", folder / "files")


if __name__ == "__main__":
    sys.exit(main())
