"""neptune-query's own authenticated client, with what it leaves out.

Requests go through the generated endpoint modules of neptune-query, its authentication and its
retries. Added here: one gate for all threads, so that a Retry-After given to one of them holds
them all; a new token when the server refuses one that had not run out yet; an end to retrying that
fits a person at a terminal; and errors in this project's words, without the token.

Endpoints and their behaviour: what neptune-query 1.14.1 does and what its end-to-end tests assert.
"""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import httpx
from neptune_query import exceptions as neptune_errors
from neptune_query.generated.neptune_api import errors as api_errors
from neptune_query.generated.neptune_api.api.retrieval import (
    get_multiple_float_series_values_proto,
    get_series_values_proto,
    query_attributes_within_project_proto,
    search_leaderboard_entries_proto,
)
from neptune_query.generated.neptune_api.api.storage import signed_url_generic
from neptune_query.generated.neptune_api.credentials import Credentials
from neptune_query.generated.neptune_api.models import (
    CreateSignedUrlsRequest,
    FileToSign,
    FloatTimeSeriesValuesRequest,
    Permission,
    QueryAttributesBodyDTO,
    SearchLeaderboardEntriesParamsDTO,
    SeriesValuesRequest,
)
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model.attributes_pb2 import (
    ProtoQueryAttributesResultDTO,
)
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model.leaderboard_entries_pb2 import (  # noqa: E501
    ProtoLeaderboardEntriesSearchResultDTO,
)
from neptune_query.generated.neptune_api.proto.neptune_pb.api.v1.model.series_values_pb2 import (
    ProtoSeriesValuesResponseDTO,
)
from neptune_query.generated.neptune_api.types import Response
from neptune_query.internal.api_utils import create_auth_api_client
from neptune_query.internal.identifiers import ProjectIdentifier
from neptune_query.internal.query_metadata_context import (
    use_query_metadata,
    with_neptune_client_metadata,
)
from neptune_query.internal.retrieval import retry
from neptune_query.internal.retrieval.files import SignedFile

from migration_pipeline.errors import (
    CredentialsRefusedError,
    IncompleteAnswerError,
    SourceError,
    SourceRefusedError,
    SourceUnavailableError,
    UnknownProjectError,
    WrongProtocolError,
)
from migration_pipeline.sources.neptune import (
    SOURCE_OF,
    TOKEN_VARIABLE,
    check_version,
    list_projects,
    not_a_server,
    server_address,
)
from migration_pipeline.sources.neptune3.config import Neptune3Config
from migration_pipeline.sources.patience import Gate

_PROJECTS = "/api/backend/v1/projects"


class Neptune3Client:
    """The requests that the exporter makes; each returns one answer, paging is the caller's.

    Thread-safe. The first request exchanges the token.
    """

    def __init__(self, config: Neptune3Config) -> None:
        self.address = server_address(config.api_token)
        self._config = config
        self._gate = Gate()
        self._connected = False
        self._token_lock = threading.Lock()
        self._client = create_auth_api_client(
            credentials=Credentials(
                api_key=config.api_token.get_secret_value().strip(), base_url=self.address
            )
        )
        for http in (
            self._client.get_httpx_client(),
            self._client.get_token_refreshing_client().get_httpx_client(),
        ):
            hold_back(http, self._gate)

    def search(self, project: str, body: dict[str, Any]) -> ProtoLeaderboardEntriesSearchResultDTO:
        """One page of runs."""
        response = self._call(
            search_leaderboard_entries_proto.sync_detailed,
            project,
            project_identifier=ProjectIdentifier(project),
            type=["run"],
            body=SearchLeaderboardEntriesParamsDTO.from_dict(body),
        )
        page: ProtoLeaderboardEntriesSearchResultDTO = self._parse(
            ProtoLeaderboardEntriesSearchResultDTO, response
        )
        return page

    def values(self, project: str, body: dict[str, Any]) -> ProtoQueryAttributesResultDTO:
        """One page of attribute values of many runs."""
        response = self._call(
            query_attributes_within_project_proto.sync_detailed,
            project,
            project_identifier=ProjectIdentifier(project),
            body=QueryAttributesBodyDTO.from_dict(body),
        )
        page: ProtoQueryAttributesResultDTO = self._parse(ProtoQueryAttributesResultDTO, response)
        return page

    def float_series(self, project: str, body: dict[str, Any]) -> bytes:
        """One page of points of many float series, undecoded."""
        response = self._call(
            get_multiple_float_series_values_proto.sync_detailed,
            project,
            body=FloatTimeSeriesValuesRequest.from_dict(body),
        )
        content: bytes = response.content
        del response
        # httpx ties a response and its stream together in a cycle that holds these megabytes until
        # Python's collector passes by, which with few new objects is seldom.
        gc.collect(1)
        return content

    def series(self, project: str, body: dict[str, Any]) -> ProtoSeriesValuesResponseDTO:
        """One page of points of many string, histogram or file series."""
        response = self._call(
            get_series_values_proto.sync_detailed,
            project,
            body=SeriesValuesRequest.from_dict(body),
            use_deprecated_string_fields=False,
        )
        page: ProtoSeriesValuesResponseDTO = self._parse(ProtoSeriesValuesResponseDTO, response)
        return page

    def sign(self, project: str, paths: Sequence[str]) -> list[SignedFile]:
        """Addresses to download stored objects from, in the order of `paths`."""
        body = CreateSignedUrlsRequest(
            files=[
                FileToSign(project_identifier=project, path=path, permission=Permission.READ)
                for path in paths
            ]
        )
        retried = self._retried(signed_url_generic.sync_detailed)
        response = self._guard(lambda: retried(client=self._client, body=body), project)
        signed = response.parsed.files if response.parsed else []
        if [file.path for file in signed] != list(paths):
            raise IncompleteAnswerError(
                f"{self.address} signed {len(signed)} of {len(paths)} files, or in another order"
            )
        return [
            SignedFile(
                url=file.url,
                path=file.path,
                provider=file.provider.value,
                project_identifier=ProjectIdentifier(project),
                permission="read",
            )
            for file in signed
        ]

    def list_projects(self) -> list[str]:
        """`workspace/project` of all 3.x projects that the token can read."""

        def page(offset: int, limit: int) -> Mapping[str, Any]:
            asked = {"userRelation": "viewerOrHigher", "sortBy": "lastViewed"}
            return self._get(_PROJECTS, asked | {"offset": offset, "limit": limit})

        return list_projects(page, 3, self.address)

    def check_project(self, project: str) -> None:
        """Refuses a project of Neptune 2.x.

        Raises:
            WrongProtocolError: it is one.
        """
        try:
            found = self._get(f"{_PROJECTS}/get", {"projectIdentifier": project})
        except (SourceRefusedError, WrongProtocolError) as error:
            if isinstance(error, CredentialsRefusedError):
                raise
            return  # unknown, or a server that does not tell: asking for its runs decides
        version = found.get("version")
        check_version(project, version if isinstance(version, int) else None, 3, self.address)

    def _get(self, path: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """JSON from the part of the server that neptune-query has no functions for."""

        def get() -> Response[Any]:
            answer = self._client.get_httpx_client().get(path, params=parameters)
            return Response(
                status_code=HTTPStatus(answer.status_code),
                content=answer.content,
                headers=answer.headers,
                parsed=None,
                url=str(answer.url),
            )

        response = self._guard(lambda: self._retried(get)(), "")
        try:
            answer = json.loads(response.content)
        except ValueError as error:
            raise not_a_server(self.address, path, response.content) from error
        if not isinstance(answer, dict):
            raise not_a_server(self.address, path, answer)
        return answer

    def _call(self, function: Callable[..., Any], project: str, **arguments: Any) -> Any:
        retried = self._retried(with_neptune_client_metadata(function))

        def call() -> Any:
            with use_query_metadata(api_function="migration_pipeline"):
                return retried(client=self._client, **arguments)

        return self._guard(call, project)

    def _retried(self, function: Callable[..., Any]) -> Callable[..., Any]:
        seconds = self._config.retry_seconds if self._connected else self._config.connect_seconds
        retried: Callable[..., Any] = retry.retry_backoff(
            soft_max_time=seconds, backoff_strategy=retry.exponential_backoff(jitter="full")
        )(retry.handle_api_errors(function))
        return retried

    def _guard(self, call: Callable[[], Any], project: str) -> Any:
        """Runs a request; a 401 is answered with a new token once; errors become ours."""
        try:
            try:
                result = call()
            except neptune_errors.NeptuneUnexpectedResponseError as error:
                if _status_of(error) != 401:
                    raise
                self._forget_token()
                result = call()
        except Exception as error:
            raise self._translate(error, project) from None
        self._connected = True
        return result

    def _forget_token(self) -> None:
        with self._token_lock:
            authenticator = self._client.get_httpx_client().auth
            authenticator._token = None

    def _translate(self, error: Exception, project: str) -> Exception:
        place = f"Neptune at {self.address}" + (f", project {project}" if project else "")
        if isinstance(error, SourceError):
            return error
        if isinstance(error, neptune_errors.NeptuneProjectInaccessible):
            return UnknownProjectError(project)
        if isinstance(
            error, neptune_errors.NeptuneInvalidCredentialsError | api_errors.ApiKeyRejectedError
        ):
            return CredentialsRefusedError(
                f"{place} does not accept the token",
                f"Set {TOKEN_VARIABLE} to a token of this server that is still valid.",
            )
        if isinstance(error, neptune_errors.NeptuneUnexpectedResponseError):
            if _status_of(error) == 404 and "errorType" not in str(error):
                # Not what was asked for is unknown, but the request: Neptune names its own errors.
                return WrongProtocolError(
                    f"{self.address} does not serve the protocol of Neptune 3.x", SOURCE_OF[2]
                )
            refused = CredentialsRefusedError if _status_of(error) == 401 else SourceRefusedError
            return refused(
                f"{place} refused a request ({_said(error)})",
                "If it names a limit or a filter, narrow the selection; if it is a permission, "
                "use another token.",
            )
        if isinstance(error, neptune_errors.NeptuneRetryError):
            cause = error.__cause__
            detail = f"{type(cause).__name__}: {cause}" if cause else _said(error)
            return SourceUnavailableError(
                f"{place} cannot be reached or keeps failing ({detail})",
                "Check the address inside the token and the server; the same job goes on where "
                "it stopped.",
            )
        return SourceUnavailableError(f"{place}: {type(error).__name__}: {error}")

    def _parse(self, message: Any, response: Response[Any]) -> Any:
        try:
            return message.FromString(response.content)
        except Exception as error:  # protobuf's DecodeError has no common base across backends
            raise IncompleteAnswerError(
                f"{self.address} answered with something that is not {message.__name__}: {error}"
            ) from error


def hold_back(http: httpx.Client, gate: Gate) -> None:
    """Lets every request of a client pass the gate; a date in a Retry-After becomes seconds,
    which is all that neptune-query reads."""

    def note(response: httpx.Response) -> None:
        seconds = gate.note(response.headers.get("retry-after"))
        if seconds is not None:
            response.headers["retry-after"] = str(seconds)

    http.event_hooks = {"request": [lambda _: gate.wait()], "response": [note]}


def _said(error: Exception) -> str:
    """The status and content lines of neptune-query's message, without its colours and advice."""
    lines = [line.strip() for line in str(error).splitlines()]
    wanted = ("Response status:", "Response content:", "Last response")
    return "; ".join(line for line in lines if line.startswith(wanted))[:500]


def _status_of(error: Exception) -> int | None:
    for line in str(error).splitlines():
        if line.startswith("Response status:"):
            number = line.removeprefix("Response status:").strip()
            return int(number) if number.isdigit() else None
    return None
