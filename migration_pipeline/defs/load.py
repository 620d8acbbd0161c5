"""`<target>/load`: archive → target, one project a partition; `<target>/run`: one record a run.

Made for every registered target alike; nothing here knows which one it is. The target is asked what
is there, whatever a record or an earlier check says.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from migration_pipeline.archive.archive import RunKey
from migration_pipeline.defs import (
    export,
    guards,
    load_records,
    partitions,
    records,
    settings,
    status,
    summarised,
)
from migration_pipeline.defs import load_figures as figures
from migration_pipeline.defs import status_records as shown
from migration_pipeline.defs.checks import (
    DAMAGED_VARIABLE,
    HELD,
    LEFT_OUT_COUNT,
    LOADED_DAMAGED,
    held_result,
    held_spec,
)
from migration_pipeline.defs.config import MAX_CHUNKS
from migration_pipeline.defs.export import (
    OWNERS,
    RECORDED,
    Payload,
    known_project,
    raise_failures,
    retried,
)
from migration_pipeline.defs.resources import ArchiveResource
from migration_pipeline.progress import still
from migration_pipeline.targets.damage import Damage, Handling, look_for_damage, with_damage
from migration_pipeline.targets.loading import (
    LoadPlan,
    LoadSettings,
    load_runs,
    plan_load,
)
from migration_pipeline.targets.target import ProjectMapping, Target

CHUNK_RUNS = 25
"""Runs a step, until there would be more than `MAX_CHUNKS` steps."""
CHUNK_FIGURES = (shown.NEW, shown.VERIFIED, shown.POINTS, shown.BYTES)
THERE = "all runs there"
"""What the plan hands on of the one record of all runs; None where each run has one."""

HANDLINGS: dict[bool | None, Handling] = {None: "fail", False: "leave out", True: "load"}


class LoadConfig(dg.Config):
    """How a project is written at a target, and whether it is read back."""

    name_prefix: str = Field(
        default=settings.text("MIGRATION_NAME_PREFIX"),
        description="MIGRATION_NAME_PREFIX: put before the names of projects or experiments.",
    )
    step_multiplier: int = Field(
        default=settings.whole_number("MIGRATION_STEP_MULTIPLIER"),
        ge=0,
        description="MIGRATION_STEP_MULTIPLIER: whole steps = steps × this; 0: the smallest power "
        "of ten that makes all steps whole.",
    )
    parallel: int = Field(
        default=0, ge=0, description="Runs at the same time; 0: as the target allows."
    )
    verify: Literal["new", "all", "off"] = Field(
        default="new",
        description="Read back and compare: what was loaded now or never verified, all, nothing.",
    )

    damaged: Handling = Field(
        default=HANDLINGS[settings.decision(DAMAGED_VARIABLE)],
        description=f"{DAMAGED_VARIABLE}: runs that are proven to be damaged. `fail` (unset): left "
        "out by name, and the job fails once all others are done; `leave out` (0): left out by "
        "name; `load` (1): loaded as far as they can be read, and marked as damaged.",
    )

    def settings(self) -> LoadSettings:
        return LoadSettings(self.name_prefix, self.step_multiplier or None, self.parallel or None)


def asset_key(target: str) -> dg.AssetKey:
    return dg.AssetKey([records.folder(target), "load"])


def load_asset(target: str) -> dg.AssetsDefinition:
    """The asset `<target>/load`."""
    plan, chunk, finish = _plan_op(target), _chunk_op(target), _finish_op(target)
    spec = held_spec(asset_key(target))

    @dg.config_mapping
    def config(val: LoadConfig) -> Mapping[str, Any]:
        return {plan.name: {"config": val.model_dump()}}

    @dg.graph_asset(
        key=asset_key(target),
        ins={"exported": dg.AssetIn(key=export.KEY, dagster_type=dg.Nothing)},
        description=f"A project at {target}: loaded from the archive, read back and compared. "
        "Repeating it loads what is new, changed or was never finished.",
        config=config,
        partitions_def=partitions.projects,
        group_name=target,
        owners=OWNERS,
        kinds={"neptune", target},
        tags={"target": target},
        check_specs=[spec],
        hooks=status.HOOKS,
    )
    def load(exported: Any) -> Mapping[str, Any]:
        due, planned = plan(exported)
        result, held = finish(planned, due.map(chunk).collect())
        return {"result": result, spec.get_python_identifier(): held}

    return load


def run_records(target: str) -> dg.AssetSpec:
    """The records `<target>/run`."""
    return dg.AssetSpec(
        records.loaded(target),
        deps=[
            records.EXPORTED,
            dg.AssetDep(asset_key(target), partition_mapping=dg.AllPartitionMapping()),
        ],
        description=f"One record for each run that is complete at {target}.",
        partitions_def=partitions.runs,
        group_name=target,
        owners=OWNERS,
        kinds={"neptune", target},
    )


def _pool(target: str) -> str:
    return f"target_{target}"


def _open(context: dg.OpExecutionContext, target: str) -> Target:
    opened: Target = getattr(context.resources, target).open()
    return opened


def _plan_op(target: str) -> dg.OpDefinition:
    @dg.op(
        name=f"plan_{target}",
        ins={"exported": dg.In(dg.Nothing)},
        out={"due": dg.DynamicOut(dict), "planned": dg.Out(dict)},
        required_resource_keys={target, "archive"},
        pool=_pool(target),
        description="Compares the archive with the target.",
    )
    def plan(
        context: dg.OpExecutionContext, config: LoadConfig
    ) -> Iterator[dg.DynamicOutput[Payload] | dg.Output[Payload]]:
        project = known_project(context)
        comparing = f"{project}: comparing the archive with {target}"
        with retried(context), still(context.log.info, comparing):
            found, damage = _plan(context, target, project, config)
        total = len(found.due) + len(found.complete)
        each = summarised.each(context.instance, project, total)
        late = load_records.record_complete(context, target, found) if each else 0
        there = None if each else load_records.record_all(context, target, found)
        chunks = _chunks(found, config)
        due = set(found.due)
        context.log.info(_intention(found))
        if late:
            context.log.info(f"{project}: {late} runs there had no record; now they have")
        for where, error in found.unreadable[:5]:
            context.log.error(f"{where}: {error}")
        for number, keys in enumerate(chunks):
            payload = {
                "project": project,
                "config": config.model_dump(),
                "mapping": asdict(found.mapping),
                "runs": [(key.run, key.kind) for key in keys],
                "damaged": [
                    (key.run, key.kind, list(damage.loaded[key]))
                    for key in keys
                    if key in damage.loaded
                ],
                "new": keys[0] in due,
                RECORDED: each,
                guards.CODE: guards.THIS_CODE,
            }
            yield dg.DynamicOutput(payload, mapping_key=f"c{number:05}", output_name="due")
        yield dg.Output(
            _planned(found, config, damage, there),
            "planned",
            metadata={
                shown.TOTAL: len(found.due) + len(found.complete),
                shown.DUE: sum(map(len, chunks)),
                shown.LEFT_OUT: len(damage.left_out) if config.damaged != "fail" else 0,
            },
        )

    return plan


def _chunk_op(target: str) -> dg.OpDefinition:
    @dg.op(
        name=f"{target}_chunk",
        required_resource_keys={target, "archive"},
        pool=_pool(target),
        description="Loads some runs and reads them back; one that fails does not stop the others.",
    )
    def chunk(context: dg.OpExecutionContext, due: dict[str, Any]) -> Payload:
        with guards.begun(context, due):
            return _load(context, target, due)

    return chunk


def _load(context: dg.OpExecutionContext, target: str, due: Payload) -> Payload:
    config = LoadConfig(**due["config"])
    resource: ArchiveResource = context.resources.archive
    damaged = {RunKey(due["project"], run, kind): tuple(said) for run, kind, said in due["damaged"]}
    with retried(context):
        result = load_runs(
            _open(context, target),
            with_damage(resource.open(), damaged).archive,
            ProjectMapping(**due["mapping"]),
            [RunKey(due["project"], run, kind) for run, kind in due["runs"]],
            verify=config.verify,
            parallel=config.parallel or None,
            progress=context.log.info,
        )
        done = [run for run in result.runs if run.report or run.verdict]
        if due[RECORDED]:
            there_before = [run.key for run in done if not run.report]
            sizes = load_records.sizes(resource, due["project"], there_before)
            records.record(
                context,
                records.loaded(target),
                [(run.key, {**sizes.get(run.key, {}), **figures.of_load(run)}) for run in done],
            )
        raise_failures("load", f"{due['project']} into {target}", result.failures)
    found = figures.of_chunk(result)
    # What an earlier attempt of this step loaded is skipped now, and is new all the same.
    new = sum(bool(run.report) or run.skipped for run in result.runs) if due["new"] else 0
    found |= {shown.NEW: new, shown.VERIFIED: found["verdicts"]["runs equal"]}
    context.add_output_metadata(
        {shown.DONE: len(done), **{name: found[name] for name in CHUNK_FIGURES}}
    )
    return found


def _finish_op(target: str) -> dg.OpDefinition:
    @dg.op(
        name=f"finish_{target}",
        out={"result": dg.Out(dg.Nothing), HELD: dg.Out(dg.Nothing)},
        description="Sums up what is at the target now, and what the comparison found.",
    )
    def finish(
        context: dg.OpExecutionContext,
        planned: dict[str, Any],
        chunks: list[dict[str, Any]],
    ) -> Iterator[dg.Output[None] | dg.AssetCheckResult]:
        guards.begin(context, planned)
        key = asset_key(target)
        now = figures.added(chunks)
        loaded = bool(now["runs loaded now"])
        tables = figures.tables(chunks) if loaded else figures.tables_of_last(context, key)
        counts = {
            "runs": planned["complete"] + now["runs loaded now"],
            LEFT_OUT_COUNT: len(planned["left out"]),
            LOADED_DAMAGED: planned["damaged"],
            "unchanged": planned["complete"],
            "step multiplier": planned["step multiplier"],
        }
        yield dg.Output(None, "result", metadata={**counts, **now, **figures.rate(now), **tables})
        if planned[THERE]:
            there = summarised.AllRuns(**planned[THERE]).with_chunks(chunks)
            asset, address = records.loaded(target), {"target": planned["address"]}
            summarised.record(context, asset, planned["project"], there, address)
        result = held_result(key, planned, chunks)
        for name, first in result.metadata.items():
            if name == "remedy" or name.startswith("first "):
                context.log.error(f"{planned['project']}: {name}: {first.value}")
        yield result

    return finish


def _plan(
    context: dg.OpExecutionContext, target: str, project: str, config: LoadConfig
) -> tuple[LoadPlan, Damage]:
    """What is due, once more without what is damaged if the doctor finds that something is.

    He is asked only when something is to be loaded: reading all of an archive every night for
    nothing would help nobody.
    """
    resource: ArchiveResource = context.resources.archive
    opened, archive = _open(context, target), resource.open()
    found = plan_load(opened, archive, project, config.settings())
    if not found.due and not found.unreadable:
        return found, Damage(archive)
    damage = look_for_damage(archive, project, config.damaged, resource.errors())
    if damage.left_out or damage.loaded:
        found = plan_load(opened, damage.archive, project, config.settings())
    for key, said in list(damage.left_out.items())[:5]:
        context.log.error(f"{key} is damaged and left out: {said}")
    for key, reasons in list(damage.loaded.items())[:5]:
        said = "; ".join(reasons)
        context.log.warning(f"{key} is damaged, loaded as far as it can be read: {said}")
    return found, damage


def _intention(found: LoadPlan) -> str:
    where = f"{found.target} at {found.address}"
    if not found.due and not found.complete:
        return f"{found.project}: no run is to be loaded into {where}"
    if not found.due and not found.unverified:
        return f"{found.project}: all {len(found.complete)} runs are in {where} and verified"
    return (
        f"{found.project}: loading {len(found.due)} runs into {where}; {len(found.complete)} are "
        f"complete there, {len(found.unverified)} of them not yet verified"
    )


def _chunks(found: LoadPlan, config: LoadConfig) -> list[list[RunKey]]:
    """Due runs, families together; then those that are only read back."""
    chunks = found.chunks(max(1, min(MAX_CHUNKS, math.ceil(len(found.due) / CHUNK_RUNS))))
    compare = {"new": found.unverified, "all": found.complete, "off": []}[config.verify]
    size = max(CHUNK_RUNS, math.ceil(len(compare) / MAX_CHUNKS))
    chunks += [list(compare[i : i + size]) for i in range(0, len(compare), size)]
    return [chunk for chunk in chunks if chunk]


def _planned(
    found: LoadPlan, config: LoadConfig, damage: Damage, there: summarised.AllRuns | None
) -> Payload:
    verified = len(found.complete) - len(found.unverified)
    if there and config.verify == "all":
        there = replace(there, verified=0)  # all of them are compared again
    return {
        "project": found.project,
        "address": found.address,
        "due": len(found.due),
        "complete": len(found.complete),
        "verified before": verified if config.verify != "all" else 0,
        "never verified": len(found.unverified) + len(found.due) if config.verify == "off" else 0,
        "step multiplier": found.mapping.step_multiplier,
        "unreadable": [(where, str(error)) for where, error in found.unreadable],
        "duplicates": [
            (str(key), f"is there {len(ids)} times: {', '.join(ids)}")
            for key, ids in found.duplicates.items()
        ],
        "foreign runs": sum(key not in damage.left_out for key in found.foreign),
        "damaged": len(damage.loaded),
        "left out": [(str(key), said) for key, said in damage.left_out.items()],
        "decided": config.damaged != "fail",
        THERE: asdict(there) if there else None,
        guards.CODE: guards.THIS_CODE,
    }
