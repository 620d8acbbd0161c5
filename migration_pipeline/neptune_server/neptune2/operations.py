"""Every operation of the 2.x protocol: its name, address, parameters and answer, in one table.

The 2.x client knows three addresses, those of three swagger documents; everything else it calls by
`operationId` and takes method, path and place of parameters from the document. So this table is
the protocol: `swagger` turns it into the documents, `serving` into routes.

Notation. Parameters are words: `name`, `name:integer|boolean` or `name[]` (repeated in the query).
Those in the path's braces go there; `header` names are headers, `body` is the name that the client
passes the body under. An answer is the name of a model, `[Model]` a list of it, empty: anything.
Names and addresses: what the clients pass, and the vendor's published interface.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Document = Literal["backend", "leaderboard", "artifacts"]
_BACKEND = "/api/backend/v1"
_BOARD = "/api/leaderboard/v1"
_ATTRIBUTES = f"{_BOARD}/attributes"
_UPLOAD = f"{_ATTRIBUTES}/storage"
_ARTIFACT = "/api/artifacts/v1/artifact"


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; see the module for the notation."""

    id: str
    method: str
    path: str
    parameters: str = ""
    answer: str = ""
    body: str = ""
    body_model: str = ""
    header: str = ""

    @property
    def document(self) -> Document:
        """Which of the three documents describes it."""
        documents: dict[str, Document] = {
            "backend": "backend",
            "leaderboard": "leaderboard",
            "artifacts": "artifacts",
        }
        return documents[self.path.split("/")[2]]


_EA = "experimentId attribute"
_PAGE = "limit:integer offset:integer"
_UP = "experimentIdentifier attribute contentHash"

OPERATIONS: tuple[Operation, ...] = (
    # Who asks, and where.
    Operation(
        "getClientConfig",
        "GET",
        f"{_BACKEND}/clients/config",
        "alpha",
        "ClientConfig",
        header="X-Neptune-Api-Token",
    ),
    Operation(
        "exchangeApiToken",
        "GET",
        f"{_BACKEND}/authorization/oauth-token",
        answer="AuthTokens",
        header="X-Neptune-Api-Token",
    ),
    Operation("listOrganizations", "GET", f"{_BACKEND}/myOrganizations", answer="[Organization]"),
    Operation(
        "listOrganizationMembers",
        "GET",
        f"{_BACKEND}/organizations2/{{organizationIdentifier}}/members",
        "organizationIdentifier",
        "[Member]",
    ),
    Operation(
        "listServiceAccounts",
        "GET",
        f"{_BACKEND}/organizations2/{{organizationIdentifier}}/serviceAccounts",
        "organizationIdentifier deactivated:boolean",
        "[ServiceAccount]",
    ),
    Operation(
        "workspaceStatus",
        "GET",
        f"{_BACKEND}/payments/{{organizationIdentifier}}/status",
        "organizationIdentifier",
        "WorkspaceStatus",
    ),
    Operation(
        "createOrganizationInvitations",
        "POST",
        f"{_BACKEND}/invitations/organization",
        body="newOrganizationInvitations",
    ),
    # Projects and who may see them.
    Operation(
        "listProjects",
        "GET",
        f"{_BACKEND}/projects",
        "organizationIdentifier userRelation searchTerm sortBy[] sortDirection[] " + _PAGE,
        "ProjectList",
    ),
    Operation(
        "getProject", "GET", f"{_BACKEND}/projects/get", "projectIdentifier", answer="Project"
    ),
    Operation(
        "createProject", "POST", f"{_BACKEND}/projects", answer="Project", body="projectToCreate"
    ),
    Operation("deleteProject", "DELETE", f"{_BACKEND}/projects", "projectIdentifier"),
    Operation(
        "listProjectMembers",
        "GET",
        f"{_BACKEND}/projects/membersOf",
        "projectIdentifier",
        "[Member]",
    ),
    Operation(
        "addProjectMember",
        "POST",
        f"{_BACKEND}/projects/members",
        "projectIdentifier",
        "Member",
        body="member",
    ),
    Operation(
        "deleteProjectMember",
        "DELETE",
        f"{_BACKEND}/projects/members/{{userId}}",
        "projectIdentifier userId",
        "Member",
    ),
    Operation(
        "listProjectServiceAccounts",
        "GET",
        f"{_BACKEND}/projects/service_accounts",
        "projectIdentifier",
        "[ProjectServiceAccount]",
    ),
    Operation(
        "addProjectServiceAccount",
        "POST",
        f"{_BACKEND}/projects/service_accounts",
        "projectIdentifier",
        "ProjectServiceAccount",
        body="account",
    ),
    Operation(
        "deleteProjectServiceAccount",
        "DELETE",
        f"{_BACKEND}/projects/service_accounts/{{serviceAccountId}}",
        "projectIdentifier serviceAccountId",
        "ProjectServiceAccount",
    ),
    # Runs, models, model versions, project metadata.
    Operation(
        "createExperiment",
        "POST",
        f"{_BOARD}/experiments",
        answer="Experiment",
        body="experimentCreationParams",
        body_model="CreationParams",
        header="X-Neptune-CliVersion",
    ),
    Operation("getExperiment", "GET", f"{_BOARD}/experiments", "experimentId", "Experiment"),
    Operation("ping", "POST", f"{_ATTRIBUTES}/ping", "experimentId"),
    Operation(
        "createEmptyCheckpoint",
        "POST",
        f"{_BOARD}/notebooks/{{notebookId}}/checkpoints2",
        "notebookId",
        "Checkpoint",
        body="checkpoint",
    ),
    Operation(
        "trashExperiments",
        "POST",
        f"{_BOARD}/experiments/trash",
        "projectIdentifier",
        "BatchUpdate",
        body="experimentIdentifiers",
    ),
    Operation(
        "deleteExperiments",
        "POST",
        f"{_BOARD}/experiments/trash/delete",
        "projectIdentifier",
        "BatchUpdate",
        body="experimentIdentifiers",
    ),
    Operation(
        "deleteAllExperiments",
        "POST",
        f"{_BOARD}/experiments/trash/deleteAll",
        "projectIdentifier",
        "BatchUpdate",
    ),
    # Tables.
    Operation(
        "searchLeaderboardEntries",
        "POST",
        f"{_BOARD}/leaderboard/entries/search",
        "projectIdentifier type[]",
        "Entries",
        body="params",
    ),
    Operation(
        "searchLeaderboardAttributes",
        "POST",
        f"{_BOARD}/leaderboard/attributes/search",
        "projectIdentifier search type[] limit:integer",
        "AttributeNames",
        body="params",
    ),
    # Attributes: all, one, points.
    Operation("getExperimentAttributes", "GET", _ATTRIBUTES, "experimentId", "Attributes"),
    Operation("getFloatAttribute", "GET", f"{_ATTRIBUTES}/floats", _EA, "Value"),
    Operation("getIntAttribute", "GET", f"{_ATTRIBUTES}/integers", _EA, "Value"),
    Operation("getBoolAttribute", "GET", f"{_ATTRIBUTES}/booleans", _EA, "Value"),
    Operation("getStringAttribute", "GET", f"{_ATTRIBUTES}/strings", _EA, "Value"),
    Operation("getDatetimeAttribute", "GET", f"{_ATTRIBUTES}/datetimes", _EA, "DatetimeValue"),
    Operation("getFileAttribute", "GET", f"{_ATTRIBUTES}/files", _EA, "FileValue"),
    Operation("getStringSetAttribute", "GET", f"{_ATTRIBUTES}/stringSets", _EA, "StringSetValue"),
    Operation("getArtifactAttribute", "GET", f"{_ATTRIBUTES}/artifacts", _EA, "ArtifactValue"),
    Operation("getFloatSeriesAttribute", "GET", f"{_ATTRIBUTES}/floatSeries", _EA, "FloatSeries"),
    Operation(
        "getStringSeriesAttribute", "GET", f"{_ATTRIBUTES}/stringSeries", _EA, "StringSeries"
    ),
    Operation(
        "getFloatSeriesValues",
        "GET",
        f"{_ATTRIBUTES}/series/float",
        f"{_EA} {_PAGE}",
        "Points",
    ),
    Operation(
        "getStringSeriesValues",
        "GET",
        f"{_ATTRIBUTES}/series/string",
        f"{_EA} {_PAGE}",
        "Points",
    ),
    Operation(
        "getFloatSeriesValuesCSV",
        "GET",
        f"{_ATTRIBUTES}/floatSeries/csv",
        f"{_EA} gzipped expectedContentDisposition",
    ),
    Operation(
        "getStringSeriesValuesCSV",
        "GET",
        f"{_ATTRIBUTES}/stringSeries/csv",
        f"{_EA} gzipped expectedContentDisposition",
    ),
    Operation(
        "getImageSeriesValues",
        "GET",
        f"{_ATTRIBUTES}/series/image",
        f"{_EA} {_PAGE}",
        "Points",
    ),
    Operation(
        "getImageSeriesValue", "GET", f"{_ATTRIBUTES}/series/image/single", f"{_EA} index:integer"
    ),
    # minfx.neptune_v2 alone knows these two.
    Operation(
        "getFileSeriesValues",
        "GET",
        f"{_ATTRIBUTES}/series/file",
        f"{_EA} {_PAGE}",
        "Points",
    ),
    Operation(
        "getHtmlSeriesValues",
        "GET",
        f"{_ATTRIBUTES}/series/html",
        f"{_EA} {_PAGE}",
        "Points",
    ),
    Operation("getImageSeriesValuesZip", "GET", f"{_ATTRIBUTES}/imageSeries/zip", _EA),
    # Bytes out.
    Operation("downloadAttribute", "GET", f"{_ATTRIBUTES}/download", f"{_EA} path"),
    Operation(
        "prepareForDownloadFileSetAttributeZip",
        "POST",
        f"{_ATTRIBUTES}/downloadFileSetZipRequest",
        _EA,
        "DownloadRequest",
    ),
    Operation(
        "getDownloadPrepareRequest",
        "GET",
        f"{_BOARD}/download/downloadRequest",
        "id",
        "DownloadRequest",
    ),
    Operation("lsFileSetAttribute", "GET", f"{_ATTRIBUTES}/ls", f"{_EA} path", "[FileEntry]"),
    # Writing.
    Operation(
        "executeOperations",
        "POST",
        f"{_ATTRIBUTES}/operations",
        "experimentId organizationName",
        "[OperationError]",
        body="operations",
    ),
    Operation("fileAtomUpload", "POST", f"{_UPLOAD}/file/upload", f"{_UP} ext", "Uploaded"),
    Operation(
        "fileAtomMultipartUploadStart",
        "POST",
        f"{_UPLOAD}/file/upload/start",
        f"{_UP} ext totalLength:integer",
        "Uploaded",
    ),
    Operation(
        "fileAtomMultipartUploadPart",
        "POST",
        f"{_UPLOAD}/file/upload/part",
        f"{_UP} uploadId uploadPartIdx:integer",
        "Uploaded",
        header="X-Range",
    ),
    Operation(
        "fileAtomMultipartUploadFinish",
        "POST",
        f"{_UPLOAD}/file/upload/finish",
        f"{_UP} uploadId",
        "Uploaded",
    ),
    Operation(
        "fileSetFileUpload", "POST", f"{_UPLOAD}/fileset/upload", f"{_UP} subPath", "Uploaded"
    ),
    Operation(
        "fileSetFileMultipartUploadStart",
        "POST",
        f"{_UPLOAD}/fileset/upload/start",
        f"{_UP} subPath totalLength:integer",
        "Uploaded",
    ),
    Operation(
        "fileSetFileMultipartUploadPart",
        "POST",
        f"{_UPLOAD}/fileset/upload/part",
        f"{_UP} subPath uploadId uploadPartIdx:integer",
        "Uploaded",
        header="X-Range",
    ),
    Operation(
        "fileSetFileMultipartUploadFinish",
        "POST",
        f"{_UPLOAD}/fileset/upload/finish",
        f"{_UP} subPath uploadId",
        "Uploaded",
    ),
    Operation(
        "uploadFileSetAttributeTar",
        "POST",
        f"{_ATTRIBUTES}/uploadFileSetTar",
        f"{_EA} reset contentHash",
        "Uploaded",
    ),
    # Artifacts: lists of files that lie elsewhere.
    Operation(
        "createNewArtifact",
        "PUT",
        _ARTIFACT,
        "projectIdentifier hash size:integer parentIdentifier",
        "Artifact",
    ),
    Operation(
        "createArtifactVersion",
        "POST",
        _ARTIFACT,
        "projectIdentifier hash parentIdentifier",
        "Artifact",
        body="artifactFilesDTO",
    ),
    Operation(
        "uploadArtifactFilesMetadata",
        "PUT",
        f"{_ARTIFACT}/files",
        "projectIdentifier hash",
        "Artifact",
        body="artifactFilesDTO",
    ),
    Operation(
        "listArtifactFiles",
        "GET",
        f"{_ARTIFACT}/files",
        "projectIdentifier hash",
        "ArtifactFiles",
    ),
)
