"""What the stand-in for Comet shows: account and query in, JSON or bytes out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from migration_pipeline_tests.servers.comet.account import (
    KEPT,
    NO_WORKSPACE,
    Account,
    Point,
    Refused,
    now,
    project_id,
    sample,
)

_CHART = 500
"""Points of a metric that a chart gives unless all are asked for (D: about 500)."""


def _workspace(account: Account, asked: Any) -> str:
    name = str(asked.get("workspaceName") or account.workspaces[0])
    if name not in account.workspaces:
        raise Refused(400, f"no such workspace: {name}", NO_WORKSPACE)
    return name


def _workspaces(account: Account, asked: Any) -> Any:
    return {"workspaceNames": account.workspaces}


def _projects(account: Account, asked: Any) -> Any:
    workspace = _workspace(account, asked)
    names = {one.project for one in account.experiments.values() if one.workspace == workspace}
    return {
        "projects": [
            {
                "projectId": project_id(workspace, name),
                "projectName": name,
                "workspaceName": workspace,
                "numberOfExperiments": len(account.of(workspace, name)),
            }
            for name in sorted(names)
        ]
    }


def _experiments(account: Account, asked: Any) -> Any:
    workspace = _workspace(account, asked)
    archived = str(asked.get("archived", "False")).lower() == "true"
    project = str(asked.get("projectName") or "")
    everyone = (True, False)
    if not any(account.of(workspace, project, a) for a in everyone):
        raise Refused(400, f"no such project: {project}")
    found = [one.metadata() for one in account.of(workspace, project, archived)]
    if "page" in asked:
        size = int(asked["size"])
        first = (int(asked["page"]) - 1) * size
        found = found[first : first + size]
    return {"experiments": found}


def _metadata(account: Account, asked: Any) -> Any:
    return account.to_read(asked.get("experimentKey")).metadata()


def _summary(values: dict[str, str]) -> Any:
    return {
        "values": [
            {
                "name": name,
                "valueMax": value,
                "valueMin": value,
                "valueCurrent": value,
                "timestampCurrent": now(),
                "editable": False,
            }
            for name, value in values.items()
        ]
    }


def _parameters(account: Account, asked: Any) -> Any:
    return _summary(account.to_read(asked.get("experimentKey")).parameters)


def _others(account: Account, asked: Any) -> Any:
    return _summary(account.to_read(asked.get("experimentKey")).others)


def _tags(account: Account, asked: Any) -> Any:
    return {"tags": sorted(account.to_read(asked.get("experimentKey")).tags)}


def _points(name: str, points: list[Point]) -> list[dict[str, Any]]:
    return [
        {
            "metricName": name,
            "metricValue": repr(value),
            "step": step,
            "timestamp": time,
            "epoch": epoch,
            "runContext": context,
            "offset": number,
        }
        for number, (value, step, time, epoch, context) in enumerate(points)
    ]


def _metric(account: Account, asked: Any) -> Any:
    one = account.to_read(asked.get("experimentKey"))
    name = str(asked.get("metricName"))
    return {"metrics": _points(name, one.shown(name))}


def _all_metrics(account: Account, asked: Any) -> Any:
    one = account.to_read(asked.get("experimentKey"))
    return {"metrics": [p for name in one.metrics for p in _points(name, one.shown(name))]}


def _metric_summary(account: Account, asked: Any) -> Any:
    one = account.to_read(asked.get("experimentKey"))
    values = []
    for name, points in one.metrics.items():
        numbers = [point[0] for point in points]
        values.append(
            {
                "name": name,
                "valueMax": repr(max(numbers)),
                "valueMin": repr(min(numbers)),
                "valueCurrent": repr(points[-1][0]),
                "timestampCurrent": points[-1][2],
                "stepCurrent": points[-1][1],
                "editable": False,
            }
        )
    return {"values": values}


def _chart(account: Account, asked: Any) -> Any:
    """Metrics and parameters of many experiments; those that are not there are left out."""
    most = KEPT if asked.get("fetchFull") else _CHART
    wanted = asked.get("params") or []
    found = {}
    for key in asked.get("targetedExperiments") or []:
        if (one := account.experiments.get(key)) is None:
            continue
        metrics = []
        for name in asked.get("metrics") or []:
            points = sample(one.metrics.get(name, []), most)
            if points:
                values, steps, times, epochs, _ = map(list, zip(*points, strict=True))
                metrics.append(
                    {
                        "metricName": name,
                        "values": values,
                        "steps": steps,
                        "timestamps": times,
                        "epochs": epochs,
                        "durations": [0] * len(points),
                    }
                )
        params = {name: one.parameters[name] for name in wanted if name in one.parameters}
        found[key] = {
            "experimentKey": key,
            "steps": None,
            "epochs": None,
            "metrics": metrics,
            "params": params or None,
        }
    return {"experiments": found, "empty": not found}


def _assets(account: Account, asked: Any) -> Any:
    one = account.to_read(asked.get("experimentKey"))
    kind = asked.get("type") or "all"
    return {
        "assets": [
            asset.listed(one.key)
            for asset in one.assets.values()
            if kind in ("all", asset.type)
            and asked.get("assetName", asset.name) in (asset.name, None)
        ]
    }


def _asset(account: Account, asked: Any) -> Any:
    one = account.to_read(asked.get("experimentKey"))
    if (asset := one.assets.get(asked.get("assetId"))) is None:
        raise Refused(404, "no such asset")
    return asset.content


READS: dict[str, tuple[str, Callable[[Account, Any], Any]]] = {
    "workspaces": ("GET", _workspaces),
    "projects": ("GET", _projects),
    "experiments": ("GET", _experiments),
    "experiment/metadata": ("GET", _metadata),
    "experiment/parameters": ("GET", _parameters),
    "experiment/log-other": ("GET", _others),
    "experiment/tags": ("GET", _tags),
    "experiment/metrics/get-metric": ("GET", _metric),
    "experiment/metrics/get-all": ("GET", _all_metrics),
    "experiment/metrics/summary": ("GET", _metric_summary),
    "experiment/asset/list": ("GET", _assets),
    "experiment/asset/get-by-name": ("GET", _assets),
    "experiment/asset/get-asset": ("GET", _asset),
    "experiments/multi-metric-chart": ("POST", _chart),
}
