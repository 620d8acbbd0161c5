"""The rules of W&B's stand-in: each is tripped once, by requests as the SDK makes them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from migration_pipeline.targets.wandb import documents
from migration_pipeline_tests.servers.standin import account_key
from migration_pipeline_tests.servers.wandb.state import Account
from migration_pipeline_tests.targets import wandb_backend


class Asking:
    """Requests with the key of one account."""

    def __init__(self, folder: Path) -> None:
        self.key, self.url = account_key(folder), wandb_backend.server().url

    def graphql(self, document: str, **variables: Any) -> requests.Response:
        return requests.post(
            f"{self.url}/graphql",
            json={"query": document, "variables": variables},
            auth=("api", self.key),
            timeout=10,
        )

    def data(self, document: str, **variables: Any) -> Any:
        answer = self.graphql(document, **variables)
        assert answer.status_code == 200, answer.text
        return answer.json()["data"]

    def upsert(self, **run: Any) -> requests.Response:
        return self.graphql(documents.UPSERT, **{"project": "p", "entity": "team", **run})

    def made(self, name: str) -> dict[str, Any]:
        run: dict[str, Any] = self.upsert(name=name).json()["data"]["upsertBucket"]["bucket"]
        return run

    def stream(self, name: str, offset: int, *rows: dict[str, Any]) -> requests.Response:
        content = [json.dumps(row) for row in rows]
        body = {"files": {"wandb-history.jsonl": {"offset": offset, "content": content}}}
        where = f"{self.url}/files/team/p/{name}/file_stream"
        return requests.post(where, json=body, auth=("api", self.key), timeout=10)

    def history(self, low: int, high: int, size: int = 1000) -> list[dict[str, Any]]:
        where = {"entity": "team", "project": "p", "run": "r"}
        data = self.data(documents.HISTORY, **where, minStep=low, maxStep=high, pageSize=size)
        return [json.loads(line) for line in data["project"]["run"]["history"]]


@pytest.fixture
def asking(tmp_path: Path) -> Asking:
    return Asking(tmp_path)


@pytest.fixture
def account(tmp_path: Path) -> Iterator[Account]:
    yield wandb_backend.account(tmp_path)
    wandb_backend.server().forget(account_key(tmp_path))


def message(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["errors"][0]["message"]


def rows(count: int, value: float = 0.0) -> list[dict[str, Any]]:
    return [{"_step": i, "m": value} for i in range(count)]


def test_a_key_that_no_account_has(asking: Asking) -> None:
    asking.key = "0" * 40
    assert message(asking.graphql(documents.VIEWER)) == (401, "user is not logged in")


def test_a_field_that_there_is_not(asking: Asking) -> None:
    status, text = message(asking.graphql("query X { viewer { id colour } }"))
    assert (status, "colour" in text) == (400, True)


def test_an_id_whose_run_was_deleted(asking: Asking) -> None:
    run = asking.made("gone")
    asking.data(documents.DELETE, id=run["id"], deleteArtifacts=False)
    status, text = message(asking.upsert(name="gone"))
    assert (status, "was previously created and deleted" in text) == (409, True)


@pytest.mark.parametrize(
    ("given", "word"),
    [
        ({"name": "a:b"}, "invalid run id"),
        ({"name": " a"}, "invalid run id"),
        ({"name": "r", "project": "a/b"}, "invalid project name"),
        ({"name": "r", "project": "p" * 129}, "invalid project name"),
        ({"name": "r", "displayName": "n" * 129}, "displayName"),
        ({"name": "r", "tags": ["t" * 65]}, "invalid tag"),
        ({"name": "r", "tags": [""]}, "invalid tag"),
        ({"name": "r", "config": "[]"}, "config is not"),
        ({"name": "r", "config": '{"a": {"value": NaN}}'}, "config is not"),
        (
            {"name": "r", "config": '{"_wandb": {"value": {"branch_point": {}}}}'},
            "forking runs is not available",
        ),
    ],
)
def test_what_an_upsert_refuses(
    asking: Asking, account: Account, given: dict[str, Any], word: str
) -> None:
    status, text = message(asking.upsert(**given))
    assert (status, word in text) == (400, True)
    assert not any(project.of for project in account.projects.values())


def test_who_may_not_write_and_where_nobody_may(asking: Asking, account: Account) -> None:
    status, text = message(asking.upsert(name="r", entity="strangers"))
    assert (status, "strangers" in text) == (404, True)
    account.rules.most_projects = 0
    status, text = message(asking.upsert(name="r"))
    assert (status, "project limit" in text) == (403, True)
    account.rules.most_projects, account.rules.read_only = None, True
    assert message(asking.upsert(name="r")) == (403, "permission denied")


def test_lines_replace_those_at_their_offset(asking: Asking, account: Account) -> None:
    asking.made("r")
    asking.stream("r", 0, *rows(4))
    asking.stream("r", 2, {"_step": 2, "m": 7.0})
    held = [json.loads(line) for line in account.projects["p"].of["r"].lines]
    assert held == [*rows(2), {"_step": 2, "m": 7.0}, rows(4)[3]]


def test_a_gap_is_closed(asking: Asking, account: Account) -> None:
    asking.made("r")
    asking.stream("r", 0, *rows(2))
    asking.stream("r", 10, {"_step": 10, "m": 1.0})
    assert account.projects["p"].of["r"].historyLineCount == 3


def test_pages_of_history(asking: Asking, account: Account) -> None:
    asking.made("r")
    asking.stream("r", 0, *rows(10))
    assert [row["_step"] for row in asking.history(2, 5)] == [2, 3, 4, 5]
    account.rules.max_step_inclusive = False
    assert [row["_step"] for row in asking.history(2, 5)] == [2, 3, 4]
    assert len(asking.history(0, 10, size=5)) == 5  # a sample


def test_numbers_that_json_has_not_come_back_as_text(asking: Asking, account: Account) -> None:
    asking.made("r")
    asking.stream("r", 0, {"_step": 0, "m": float("nan"), "i": float("-inf")})
    assert asking.history(0, 1) == [{"_step": 0, "m": "NaN", "i": "-Infinity"}]


def test_lines_that_are_too_long_or_refused(asking: Asking, account: Account) -> None:
    asking.made("r")
    assert asking.stream("r", 0, {"_step": 0, "m": "x" * (10 * 2**20)}).status_code == 413
    account.rules.refuse_lines = lambda line: '"bad"' in line
    assert asking.stream("r", 0, {"_step": 0, "bad": 1}).status_code == 400
    assert asking.stream("nowhere", 0, *rows(1)).status_code == 404
    assert account.projects["p"].of["r"].lines == []


def test_two_requests_a_second_for_a_run(asking: Asking, account: Account) -> None:
    asking.made("r")
    account.rules.filestream_a_second = 2
    assert asking.stream("r", 0, *rows(1)).status_code == 200
    answer = asking.stream("r", 1, *rows(1))
    assert answer.status_code == 429
    assert answer.headers["RateLimit-Remaining"] == "0"
    time.sleep(float(answer.headers["RateLimit-Reset"]))
    assert asking.stream("r", 1, *rows(1)).status_code == 200


def test_a_file_is_there_once_its_bytes_are(asking: Asking, account: Account) -> None:
    asking.made("r")
    where = {"entity": "team", "project": "p", "run": "r"}
    made = asking.data(documents.CREATE_FILES, **where, files=["a b/ü.txt"])["createRunFiles"]

    def listed() -> list[str]:
        run = asking.data(documents.FILES, entity="team", project="p", name="r")["project"]["run"]
        return [edge["node"]["name"] for edge in run["files"]["edges"]]

    assert listed() == []
    requests.put(made["files"][0]["uploadUrl"], data=b"x", timeout=10)
    assert listed() == ["a b/ü.txt"]
