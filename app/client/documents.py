"""The GraphQL operations of the commands."""

from __future__ import annotations

from graphql import parse

FIND_PIPELINES = parse("""
query FindPipelines($name: String!, $after: String) {
  pipelines(first: 100, after: $after, filter: {name: $name}, orderBy: CREATED_AT_DESC) {
    nodes { id name }
    pageInfo { hasNextPage endCursor }
  }
}
""")

CREATE_PIPELINE = parse("""
mutation CreatePipeline($input: CreatePipelineInput!) {
  createPipeline(input: $input) { pipeline { id } errors { message path } }
}
""")

UPDATE_PIPELINE = parse("""
mutation UpdatePipeline($input: UpdatePipelineInput!) {
  updatePipeline(input: $input) { pipeline { id } errors { message path } }
}
""")

START_RUN = parse("""
mutation StartRun($input: StartRunInput!) {
  startRun(input: $input) { run { id } errors { message path } }
}
""")

CANCEL_RUN = parse("""
mutation CancelRun($input: CancelRunInput!) {
  cancelRun(input: $input) { run { id status } errors { message path } }
}
""")

RUN = parse("""
query Run($id: ID!) {
  run(id: $id) {
    id status lastEventSeq startedAt completedAt executionTime errorMessage
    pipeline { id name }
    stageRuns {
      id name position status attemptNumber executionTime attempts { startedAt }
      cpuUsage memoryUsage metrics errorMessage cacheHit
      dependencies { id }
    }
  }
}
""")

RUN_EVENTS = parse("""
subscription RunEvents($runId: ID!, $after: String) {
  runEvents(runId: $runId, after: $after) {
    cursor
    events {
      kind at
      ... on RunProgress { runStatus }
      ... on RunFinished { errorMessage run { executionTime } }
      ... on StageProgress { stageRunId stageStatus attempt }
      ... on AttemptOutcome { finishReason errorMessage }
      ... on StageRetryScheduled { waitSeconds }
      ... on StageFinished { stageRun { executionTime cpuUsage memoryUsage metrics cacheHit } }
    }
    resyncRequired { missedTo }
  }
}
""")

RESOURCE_SAMPLES = parse("""
subscription ResourceSamples($runId: ID!, $after: String) {
  resourceSamples(runId: $runId, after: $after) {
    cursor
    samples { stageRunId cpuPercent memoryMb }
  }
}
""")

STAGE_LOG = parse("""
subscription StageLog($stageRunId: ID!, $afterOffset: BigInt) {
  stageLog(stageRunId: $stageRunId, afterOffset: $afterOffset) { text }
}
""")

LOG_END = parse("""
query LogEnd($id: ID!, $lastBytes: BigInt!) {
  stageRun(id: $id) { name log(afterOffset: $lastBytes) { text } }
}
""")

RUN_REPORT = parse("""
query RunReport($id: ID!) {
  run(id: $id) {
    status executionTime errorMessage
    pipeline { id name }
    stageRuns {
      id name status allowFailure executionTime metrics outputData errorMessage cacheHit
      attempts { cpuSeconds peakMemoryBytes }
    }
  }
}
""")

RUN_ARTIFACTS = parse("""
query RunArtifacts($id: ID!, $after: String) {
  run(id: $id) {
    artifacts(first: 200, after: $after) {
      nodes {
        name artifactType fileSize downloadUrl relativePath
        stageRun { name }
        model { algorithm framework metrics }
      }
      pageInfo { hasNextPage endCursor }
    }
  }
}
""")

EXISTING = parse("""
query Existing($ids: [ID!]!) { nodes(ids: $ids) { id } }
""")

LINEAGE = parse("""
query Lineage($id: ID!, $direction: LineageDirection!, $depth: Int!) {
  node(id: $id) {
    id
    ... on Artifact { lineage(direction: $direction, depth: $depth, first: 500) { ...Tree } }
    ... on StageRun { lineage(direction: $direction, depth: $depth, first: 500) { ...Tree } }
    ... on Dataset { artifactId lineage(direction: $direction, depth: $depth, first: 500) { ...Tree } }
    ... on Model { artifactId lineage(direction: $direction, depth: $depth, first: 500) { ...Tree } }
  }
}
fragment Tree on Lineage {
  isTruncated
  edges { from to }
  nodes {
    nodeId
    artifact { name artifactType relativePath }
    stageRun { name run { id pipeline { name } } }
  }
}
""")
