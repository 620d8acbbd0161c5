"""A plan as tables, the same for the page, the Markdown and the JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from migration_pipeline.mapping.steps import multiplier_for
from migration_pipeline.targets.forecast_sums import Estimate, ProjectForecast, TargetForecast

Row = dict[str, str | int | float]
NOT_KEPT = "not kept"


def archive_rows(plans: Sequence[ProjectForecast]) -> Iterator[Row]:
    """One row a project."""
    for plan in plans:
        yield {
            "project": plan.project,
            "runs": sum(plan.kinds.values()),
            "attributes": plan.attributes,
            "points": plan.points,
            "files": plan.files,
            "bytes of files": plan.bytes,
            "bytes of Parquet": plan.parquet_bytes,
            "damaged runs": len(plan.damaged),
        }


def target_rows(plans: Sequence[ProjectForecast]) -> Iterator[Row]:
    """One row a project and target."""
    for plan, there in _each(plans):
        longest = longest_of(there.estimates())
        yield {
            "project": plan.project,
            "target": there.name,
            "runs to load": there.runs,
            "complete there": there.complete if there.asked else "not asked",
            "refused": len(there.refused),
            "step multiplier": there.step_multiplier,
            "values not held as they are": there.losses.values,
            "renamed": len(there.renames.sums) + bool(there.renames.nameless[0]),
            "requests": there.requests.total(),
            "estimated time": duration(longest.seconds) if longest else "no rate is known",
            "attributes": there.attributes,
            "points": there.points,
            "files": there.files,
            "bytes of files": there.bytes,
        }


def not_asked_rows(plans: Sequence[ProjectForecast]) -> Iterator[Row]:
    for plan, there in _each(plans):
        if not there.asked:
            yield {"project": plan.project, "target": there.name, "why": there.unasked}


def due_rows(plans: Sequence[ProjectForecast]) -> Iterator[Row]:
    """Why runs are to be loaded."""
    for plan, there in _each(plans):
        for reason, runs in sorted(there.reasons.items()):
            yield {"project": plan.project, "target": there.name, "why": reason, "runs": runs}


def loss_rows(plans: Sequence[ProjectForecast]) -> Iterator[Row]:
    """What a target does not hold as it is, by name."""
    for plan, there in _each(plans):
        for (attribute, reason, kept), runs, values in there.losses.rows():
            yield {
                "project": plan.project,
                "target": there.name,
                "attribute": attribute,
                "what": reason,
                "values": values,
                "runs": runs,
                "kept exactly in": kept or NOT_KEPT,
            }


def rename_rows(plans: Sequence[ProjectForecast]) -> Iterator[Row]:
    for plan, there in _each(plans):
        for (attribute, name), runs, _ in there.renames.rows():
            yield {
                "project": plan.project,
                "target": there.name,
                "attribute": attribute,
                "name there": name,
                "runs": runs,
            }


def step_rows(plans: Sequence[ProjectForecast]) -> Iterator[Row]:
    """Float series with steps that are not whole, and the smallest multiplier that makes them so;
    a target that takes whole steps only gets the largest of its project."""
    for plan in plans:
        for attribute, (decimals, runs) in sorted(plan.steps.items()):
            yield {
                "project": plan.project,
                "attribute": attribute,
                "decimals": decimals,
                "smallest multiplier": multiplier_for(decimals),
                "runs": runs,
            }


def estimate_rows(plans: Sequence[ProjectForecast]) -> Iterator[Row]:
    """How long each amount takes at a known rate. They count by themselves: the longest rules."""
    for plan, there in _each(plans):
        for estimate in there.estimates():
            yield {
                "project": plan.project,
                "target": there.name,
                "what": estimate.rate.what,
                "amount": estimate.amount,
                "rate": str(estimate.rate),
                "by": estimate.rate.says,
                "seconds": round(estimate.seconds, 1),
                "estimated time": duration(estimate.seconds),
            }


def limit_rows(plans: Sequence[ProjectForecast]) -> Iterator[Row]:
    """Limits that are exceeded."""
    for plan, there in _each(plans):
        for what, (most, found, where) in sorted(there.beyond.items()):
            yield {
                "project": plan.project,
                "target": there.name,
                "what": what,
                "limit": most,
                "most found": found,
                "where": where,
            }


def refused_rows(plans: Sequence[ProjectForecast]) -> Iterator[Row]:
    for plan, there in _each(plans):
        for run, why in there.refused:
            yield {"project": plan.project, "target": there.name, "run": run, "why": why}


def damaged_rows(plans: Sequence[ProjectForecast]) -> Iterator[Row]:
    for plan in plans:
        for run, what in plan.damaged:
            yield {"project": plan.project, "run": run, "what is wrong": what}


TABLES: dict[str, Callable[[Sequence[ProjectForecast]], Iterator[Row]]] = {
    "archive": archive_rows,
    "targets": target_rows,
    "not asked what is there": not_asked_rows,
    "why runs are to be loaded": due_rows,
    "not held as it is": loss_rows,
    "renames": rename_rows,
    "steps that are not whole": step_rows,
    "limits exceeded": limit_rows,
    "estimated times": estimate_rows,
    "refused": refused_rows,
    "damaged": damaged_rows,
}
"""Title → rows, in the order in which they are read."""


def _each(plans: Sequence[ProjectForecast]) -> Iterator[tuple[ProjectForecast, TargetForecast]]:
    return ((plan, target) for plan in plans for target in plan.targets)


def longest_of(estimates: Sequence[Estimate]) -> Estimate | None:
    return max(estimates, key=lambda estimate: estimate.seconds, default=None)


def duration(seconds: float) -> str:
    """Two units, rounded up: a time is not said to be shorter than it was reckoned."""
    whole = int(-(-seconds // 1))
    for size, unit, smaller, below in (
        (86_400, "d", 3_600, "h"),
        (3_600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = -(-(whole % size) // smaller)
            return f"{whole // size} {unit} {rest} {below}"
    return f"{whole} s"


def plan_json(plans: Sequence[ProjectForecast]) -> dict[str, Any]:
    """All of a plan; names that were not kept apart are counted in `nameless`."""
    return {
        "projects": [_project(plan) for plan in plans],
        "runs": [
            {
                "project": plan.project,
                "run": line.key.run,
                "kind": line.key.kind,
                "attributes": line.attributes,
                "points": line.points,
                "files": line.files,
                "bytes": line.bytes,
                "damage": line.damage,
                "targets": dict(line.at),
            }
            for plan in plans
            for line in plan.runs
        ],
    }


def _project(plan: ProjectForecast) -> dict[str, Any]:
    return {
        "project": plan.project,
        "runs": sum(plan.kinds.values()),
        "kinds": dict(plan.kinds),
        "attributes": plan.attributes,
        "points": plan.points,
        "files": plan.files,
        "bytes": plan.bytes,
        "parquet_bytes": plan.parquet_bytes,
        "types": {
            kind: {"attributes": attributes, "rows": rows}
            for kind, (attributes, rows) in sorted(plan.types.items())
        },
        "steps": _without(step_rows([plan]), "project"),
        "damaged": _without(damaged_rows([plan]), "project"),
        "targets": [_target(plan, there) for there in plan.targets],
    }


def _target(plan: ProjectForecast, there: TargetForecast) -> dict[str, Any]:
    longest = longest_of(there.estimates())
    return {
        "target": there.name,
        "address": there.address,
        "asked": there.asked,
        "not_asked_because": there.unasked,
        "complete": there.complete if there.asked else None,
        "due": dict(sorted(there.reasons.items())),
        "runs": there.runs,
        "attributes": there.attributes,
        "points": there.points,
        "files": there.files,
        "bytes": there.bytes,
        "step_multiplier": there.step_multiplier,
        "losses": _of(loss_rows, plan, there),
        "renames": _of(rename_rows, plan, there),
        "nameless": {
            "losses": dict(zip(("runs", "values"), there.losses.nameless, strict=True)),
            "renames": there.renames.nameless[0],
        },
        "limits_exceeded": _of(limit_rows, plan, there),
        "refused": _of(refused_rows, plan, there),
        "duplicates": there.duplicates,
        "foreign": there.foreign,
        "requests": dict(there.requests),
        "estimates": _of(estimate_rows, plan, there),
        "estimated_seconds": round(longest.seconds, 1) if longest else None,
        "assumed": list(there.capabilities.assumed),
    }


def _of(
    rows: Callable[[Sequence[ProjectForecast]], Iterator[Row]],
    plan: ProjectForecast,
    there: TargetForecast,
) -> list[Row]:
    alone = ProjectForecast(plan.project, targets=[there])
    return _without(rows([alone]), "project", "target")


def _without(rows: Iterator[Row], *columns: str) -> list[Row]:
    """Rows as programs like them: other columns only, without blanks in their names."""
    return [{k.replace(" ", "_"): v for k, v in row.items() if k not in columns} for row in rows]
