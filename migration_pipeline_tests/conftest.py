"""What holds for all tests: nobody leaves this machine, and nobody's settings come in."""

from __future__ import annotations

import gc
import ipaddress
import os
import socket
from pathlib import Path
from typing import Any

import hypothesis
import pytest

gc.disable()  # until all is imported
pytest_plugins = ["migration_pipeline_tests.stores"]
_HERE = Path(__file__).parent
_TARGETS = _HERE.parent / "migration_pipeline" / "targets"
_OURS = (
    "MIGRATION_",
    "NEPTUNE_",
    "LIGHTNING_",
    *(f"{p.name.upper()}_" for p in _TARGETS.iterdir()),
)
for _variable in [v for v in os.environ if v.startswith(_OURS)]:
    if not _variable.startswith("MIGRATION_TEST_"):  # before any module of ours reads it
        del os.environ[_variable]
os.environ.pop("DAGSTER_HOME", None)

# The same examples in every run, none of which has a time limit: the machine may be busy.
hypothesis.settings.register_profile(
    "tests",
    deadline=None,
    derandomize=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")

_FIRST = ("distributed", "browser", "neptune2_whole", "trust", "contract")
"""Folders whose modules take longest, for they start processes and wait for them."""
_LOCAL_NAMES = ("", "localhost", "0.0.0.0")


def _is_local(address: Any) -> bool:
    if not isinstance(address, tuple):  # a Unix socket
        return True
    host = address[0].decode() if isinstance(address[0], bytes) else str(address[0])
    try:
        return host in _LOCAL_NAMES or ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


@pytest.fixture(autouse=True)
def only_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket to anywhere else raises; so does asking for the address of any other name."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex
    getaddrinfo = socket.getaddrinfo

    def refuse(address: Any) -> None:
        if not _is_local(address):
            raise AssertionError(f"a test wants to leave this machine, for {address!r}")

    def guarded_connect(self: socket.socket, address: Any) -> None:
        refuse(address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        refuse(address)
        return connect_ex(self, address)

    def guarded_getaddrinfo(host: Any, *args: Any, **kwargs: Any) -> Any:
        if host is not None:
            refuse((host,))
        return getaddrinfo(host, *args, **kwargs)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
    monkeypatch.setattr(socket, "getaddrinfo", guarded_getaddrinfo)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--crashes",
        type=int,
        default=6,
        help="moments at which an export or a load is stopped; the full proof takes 100",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Modules are handed out in this order: the long ones while there is other work beside them,
    so that nobody waits for them alone at the end."""

    def turn(item: pytest.Item) -> int:
        folder = item.path.relative_to(_HERE).parts[0]
        return _FIRST.index(folder) if folder in _FIRST else len(_FIRST)

    items.sort(key=turn)


def pytest_collection_finish() -> None:
    """What the modules of all tests hold stays; to look through it again and again took a seventh
    of all processor time."""
    gc.freeze()
    gc.enable()


def pytest_configure(config: pytest.Config) -> None:
    # pytest resets the filters of migration_pipeline/defs/__init__.py for each test.
    for category in ("PreviewWarning", "BetaWarning"):
        config.addinivalue_line("filterwarnings", f"ignore::dagster.{category}")
