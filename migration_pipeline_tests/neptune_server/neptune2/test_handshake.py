"""What happens before the first object: documents, configuration, tokens, the silent channel."""

from __future__ import annotations

import base64
import json

import httpx
import neptune
import pytest
import websocket
from neptune.exceptions import NeptuneInvalidApiTokenException
from neptune.internal.backends.api_model import OptionalFeatures
from neptune.internal.backends.hosted_client import get_client_config
from neptune.internal.credentials import Credentials

from migration_pipeline.neptune_server import RunningServer, running_server
from migration_pipeline.neptune_server.neptune2.models import MODELS
from migration_pipeline.neptune_server.neptune2.operations import OPERATIONS
from migration_pipeline.neptune_server.neptune2.swagger import document
from migration_pipeline_tests.neptune_server.conftest import Api

from .clients import PROJECT, open_run

FEATURES = [
    OptionalFeatures.VERSION_INFO,
    OptionalFeatures.ARTIFACTS,
    OptionalFeatures.ARTIFACTS_HASH_EXCLUDE_METADATA,
    OptionalFeatures.ARTIFACTS_EXCLUDE_DIRECTORY_FILES,
    OptionalFeatures.MULTIPART_UPLOAD,
]


def test_the_first_object_costs_one_handshake_the_second_none(server: RunningServer) -> None:
    with open_run(server):
        shaken = {
            "GET /api/backend/swagger.json": 3,
            "GET /api/leaderboard/swagger.json": 1,
            "GET /api/artifacts/swagger.json": 1,
            "GET /api/backend/v1/clients/config": 1,
            "GET /api/backend/v1/authorization/oauth-token": 1,
        }
        assert {name: server.requests[name] for name in shaken} == shaken
    with open_run(server):
        assert {name: server.requests[name] for name in shaken} == shaken


def test_the_client_finds_every_feature_on_and_no_version_too_old(server: RunningServer) -> None:
    config = get_client_config(Credentials.from_token(server.token), True, None)
    assert [config.has_feature(name) for name in FEATURES] == [True] * 5
    versions = config.version_info
    assert versions.min_compatible is versions.min_recommended is versions.max_compatible is None
    sizes = config.multipart_config
    assert (sizes.min_chunk_size, sizes.max_chunk_size) == (5 << 20, 1 << 30)
    assert (sizes.max_chunk_count, sizes.max_single_part_size) == (1000, 5 << 20)
    assert config.sys_name_set_by_backend is False


def test_an_unknown_key_is_refused(server: RunningServer) -> None:
    content = json.loads(base64.b64decode(server.token)) | {"api_key": "wrong"}
    token = base64.b64encode(json.dumps(content).encode()).decode()
    with pytest.raises(NeptuneInvalidApiTokenException):
        neptune.init_project(project=PROJECT, api_token=token, mode="read-only")


def test_a_token_near_its_end_is_refreshed_before_each_request(server: RunningServer) -> None:
    server.auth.lifetime = 29
    with open_run(server) as run:
        before = server.auth.refreshes
        for _ in range(3):
            assert run["sys/id"].fetch() == "TAB-1"
        assert server.auth.refreshes >= before + 3
    assert server.auth.exchanges == 1


@pytest.mark.parametrize(
    ("authorization", "error"),
    [("Bearer nonsense", "UNAUTHORIZED"), ("", "UNAUTHORIZED")],
)
def test_only_an_expired_token_is_called_expired(
    server: RunningServer, authorization: str, error: str
) -> None:
    address = f"{server.url}/api/leaderboard/v1/experiments"
    answer = httpx.get(address, headers={"Authorization": authorization})
    assert (answer.status_code, answer.json()["errorType"]) == (401, error)
    api = Api(server).http
    server.auth.expire_tokens()
    answer = api.get(address)
    assert (answer.status_code, answer.json()["errorType"]) == (401, "AUTHORIZATION_TOKEN_EXPIRED")


def test_the_channel_for_signals_is_open_and_silent(server: RunningServer) -> None:
    """It answers a ping with a pong, and nothing came before it."""
    address = server.url.replace("http", "ws") + "/api/notifications/v1/runs/a/b/signal"
    channel = websocket.create_connection(address, timeout=10)
    channel.ping("are you there")
    assert channel.recv_frame().data == b"are you there"
    channel.send_close()
    assert channel.recv_frame().opcode == websocket.ABNF.OPCODE_CLOSE


@pytest.mark.parametrize(
    ("protocols", "answered"),
    [(("2", "3"), {"2", "3"}), (("2",), {"2"}), (("3",), {"3"})],
)
def test_a_protocol_that_is_not_served_is_404(
    protocols: tuple[str, ...], answered: set[str]
) -> None:
    with running_server(protocols=protocols) as server:
        api = Api(server).http
        asked = {
            "2": api.get("/api/leaderboard/v1/experiments", params={"experimentId": "x"}),
            "3": api.post("/api/storagebridge/v1/signedUrl", json={"files": []}),
        }
        documents = {f"/api/{n}/swagger.json" for n in ("backend", "leaderboard", "artifacts")}
        found = {path for path in documents if api.get(path).status_code == 200}
    assert found == (documents if "2" in answered else set())
    assert {name for name, one in asked.items() if one.text != "Not Found"} == answered


def test_documents_refer_to_models_that_are_there() -> None:
    for name in ("backend", "leaderboard", "artifacts"):
        text = json.dumps(document(name))
        referred = {part.split('"')[0] for part in text.split("#/definitions/")[1:]}
        assert referred <= set(MODELS), name
    paths = {(o.method, o.path) for o in OPERATIONS}
    assert len(paths) == len({o.id for o in OPERATIONS}) == len(OPERATIONS)
