"""Objects that the operations of the 2.x protocol take and answer with, by name.

A line is `field`, `field:type`, `field:Model` or `field:[Model]`. The client reads answers by
attribute, so an object needs a named model. A field without a type may hold anything. Fields that
a model leaves out arrive all the same, as plain values.
"""

_ATTRIBUTE_TYPES = (
    "float int bool string datetime experimentState file fileSet floatSeries stringSeries "
    "imageSeries stringSet gitRef notebookRef artifact"
)

MODELS: dict[str, str] = {
    "ClientConfig": "apiUrl applicationUrl pyLibVersions:Versions multiPartUpload:MultiPart "
    "artifacts:ArtifactsConfig sysNameSetByBackend:boolean",
    "Versions": "minRecommendedVersion minCompatibleVersion maxCompatibleVersion",
    "MultiPart": "enabled:boolean minChunkSize:integer maxChunkSize:integer maxChunkCount:integer "
    "maxSinglePartSize:integer",
    "ArtifactsConfig": "enabled:boolean apiVersion:integer",
    "AuthTokens": "accessToken refreshToken username",
    "Organization": "id name organizationType userRole",
    "Member": "role registeredMemberInfo:MemberInfo",
    "MemberInfo": "username firstName lastName",
    "ServiceAccount": "id name displayName organizationId",
    "ProjectServiceAccount": "role serviceAccountInfo:ServiceAccount",
    "WorkspaceStatus": "storageBytesLimit:integer storageBytesAvailable:integer "
    "activeProjectsUsage:integer activeProjectsLimit:integer membersCount:integer",
    "Project": "id name organizationName organizationId projectKey version:integer visibility "
    "description archived:boolean timeOfCreation:date-time lastActivity:date-time",
    "ProjectList": "entries:[Project] matchingItemCount:integer totalItemCount:integer",
    "CreationParams": "projectIdentifier parentId type cliVersion key customId gitInfo:GitInfo "
    "notebookId checkpointId _externalId _externalSysId",
    "GitInfo": "commit:Commit repositoryDirty:boolean currentBranch remotes:[string]",
    "Commit": "commitId message authorName authorEmail commitDate:date-time",
    "Experiment": "id type shortId organizationName organizationId projectId projectName parentId "
    "trashed:boolean",
    "Checkpoint": "id",
    "BatchUpdate": "errors:[BatchError] updatedExperimentIdentifiers:[string]",
    "BatchError": "experimentIdentifier message reason",
    "Entries": "matchingItemCount:integer entries:[Entry]",
    "Entry": "experimentId type organizationName organizationId projectName projectId shortId "
    "trashed:boolean attributes:[Attribute]",
    "AttributeNames": "entries:[AttributeName]",
    "AttributeName": "name type",
    "Attributes": "id type organizationName projectName attributes:[Attribute] "
    "systemAttributes:SystemAttributes",
    "SystemAttributes": "shortId:Value name:Value description:Value owner:Value "
    "creationTime:DatetimeValue runningTime:Value size:Value state:Value tags:StringSetValue "
    "hostname:Value",
    "Attribute": "name type "
    + " ".join(f"{name}Properties:{name}Properties" for name in _ATTRIBUTE_TYPES.split()),
    "floatProperties": "attributeName attributeType value",
    "intProperties": "attributeName attributeType value",
    "boolProperties": "attributeName attributeType value",
    "stringProperties": "attributeName attributeType value",
    "datetimeProperties": "attributeName attributeType value:date-time",
    "experimentStateProperties": "attributeName attributeType value",
    "fileProperties": "attributeName attributeType name ext size:integer",
    "fileSetProperties": "attributeName attributeType size:integer",
    "floatSeriesProperties": "attributeName attributeType last lastStep min max average variance",
    "stringSeriesProperties": "attributeName attributeType last lastStep",
    "imageSeriesProperties": "attributeName attributeType lastStep",
    "stringSetProperties": "attributeName attributeType values:[string]",
    "gitRefProperties": "attributeName attributeType commit:Commit repositoryDirty:boolean "
    "currentBranch remotes:[string]",
    "notebookRefProperties": "attributeName attributeType notebookId notebookName checkpointId",
    "artifactProperties": "attributeName attributeType hash",
    "Value": "attributeName attributeType value",
    "DatetimeValue": "attributeName attributeType value:date-time",
    "FileValue": "attributeName attributeType name ext size:integer",
    "StringSetValue": "attributeName attributeType values:[string]",
    "ArtifactValue": "attributeName attributeType hash",
    "FloatSeries": "attributeName attributeType last lastStep min max average variance "
    "config:SeriesConfig",
    "SeriesConfig": "min max unit",
    "StringSeries": "attributeName attributeType last lastStep",
    "Points": "totalItemCount:integer values:[Point]",
    "Point": "step timestampMillis:integer value imageUrl fileUrl htmlUrl",
    "DownloadRequest": "id downloadUrl",
    "FileEntry": "name size:integer mtime:date-time fileType",
    "OperationError": "errorDescription errorType",
    "Uploaded": "errors:[OperationError] uploadId",
    "Artifact": "artifactHash receivedMetadata:boolean size:integer projectId",
    "ArtifactFiles": "files:[ArtifactFile]",
    "ArtifactFile": "filePath fileHash type size:integer metadata:[KeyValue]",
    "KeyValue": "key value",
}
