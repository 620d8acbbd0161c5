"""What is wrong with a token is said without saying the token."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from pydantic import SecretStr

from migration_pipeline.errors import InvalidTokenError, MissingSettingError, UnknownNameError
from migration_pipeline.sources.neptune import NeptuneConfig, server_address
from migration_pipeline.sources.neptune2.config import Neptune2Config
from migration_pipeline.sources.neptune3.config import Neptune3Config
from migration_pipeline.sources.registry import SourceSettings, make_source

CANARY = "canary-3f9a"


def token(content: object) -> str:
    return base64.b64encode(json.dumps(content).encode()).decode()


def address(text: str) -> str:
    return server_address(SecretStr(text))


@pytest.mark.parametrize("text", ["", "   ", "\n"])
def test_unset(text: str) -> None:
    with pytest.raises(MissingSettingError, match="NEPTUNE_API_TOKEN is not set"):
        address(text)


@pytest.mark.parametrize(
    "text",
    [
        CANARY,
        f"Bearer {CANARY}",
        token({"api_url": "http://n", "api_key": CANARY})[:-5],
        base64.b64encode(CANARY.encode()).decode(),
        base64.b64encode(b"\xff\xfe" + CANARY.encode()).decode(),
        token([CANARY]),
        token(CANARY),
        token(None),
        token({"api_key": CANARY}),
        token({"api_url": None, "api_address": "", "api_key": CANARY}),
        token({"api_url": f"ftp://{CANARY}", "api_key": CANARY}),
        token({"api_url": ["http://n"], "api_key": CANARY}),
    ],
)
def test_malformed(text: str) -> None:
    with pytest.raises(InvalidTokenError, match="is not a Neptune API token") as caught:
        address(text)
    said = f"{caught.value} {caught.value.__dict__} {caught.value.__cause__}"
    assert CANARY not in said
    assert text not in said
    assert "user menu" in caught.value.remedy


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ({"api_url": "https://a", "api_address": "https://b"}, "https://a"),
        ({"api_address": "https://b"}, "https://b"),
        ({"api_url": None, "api_address": "http://b:8080/x"}, "http://b:8080/x"),
    ],
)
def test_either_address_will_do_with_white_space_around(
    content: dict[str, str], expected: str
) -> None:
    assert address(token(content)) == expected
    assert address(f"  {token(content)}\n") == expected


@pytest.mark.parametrize("config", [Neptune2Config, Neptune3Config])
def test_a_config_does_not_show_its_token(config: type[NeptuneConfig]) -> None:
    made = config(api_token=SecretStr(token({"api_url": "http://n"})))
    assert token({"api_url": "http://n"}) not in f"{made!r} {made} {made.model_dump_json()}"


@pytest.mark.parametrize("name", ["neptune2", "neptune3"])
def test_the_registry_looks_at_the_token_before_anything_is_sent(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.delenv("NEPTUNE_API_TOKEN", raising=False)
    with pytest.raises(MissingSettingError, match="NEPTUNE_API_TOKEN"):
        make_source(name, SourceSettings())
    monkeypatch.setenv("NEPTUNE_API_TOKEN", CANARY)
    with pytest.raises(InvalidTokenError) as caught:
        make_source(name, SourceSettings())
    assert CANARY not in str(caught.value)
    monkeypatch.setenv("OTHER", token({"api_url": "http://n"}))
    settings = SourceSettings(token_variable="OTHER", workers=7, accept_missing_files=True)
    source: Any = make_source(name, settings)
    assert source.name == name
    assert (source.config.workers, source.config.accept_missing_files) == (7, True)


def test_a_source_of_no_name() -> None:
    with pytest.raises(UnknownNameError, match="neptune4"):
        make_source("neptune4", SourceSettings())
