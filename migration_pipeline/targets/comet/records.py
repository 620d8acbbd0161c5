"""Experiments, parameters, metrics, others and assets at Comet, as JSON of its endpoints."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from migration_pipeline.targets.comet import histograms
from migration_pipeline.targets.comet.capabilities import EXPERIMENTS_PER_QUESTION, TAGS_PER_REQUEST
from migration_pipeline.targets.comet.connection import Connection
from migration_pipeline.targets.comet.naming import MARKS

READING = "reading a run"


class Records:
    """What is asked of Comet, and told it; used by several threads."""

    def __init__(self, to: Connection) -> None:
        self._to = to

    # --- experiments ----------------------------------------------------------------------------

    def has_project(self, name: str) -> bool:
        asked = {"workspaceName": self._to.workspace}
        found = self._to.get("projects", asked, f"looking for the workspace {self._to.workspace!r}")
        return any(one.get("projectName") == name for one in found.get("projects") or ())

    def experiments(self, project: str) -> list[str]:
        """Keys of all that are not archived."""
        asked = {"workspaceName": self._to.workspace, "projectName": project, "archived": False}
        found = self._to.get("experiments", asked, "listing experiments")
        return [str(one["experimentKey"]) for one in found.get("experiments") or ()]

    def marks(self, keys: Sequence[str]) -> dict[str, dict[str, str]]:
        """Experiment key → our marks on it, of those that have any."""
        found: dict[str, dict[str, str]] = {}
        for start in range(0, len(keys), EXPERIMENTS_PER_QUESTION):
            payload = {
                "targetedExperiments": list(keys[start : start + EXPERIMENTS_PER_QUESTION]),
                "metrics": [],
                "params": list(MARKS.values()),
                "independentMetrics": True,
                "fetchFull": False,
            }
            doing = "reading the marks of runs"
            answer = self._to.post("experiments/multi-metric-chart", payload, doing)
            for key, held in (answer.get("experiments") or {}).items():
                params = held.get("params") or {}
                marks = {name: params[p] for name, p in MARKS.items() if params.get(p) is not None}
                if marks:
                    found[key] = {name: str(value) for name, value in marks.items()}
        return found

    def metadata(self, key: str) -> dict[str, Any] | None:
        """None: there is no such experiment."""
        found = self._to.find("experiment/metadata", {"experimentKey": key}, READING)
        return None if found is None else dict(found)

    def delete(self, key: str) -> None:
        asked = {"experimentKey": key}
        self._to.find("write/experiment/delete", asked, "deleting an experiment")

    def finish(self, key: str, start: int, end: int, failed: bool) -> None:
        """State before times: Comet may take the moment of the one for the other."""
        state = {"experimentKey": key, "isAlive": False, "error": None, "hasCrashed": failed}
        self._to.post("write/experiment/update-status", state, "setting the state")
        times = {"experimentKey": key, "startTimeMillis": start, "endTimeMillis": end}
        self._to.post("write/experiment/set-start-end-time", times, "setting start and end")

    # --- parameters, others, tags ---------------------------------------------------------------

    def put_parameters(self, key: str, values: Mapping[str, str], time: int) -> None:
        """`time`: ms."""
        given = [
            {
                "parameterName": name,
                "parameterValue": value,
                "step": None,
                "source": "manual",
                "context": None,
                "timestamp": time,
            }
            for name, value in values.items()
        ]
        body = json.dumps({"experimentKey": key, "values": given}, ensure_ascii=False)
        self._to.log_parameters(body.encode(), len(given))

    def put_other(self, key: str, name: str, value: str, time: int) -> None:
        said = {"experimentKey": key, "key": name, "value": value, "timestamp": time}
        self._to.post("write/experiment/log-other", said, f"logging {name}")

    def put_tags(self, key: str, tags: Sequence[str]) -> None:
        for start in range(0, len(tags), TAGS_PER_REQUEST):
            added = list(tags[start : start + TAGS_PER_REQUEST])
            said = {"experimentKey": key, "addedTags": added}
            self._to.post("write/experiment/tags", said, "adding tags")

    def parameters(self, key: str) -> dict[str, str]:
        return _current(self._to.get("experiment/parameters", {"experimentKey": key}, READING))

    def others(self, key: str) -> dict[str, str]:
        return _current(self._to.get("experiment/log-other", {"experimentKey": key}, READING))

    def tags(self, key: str) -> set[str]:
        found = self._to.get("experiment/tags", {"experimentKey": key}, READING)
        return set(found.get("tags") or ())

    # --- metrics, assets ------------------------------------------------------------------------

    def metric_names(self, key: str) -> list[str]:
        found = self._to.get("experiment/metrics/summary", {"experimentKey": key}, READING)
        return [str(one["name"]) for one in found.get("values") or ()]

    def points(self, key: str, metric: str) -> list[dict[str, Any]]:
        """What Comet shows of a metric, in any order."""
        asked = {"experimentKey": key, "metricName": metric}
        found = self._to.get("experiment/metrics/get-metric", asked, READING)
        return list(found.get("metrics") or ())

    def assets(self, key: str) -> dict[str, str]:
        """Name → id of files; of several with one name the latest."""
        asked = {"experimentKey": key, "type": "all"}
        found = self._to.get("experiment/asset/list", asked, READING)
        listed: Iterable[dict[str, Any]] = found.get("assets") or ()
        ordered = sorted(listed, key=lambda one: one.get("createdAt") or 0)
        return {
            str(one["fileName"]): str(one["assetId"])
            for one in ordered
            if one.get("type") != histograms.TYPE
        }


def _current(summary: Mapping[str, Any]) -> dict[str, str]:
    values: Collection[dict[str, Any]] = summary.get("values") or ()
    return {str(one["name"]): str(one["valueCurrent"]) for one in values}
