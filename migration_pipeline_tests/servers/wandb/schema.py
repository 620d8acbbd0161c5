"""The part of W&B's GraphQL schema that its SDK 0.29 asks for: what is not in here is refused, as
the service refuses it. Put together from the documents that the SDK and its wandb-core send (C)."""

from __future__ import annotations

import functools
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    build_schema,
    execute_sync,
    parse,
    validate,
)

_SDL = """
scalar JSONString
scalar JSON
scalar Int64
scalar DateTime

type Query {
  viewer: User
  entity(name: String): Entity
  project(name: String, entityName: String): Project
  model(name: String, entityName: String): Project
  serverInfo: ServerInfo
  models(entityName: String, after: String, first: Int): ProjectConnection
  artifact(id: ID!): Artifact
  clientIDMapping(clientID: ID!): ClientIDMapping
  organization(name: String): Organization
}
type Organization {
  name: String coreWeaveOrganizationId: String featureFlags(rampIDType: RampIDType): [FeatureFlag!]
}
enum RampIDType { OrgName }
type FeatureFlag { rampKey: String isEnabled: Boolean }
type ServerInfo {
  features: [ServerFeature!] latestLocalVersionInfo: LocalVersionInfo cliVersionInfo: JSON
}
type LocalVersionInfo {
  outOfDate: Boolean latestVersionString: String versionOnThisInstanceString: String
}
type ClientIDMapping { serverID: ID }
type ServerFeature { name: String! isEnabled: Boolean! }
type Team { name: String }
type TeamEdge { node: Team }
type TeamConnection { edges: [TeamEdge!]! }
type ApiKey { id: ID! name: String description: String }
type ApiKeyEdge { node: ApiKey }
type ApiKeyConnection { edges: [ApiKeyEdge!]! }
type User {
  id: ID! name: String username: String email: String admin: Boolean flags: JSONString
  entity: String deletedAt: DateTime teams: TeamConnection apiKeys: ApiKeyConnection
}
type Entity {
  id: ID! name: String! xxhashDigestsEnabled: Boolean organization: Organization
}
type Project {
  id: ID! internalId: ID name: String! entity: Entity! entityName: String readOnly: Boolean
  runCount(filters: JSONString): Int
  run(name: String!): Run
  bucket(name: String!, missingOk: Boolean): Run
  runs(filters: JSONString, after: String, first: Int, order: String): RunConnection
  createdAt: DateTime isBenchmark: Boolean user: User totalSweeps: Int
  sweeps(after: String, first: Int, filters: JSONString): SweepConnection
  sweep(sweepName: String!): Sweep
  artifactType(name: String!): ArtifactType
  artifactCollection(name: String!): ArtifactCollection
}
type ProjectConnection { edges: [ProjectEdge!]! pageInfo: PageInfo! }
type ProjectEdge { node: Project cursor: String }
type SweepConnection { edges: [SweepEdge!]! pageInfo: PageInfo! }
type SweepEdge { node: Sweep cursor: String }
type Sweep {
  id: ID! name: String! displayName: String method: String state: String description: String
  bestLoss: Float config: String createdAt: DateTime updatedAt: DateTime runCount: Int
  runCountExpected: Int project: Project
}
type ArtifactType {
  name: String! artifactCollection(name: String!): ArtifactCollection
}
interface ArtifactCollection {
  name: String! project: Project artifactMembership(aliasName: String!): ArtifactMembership
}
type ArtifactSequence implements ArtifactCollection {
  id: ID! name: String! project: Project artifactMembership(aliasName: String!): ArtifactMembership
  digestAlgorithm: String latestArtifact: Artifact
}
type ArtifactMembership {
  files(names: [String!], after: String, first: Int): FileConnection
}
type ArtifactAlias { id: ID! alias: String! artifactCollection: ArtifactCollection }
type Tag { id: ID! name: String! }
type Artifact {
  id: ID! artifactSequence: ArtifactSequence! versionIndex: Int artifactType: ArtifactType!
  description: String metadata: JSONString ttlDurationSeconds: Int64 ttlIsInherited: Boolean
  tags: [Tag!]! historyStep: Int64 state: String size: Int64 digest: String digestAlgorithm: String
  commitHash: String fileCount: Int64 createdAt: DateTime updatedAt: DateTime
  aliases: [ArtifactAlias!]! currentManifest: ArtifactManifest
}
type ArtifactManifest { id: ID! file: File }
type ArtifactConnection {
  edges: [ArtifactEdge!]! pageInfo: PageInfo! totalCount: Int!
}
type ArtifactEdge { node: Artifact cursor: String }
type RunConnection { edges: [RunEdge!]! pageInfo: PageInfo! totalCount: Int }
type RunEdge { node: Run cursor: String }
type PageInfo { endCursor: String hasNextPage: Boolean! }
type Run {
  id: ID! projectId: ID project: Project tags: [String!] name: String! displayName: String
  sweepName: String state: String config: JSONString group: String jobType: String commit: String
  readOnly: Boolean createdAt: DateTime heartbeatAt: DateTime description: String notes: String
  systemMetrics: JSONString summaryMetrics: JSONString historyLineCount: Int logLineCount: Int
  eventsLineCount: Int historyTail: JSONString eventsTail: JSONString user: User historyKeys: JSON
  wandbConfig(keys: [String!]): JSONString
  stopped: Boolean fileCount: Int
  history(minStep: Int64, maxStep: Int64, samples: Int): [JSONString!]
  events(samples: Int): [JSONString!]
  outputArtifacts(after: String, first: Int): ArtifactConnection
  sampledHistory(specs: [JSONString!]!): [JSON]
  parquetHistory(liveKeys: [String!]!): ParquetHistory
  files(names: [String], after: String, first: Int, pattern: String): FileConnection
}
type ParquetHistory { parquetUrls: [String!] liveData: [JSON!] }
type FileConnection { edges: [FileEdge!]! pageInfo: PageInfo! totalCount: Int }
type FileEdge { node: File cursor: String }
type File {
  id: ID! name: String! url(upload: Boolean): String directUrl: String sizeBytes: Int64
  mimetype: String updatedAt: DateTime md5: String uploadUrl: String
  displayName: String storagePath: String digest: String uploadHeaders: [String!]
  uploadMultipartUrls: MultipartUrls artifact: Artifact
}
type MultipartUrls { uploadID: ID uploadUrlParts: [UploadPart!] }
type UploadPart { partNumber: Int uploadUrl: String }
type Mutation {
  upsertBucket(input: UpsertBucketInput!): UpsertBucketPayload
  upsertModel(input: UpsertModelInput!): UpsertModelPayload
  deleteRun(input: DeleteRunInput!): DeleteRunPayload
  createRunFiles(input: CreateRunFilesInput!): CreateRunFilesPayload
  markRunFilesUploaded(input: CreateRunFilesInput!): MarkRunFilesUploadedPayload
  upsertSweep(input: UpsertSweepInput!): UpsertSweepPayload
  createArtifact(input: CreateArtifactInput!): CreateArtifactPayload
  createArtifactManifest(input: CreateArtifactManifestInput!): ArtifactManifestPayload
  createArtifactFiles(input: CreateArtifactFilesInput!): CreateArtifactFilesPayload
  commitArtifact(input: CommitArtifactInput!): CommitArtifactPayload
}
input UpsertSweepInput {
  id: ID config: String description: String entityName: String projectName: String state: String
  controller: JSONString scheduler: JSONString launchScheduler: JSONString
  templateVariableValues: JSONString priorRunsFilters: JSONString displayName: String
}
type UpsertSweepPayload { sweep: Sweep configValidationWarnings: [String!] }
input ArtifactAliasInput { artifactCollectionName: String! alias: String! }
input TagInput { tagName: String! tagCategoryName: String }
input CreateArtifactInput {
  entityName: String! projectName: String! runName: String description: String digest: String!
  digestAlgorithm: String aliases: [ArtifactAliasInput!] metadata: JSONString clientID: ID
  sequenceClientID: ID enableDigestDeduplication: Boolean ttlDurationSeconds: Int64
  tags: [TagInput!] artifactTypeName: String! artifactCollectionName: String
  artifactCollectionNames: [String!] distributedID: String historyStep: Int64 labels: JSONString
  storageRegion: String clientMutationId: String
}
type CreateArtifactPayload { artifact: Artifact! }
enum ArtifactManifestType { FULL INCREMENTAL PATCH }
input CreateArtifactManifestInput {
  artifactID: ID! baseArtifactID: ID name: String! digest: String! entityName: String!
  projectName: String! runName: String! type: ArtifactManifestType
}
type ArtifactManifestPayload { artifactManifest: ArtifactManifest! }
input CreateArtifactFileSpecInput {
  artifactID: ID! name: String! md5: String! mimetype: String artifactManifestID: ID
  uploadPartsInput: [UploadPartsInput!]
}
input UploadPartsInput { partNumber: Int64! hexMD5: String! }
input CreateArtifactFilesInput {
  artifactFiles: [CreateArtifactFileSpecInput!]! storageLayout: String cloudRegionID: String
  clientMutationId: String
}
type CreateArtifactFilesPayload { files: FileConnection! }
input CommitArtifactInput { artifactID: ID! }
type CommitArtifactPayload { artifact: Artifact! }
input UpsertBucketInput {
  id: String name: String modelName: String entityName: String groupName: String
  description: String displayName: String notes: String config: JSONString commit: String
  host: String debug: Boolean jobProgram: String jobRepo: String jobType: String state: String
  sweep: String tags: [String!] summaryMetrics: JSONString
}
type UpsertBucketPayload { bucket: Run inserted: Boolean }
input UpsertModelInput { name: String! entityName: String description: String access: String }
type UpsertModelPayload { model: Project project: Project inserted: Boolean }
input DeleteRunInput { id: ID! deleteArtifacts: Boolean }
type DeleteRunPayload { clientMutationId: String }
input CreateRunFilesInput {
  entityName: String! projectName: String! runName: String! files: [String!]!
}
type CreateRunFilesPayload { runID: ID uploadHeaders: [String!] files: [File!]! }
type MarkRunFilesUploadedPayload { success: Boolean }
"""


@functools.cache
def _schema() -> GraphQLSchema:
    return build_schema(_SDL)


@functools.lru_cache(maxsize=500)
def _document(text: str) -> DocumentNode | list[GraphQLError]:
    try:
        document = parse(text)
    except GraphQLError as error:
        return [error]
    return validate(_schema(), document) or document


def answer(text: str, variables: dict[str, Any] | None, root: Any) -> tuple[Any, list[Exception]]:
    """Data and errors of one operation; resolvers' own exceptions are among the errors."""
    document = _document(text)
    if isinstance(document, list):
        return None, list(document)
    result = execute_sync(_schema(), document, root, variable_values=variables or {})
    return result.data, [error.original_error or error for error in result.errors or ()]
