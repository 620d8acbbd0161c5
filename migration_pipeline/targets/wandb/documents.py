"""What is asked of W&B's GraphQL: the fields that the SDK's own documents use, and no others.

`apis/public/runs.py` and `files.py` for reading, `sdk/internal/internal_api.py` upsert_run and
wandb-core's api/graphql for writing.
"""

from __future__ import annotations

VIEWER = "query Viewer { viewer { id entity username teams { edges { node { name } } } } }"
FEATURES = "query ServerFeaturesQuery { serverInfo { features { name isEnabled } } }"
_RUN = """
fragment RunParts on Run {
  id name displayName state tags config group jobType notes historyLineCount
}
"""
RUNS = (
    """
query Runs($project: String!, $entity: String!, $cursor: String, $perPage: Int, $filters: JSONString) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, after: $cursor, first: $perPage, order: "+created_at") {
      edges { node { ...RunParts } cursor }
      pageInfo { endCursor hasNextPage }
    }
  }
}
"""  # noqa: E501
    + _RUN
)
FIND = (
    """
query FindRun($project: String!, $entity: String!, $name: String!, $filters: JSONString) {
  project(name: $project, entityName: $entity) {
    run(name: $name) { ...RunParts }
    runs(filters: $filters, first: 50, order: "+created_at") { edges { node { ...RunParts } } }
  }
}
"""
    + _RUN
)
UPSERT = (
    """
mutation UpsertBucket(
  $id: String, $name: String, $project: String, $entity: String, $groupName: String,
  $displayName: String, $notes: String, $config: JSONString, $jobType: String, $state: String,
  $tags: [String!]
) {
  upsertBucket(input: {
    id: $id, name: $name, groupName: $groupName, modelName: $project, entityName: $entity,
    displayName: $displayName, notes: $notes, config: $config, jobType: $jobType, state: $state,
    tags: $tags
  }) { bucket { ...RunParts } inserted }
}
"""
    + _RUN
)
DELETE = """
mutation DeleteRun($id: ID!, $deleteArtifacts: Boolean) {
  deleteRun(input: {id: $id, deleteArtifacts: $deleteArtifacts}) { clientMutationId }
}
"""
HISTORY = """
query HistoryPage(
  $entity: String!, $project: String!, $run: String!, $minStep: Int64!, $maxStep: Int64!,
  $pageSize: Int!
) {
  project(name: $project, entityName: $entity) {
    run(name: $run) { history(minStep: $minStep, maxStep: $maxStep, samples: $pageSize) }
  }
}
"""
CREATE_FILES = """
mutation CreateRunFiles($entity: String!, $project: String!, $run: String!, $files: [String!]!) {
  createRunFiles(
    input: {entityName: $entity, projectName: $project, runName: $run, files: $files}
  ) { runID uploadHeaders files { name uploadUrl } }
}
"""
UPLOADED = """
mutation MarkRunFilesUploaded(
  $entity: String!, $project: String!, $run: String!, $files: [String!]!
) {
  markRunFilesUploaded(
    input: {entityName: $entity, projectName: $project, runName: $run, files: $files}
  ) { success }
}
"""
FILES = """
query RunFiles(
  $project: String!, $entity: String!, $name: String!, $fileCursor: String, $fileLimit: Int
) {
  project(name: $project, entityName: $entity) {
    run(name: $name) {
      files(after: $fileCursor, first: $fileLimit) {
        edges { node { name directUrl sizeBytes } cursor }
        pageInfo { endCursor hasNextPage }
      }
    }
  }
}
"""
