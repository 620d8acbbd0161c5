"""What is asked of W&B for which `wandb.Api` has no call, or one that costs a request a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

MORE_OF_RUNS = """
query MoreOfRuns($project: String!, $entity: String!, $filters: JSONString, $first: Int) {
  project(name: $project, entityName: $entity) {
    runs(filters: $filters, first: $first) {
      edges { node { name eventsLineCount config outputArtifacts(first: 1) { totalCount } } }
    }
  }
}
"""
SYSTEM_METRICS = """
query SystemMetrics($project: String!, $entity: String!, $name: String!, $samples: Int) {
  project(name: $project, entityName: $entity) { run(name: $name) { events(samples: $samples) } }
}
"""
STILL_THERE = """
query StillThere($project: String!, $entity: String!, $name: String!) {
  project(name: $project, entityName: $entity) { id run(name: $name) { id } }
}
"""


@dataclass(frozen=True)
class More:
    """Of one run.

    Args:
        system_rows: of system metrics, as the server counts them.
        artifacts: that it logged.
        internal: `_wandb` of its config, which the SDK drops from a run in a list.
    """

    system_rows: int
    artifacts: int
    internal: Any

    @classmethod
    def of(cls, node: dict[str, Any]) -> More:
        """From an answer to `MORE_OF_RUNS`."""
        own = json.loads(node["config"] or "{}").get("_wandb")
        return cls(
            int(node["eventsLineCount"] or 0),
            int((node["outputArtifacts"] or {}).get("totalCount") or 0),
            own.get("value") if isinstance(own, dict) else None,
        )
