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
  organization(name: String): Organization
}
type Organization { featureFlags(rampIDType: RampIDType): [FeatureFlag!] }
enum RampIDType { OrgName }
type FeatureFlag { rampKey: String isEnabled: Boolean }
type ServerInfo { features: [ServerFeature!] latestLocalVersionInfo: JSON cliVersionInfo: JSON }
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
type Entity { id: ID! name: String! xxhashDigestsEnabled: Boolean }
type Project {
  id: ID! internalId: ID name: String! entity: Entity! entityName: String readOnly: Boolean
  runCount(filters: JSONString): Int
  run(name: String!): Run
  bucket(name: String!, missingOk: Boolean): Run
  runs(filters: JSONString, after: String, first: Int, order: String): RunConnection
}
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
  sampledHistory(specs: [JSONString!]!): [JSON]
  parquetHistory(liveKeys: [String!]!): ParquetHistory
  files(names: [String], after: String, first: Int, pattern: String): FileConnection
}
type ParquetHistory { parquetUrls: [String!] liveData: [JSON!] }
type FileConnection { edges: [FileEdge!]! pageInfo: PageInfo! }
type FileEdge { node: File cursor: String }
type File {
  id: ID! name: String! url(upload: Boolean): String directUrl: String sizeBytes: Int64
  mimetype: String updatedAt: DateTime md5: String uploadUrl: String
}
type Mutation {
  upsertBucket(input: UpsertBucketInput!): UpsertBucketPayload
  upsertModel(input: UpsertModelInput!): UpsertModelPayload
  deleteRun(input: DeleteRunInput!): DeleteRunPayload
  createRunFiles(input: CreateRunFilesInput!): CreateRunFilesPayload
  markRunFilesUploaded(input: CreateRunFilesInput!): MarkRunFilesUploadedPayload
}
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
