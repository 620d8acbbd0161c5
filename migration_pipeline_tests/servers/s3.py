"""A real S3 server on loopback: moto's, whose objects are in memory.

Requests are answered one after the other, because moto looks at a condition (`If-None-Match`) and
puts the object in two steps. Faults are answers in place of the server's: a test counts requests,
refuses them, takes the bucket away, or kills whoever sent one.
"""

from __future__ import annotations

import io
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from migration_pipeline.neptune_server.running import HOST

REGION = "us-east-1"
_REFUSED = (
    b'<?xml version="1.0"?><Error><Code>InvalidAccessKeyId</Code><Message>The AWS Access Key Id '
    b"you provided does not exist in our records.</Message></Error>"
)


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any, **__: Any) -> None:
        pass


@dataclass
class S3Server:
    """The server; `before` is asked ahead of each request and may answer in the server's place.

    Args:
        requests: `METHOD /path` of what came.
        status: of such an answer.
        folder: for the temporary files of its clients.
    """

    port: int
    requests: list[str] = field(default_factory=list)
    before: Callable[[str], bytes | None] = lambda request: None
    status: str = "403 Forbidden"
    folder: str = "/tmp"

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs to find it, as for any other S3."""
        return {
            "AWS_ENDPOINT_URL": f"http://{HOST}:{self.port}",
            "AWS_ACCESS_KEY_ID": "AKIATESTSOFSTORES",
            "AWS_SECRET_ACCESS_KEY": "secret/of+the+tests",
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_MAX_ATTEMPTS": "2",
            "TMPDIR": self.folder,
        }


def refused(request: str) -> bytes:
    return _REFUSED


@contextmanager
def s3_server() -> Iterator[S3Server]:
    app = DomainDispatcherApplication(create_backend_app)
    lock = threading.Lock()

    def one_at_a_time(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("HTTP_TRANSFER_ENCODING", "") != "chunked":
            length = int(environ.get("CONTENT_LENGTH") or 0)
            environ["wsgi.input"] = io.BytesIO(environ["wsgi.input"].read(length))
        request = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        with lock:
            server.requests.append(request)
            if (answer := server.before(request)) is not None:
                start(server.status, [("Content-Type", "application/xml")])
                return [b"" if request.startswith("HEAD ") else answer]
            return [b"".join(app(environ, start))]

    http = make_server(HOST, 0, one_at_a_time, threaded=True, request_handler=_Quiet)
    http.daemon_threads = True
    server = S3Server(http.server_port)
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        http.shutdown()
        http.server_close()
        thread.join()
