"""`python -m migration_pipeline.neptune_server`: serve an archive, the sample, or nothing yet."""

from __future__ import annotations

import argparse
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from migration_pipeline.errors import MigrationError

from .archive_store import load_archive
from .faults import Faults
from .running import listen, make_server, uvicorn_server
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
    given = parser.parse_args(arguments)
    if (given.data is None) != (given.files is None):
        parser.error("--data and --files belong together")
    if given.sample and given.data is not None:
        parser.error("--sample and --data exclude each other")
    with tempfile.TemporaryDirectory(prefix="neptune-sample-") as scratch:
        try:
            store = Store()
            if given.sample:
                load_sample(store, Path(scratch))
            elif given.data is not None:
                if not given.data.is_dir():
                    raise FileNotFoundError(f"{given.data} is not a directory")
                load_archive(store, given.data, given.files)
            listening = listen(given.port)
        except (MigrationError, OSError) as error:
            print(f"neptune_server: {error}", file=sys.stderr)
            return 2
        server = make_server(store, Faults(), listening)
        print(f"export NEPTUNE_API_TOKEN={server.token}", flush=True)
        uvicorn_server(server).run(sockets=[listening])
    return 0


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
