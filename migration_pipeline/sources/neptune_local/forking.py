"""From which run a 3.x run was forked, by the operation that created it."""

from __future__ import annotations

from google.protobuf.message import DecodeError
from neptune_query.generated.neptune_api.proto.neptune_pb.ingest.v1 import common_pb2

from migration_pipeline.sources.neptune_local.database import Operation


def parent_of(operation: Operation | None) -> str | None:
    """The parent's run id; None where the operation is no creation, or of no fork."""
    if operation is None or operation[1] != 1:
        return None
    try:
        run = common_pb2.Run.FromString(operation[2])
    except DecodeError:
        return None
    return run.fork_point.parent_run_id or None if run.HasField("fork_point") else None
