"""Projects, members, service accounts, invitations: the client's `management` calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import neptune
import pytest
from neptune import management
from neptune.common.exceptions import Forbidden
from neptune.exceptions import AmbiguousProjectName, ProjectNotFound
from neptune.management import exceptions as refused
from neptune.types import File

from migration_pipeline.neptune_server import RunningServer
from migration_pipeline.neptune_server.neptune2.accounts import Workspace
from migration_pipeline_tests.neptune_server.conftest import Api

from .clients import PROJECT, open_run

Call = Callable[..., Any]
BOT = "cicd@acme"


@pytest.fixture
def acme(server: RunningServer) -> Workspace:
    """With the members ann and bob, a service account, and zed, who is not in it."""
    workspace = server.accounts.add_workspace("acme", ann="member", bob="member")
    workspace.add_service_account(BOT)
    server.accounts.users.add("zed")
    return workspace


@pytest.fixture
def owner(server: RunningServer, acme: Workspace) -> Call:
    """`owner(call, ...)` calls as the administrator."""
    return calling(server.token)


@pytest.fixture
def ann(server: RunningServer, acme: Workspace) -> Call:
    """`ann(call, ...)` calls as a plain member."""
    return calling(server.auth.api_token_of("ann"))


def calling(token: str) -> Call:
    def call(function: Call, *args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs, api_token=token)

    return call


def test_who_made_a_project_owns_it(owner: Call, ann: Call) -> None:
    assert owner(management.create_project, "acme/mine", key="MINE") == "acme/mine"
    assert ann(management.create_project, "hers", workspace="acme") == "acme/hers"
    assert owner(management.get_project_member_list, "acme/mine") == {"owner": "owner"}
    assert ann(management.get_project_member_list, "acme/hers") == {"ann": "owner"}
    assert owner(management.get_project_list) == [PROJECT, "acme/mine", "acme/hers"]


def test_a_private_project_is_seen_by_its_members_alone(owner: Call, ann: Call) -> None:
    owner(management.create_project, "acme/secret")
    assert ann(management.get_project_list) == []
    with pytest.raises(refused.ProjectNotFound):
        ann(management.get_project_member_list, "acme/secret")
    owner(management.add_project_member, "acme/secret", "ann", "contributor")
    assert ann(management.get_project_list) == ["acme/secret"]
    members = ann(management.get_project_member_list, "acme/secret")
    assert members == {"owner": "owner", "ann": "contributor"}
    owner(management.remove_project_member, "acme/secret", "ann")
    assert ann(management.get_project_list) == []


def test_in_a_project_of_the_workspace_all_are_owners(owner: Call, ann: Call) -> None:
    owner(management.create_project, "acme/open", visibility="workspace")
    everybody = {"owner": "owner", "ann": "owner", "bob": "owner"}
    assert ann(management.get_project_member_list, "acme/open") == everybody
    for user in ("ann", "owner"):
        with pytest.raises(refused.UserNotExistsOrWithoutAccess):
            owner(management.remove_project_member, "acme/open", user)
    with pytest.raises(refused.UserAlreadyHasAccess, match="owner"):
        owner(management.add_project_member, "acme/open", "ann", "viewer")
    assert owner(management.get_project_member_list, "acme/open") == everybody
    assert owner(management.get_project_service_account_list, "acme/open") == {}


def test_a_public_project_is_seen_by_all(owner: Call, ann: Call) -> None:
    owner(management.create_project, "acme/shown", visibility="pub")
    assert ann(management.get_project_list) == ["acme/shown"]
    with pytest.raises(Forbidden):
        ann(management.add_project_member, "acme/shown", "bob", "viewer")


def test_members_come_once_and_only_owners_change_them(owner: Call, ann: Call) -> None:
    owner(management.create_project, "acme/team")
    owner(management.add_project_member, "acme/team", "ann", "contributor")
    with pytest.raises(refused.UserAlreadyHasAccess, match="contributor"):
        owner(management.add_project_member, "acme/team", "ann", "viewer")
    with pytest.raises(Forbidden):
        ann(management.add_project_member, "acme/team", "bob", "viewer")
    with pytest.raises(refused.AccessRevokedOnMemberRemoval):
        ann(management.remove_project_member, "acme/team", "owner")
    with pytest.raises(refused.UserNotExistsOrWithoutAccess):
        owner(management.remove_project_member, "acme/team", "bob")
    with pytest.raises(refused.ProjectNotFound):
        owner(management.add_project_member, "acme/nothing", "bob", "viewer")
    members = owner(management.get_project_member_list, "acme/team")
    assert members == {"owner": "owner", "ann": "contributor"}


def test_service_accounts_are_listed_apart_from_users(owner: Call, ann: Call) -> None:
    ann(management.create_project, "acme/hers")
    ann(management.add_project_service_account, "acme/hers", BOT, "viewer")
    with pytest.raises(refused.ServiceAccountAlreadyHasAccess, match="viewer"):
        ann(management.add_project_service_account, "acme/hers", BOT, "owner")
    assert ann(management.get_project_service_account_list, "acme/hers") == {BOT: "viewer"}
    assert ann(management.get_project_member_list, "acme/hers") == {"ann": "owner"}
    assert ann(management.get_workspace_service_account_list, "acme") == {BOT: "member"}
    assert BOT not in ann(management.get_workspace_member_list, "acme")
    with pytest.raises(refused.ServiceAccountNotFound):
        ann(management.add_project_service_account, "acme/hers", "none@acme", "viewer")
    ann(management.remove_project_service_account, "acme/hers", BOT)
    with pytest.raises(refused.ServiceAccountNotExistsOrWithoutAccess):
        ann(management.remove_project_service_account, "acme/hers", BOT)
    assert ann(management.get_project_service_account_list, "acme/hers") == {}


@pytest.mark.parametrize(
    ("name", "more", "error"),
    [
        ("tabular", {}, refused.ProjectNameCollision),
        ("new", {"key": "TAB"}, refused.ProjectKeyCollision),
        ("new", {"key": "tab"}, refused.ProjectKeyInvalid),
        ("new", {"key": "123"}, refused.ProjectKeyInvalid),
        ("new", {"visibility": "pub"}, refused.ProjectPrivacyRestrictedException),
    ],
)
def test_a_project_that_cannot_be(
    acme: Workspace, owner: Call, name: str, more: dict[str, str], error: type[Exception]
) -> None:
    acme.visibilities = ("priv", "workspace")
    with pytest.raises(error):
        owner(management.create_project, f"acme/{name}", **more)
    assert owner(management.get_project_list) == [PROJECT]


def test_limits_and_keys(server: RunningServer, acme: Workspace, owner: Call) -> None:
    acme.project_limit = 3
    owner(management.create_project, "acme/image-nets")
    owner(management.create_project, "acme/image-nets-2")
    projects = server.store.projects
    keys = [projects[name].key for name in ("acme/image-nets", "acme/image-nets-2")]
    assert keys == ["IMAGE", "IMAGE1"]
    with pytest.raises(refused.ProjectsLimitReached):
        owner(management.create_project, "acme/more")
    with pytest.raises(refused.WorkspaceNotFound):
        owner(management.create_project, "elsewhere/more")
    assert projects["acme/image-nets"].version == 2


def test_only_an_administrator_deletes_a_project(
    server: RunningServer, owner: Call, ann: Call
) -> None:
    ann(management.create_project, "acme/hers")
    token = server.auth.api_token_of("ann")
    with open_run(server, project="acme/hers", api_token=token) as run:
        uuid = run._id
        assert run["sys/owner"].fetch() == "ann"
    ann(management.add_project_service_account, "acme/hers", BOT, "viewer")
    with pytest.raises(refused.AccessRevokedOnDeletion):
        ann(management.delete_project, "acme/hers")
    owner(management.delete_project, "acme/hers")
    assert owner(management.get_project_list) == [PROJECT]
    assert uuid not in server.store.by_uuid
    with pytest.raises(refused.ProjectNotFound):
        owner(management.delete_project, "acme/hers")
    ann(management.create_project, "acme/hers")
    assert ann(management.get_project_service_account_list, "acme/hers") == {}


def test_projects_are_found_by_name_and_listed_in_pages(server: RunningServer, owner: Call) -> None:
    for name in ("acme/tabular-2", "other/tabular-2", "other/x"):
        server.store.project(name, version=2)
    token = server.token
    with open_run(server, project="x") as run:
        assert run["sys/id"].fetch() == "X-1"
    with pytest.raises(AmbiguousProjectName, match="other/tabular-2"):
        neptune.init_run(project="tabular-2", api_token=token)
    with pytest.raises(ProjectNotFound, match="acme/tabular-2") as missing:
        neptune.init_run(project="acme/none", api_token=token)
    assert "other/x" not in str(missing.value)

    def listed(**query: Any) -> tuple[list[str], int]:
        answer = Api(server).http.get("/api/backend/v1/projects", params=query).json()
        names = [f"{one['organizationName']}/{one['name']}" for one in answer["entries"]]
        return names, answer["matchingItemCount"]

    assert listed(offset=1, limit=2) == (["acme/tabular-2", "other/tabular-2"], 4)
    assert listed(offset=3, limit=2) == (["other/x"], 4)
    assert listed(searchTerm="TAB", organizationIdentifier="acme") == (
        [PROJECT, "acme/tabular-2"],
        2,
    )


def test_invitations(acme: Workspace, owner: Call, ann: Call) -> None:
    invite = management.invite_to_workspace
    owner(invite, username="zed", workspace="acme", role="admin")
    owner(invite, email="a@b.c", workspace="acme")
    assert acme.invited == {"zed", "a@b.c"}
    for again in ({"username": "zed"}, {"email": "a@b.c"}, {"username": "ann", "role": "admin"}):
        with pytest.raises(refused.UserAlreadyInvited):
            owner(invite, workspace="acme", **again)
    with pytest.raises(refused.WorkspaceOrUserNotFound):
        owner(invite, username="nobody", workspace="acme")
    with pytest.raises(refused.WorkspaceOrUserNotFound):
        owner(invite, username="zed", workspace="nowhere")
    with pytest.raises(Forbidden):
        ann(invite, email="d@e.f", workspace="acme")
    assert owner(management.get_workspace_member_list, "acme") == {
        "owner": "admin",
        "ann": "member",
        "bob": "member",
    }


def test_a_workspace_says_what_is_used(server: RunningServer, owner: Call) -> None:
    with open_run(server) as run:
        run["file"].upload(File.from_content(b"0123456789"))
        run["set"].upload_files(__file__)
        size = server.store.projects[PROJECT].runs["TAB-1"].attributes["set"].value.files
    in_set = sum(file.size for file in size.values())
    assert in_set > 1000
    assert owner(management.get_workspace_status, "acme") == {
        "storageBytesLimit": 100 << 30,
        "storageBytesAvailable": (100 << 30) - 10 - in_set,
        "storageBytesUsed": 10 + in_set,
        "activeProjectsUsage": 1,
        "activeProjectsLimit": None,
        "membersCount": 3,
    }
    with pytest.raises(refused.WorkspaceNotFound):
        owner(management.get_workspace_status, "nowhere")
