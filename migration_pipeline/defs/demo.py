"""`demo`: the whole way on a sample workspace, for someone who has five minutes and no Neptune.

It starts a Neptune server on loopback with the sample, migrates it into an MLflow store under
`./demo/` by the same code as everybody's data, and says in plain words what happened.
"""

import os
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from migration_pipeline.defs import console, status
from migration_pipeline.defs.export import OWNERS
from migration_pipeline.defs.export_figures import OF_THEM
from migration_pipeline.defs.jobs import (
    MigrateConfig,
    Outcome,
    last_words,
    migrate_all,
    raise_for_failed,
    say_last,
    summary,
)
from migration_pipeline.defs.load import LoadConfig
from migration_pipeline.defs.resources import ArchiveResource, SourceResource

FOLDER = "demo"
TARGET = "mlflow"
SOURCES = ("neptune3", "neptune2")
"""One server has projects of both versions."""
TOKEN_VARIABLE, ADDRESS_VARIABLE = "MIGRATION_DEMO_TOKEN", "MIGRATION_DEMO_MLFLOW"
"""Of the demo alone: settings of the user's own are neither used nor changed."""


@dg.op(out=dg.Out(dg.Nothing), description="Serves the sample and migrates it into MLflow.")
def migrate_sample(context: dg.OpExecutionContext) -> None:
    # Imported here: its modules take a second that every other start would pay too.
    from migration_pipeline.neptune_server import spawn_server

    started = time.monotonic()
    config = MigrateConfig(
        projects=[],
        include_projects="",
        exclude_projects="",
        targets=[TARGET],
        load=LoadConfig(name_prefix="", step_multiplier=0),
    )
    outcomes: list[Outcome] = []
    with (
        last_words("demo"),
        spawn_server(["--sample"]) as server,
        _environment(_variables(server.token)),
    ):
        context.log.info(f"a Neptune server with the sample workspace answers at {server.url}")
        for kind in SOURCES:
            given = {"resources": _resources(Path(FOLDER), kind), "loggers": console.CONFIG}
            source = SourceResource(kind=kind, api_token_variable=TOKEN_VARIABLE)
            archive = ArchiveResource(**given["resources"]["archive"]["config"])
            outcomes += migrate_all(context, source, archive, config, config.run_config(given))
    folder = Path(FOLDER).absolute() / "report"
    status.materialize(context.instance, str(folder), "the demo ended", context.log)
    text = report(outcomes, time.monotonic() - started)
    say_last(text)
    context.add_output_metadata({"report": dg.MetadataValue.md(f"```\n{text}\n```")})
    raise_for_failed(outcomes)


@dg.job(
    executor_def=dg.in_process_executor,
    description="Migrates a sample workspace, projects of Neptune 3.x and 2.x, from a server on "
    f"loopback into an MLflow store under ./{FOLDER}/, reads it back, and prints what happened. "
    "Needs no account.",
    owners=OWNERS,
    config={"loggers": console.CONFIG},
)
def demo() -> None:
    migrate_sample()


def _resources(folder: Path, kind: str) -> dict[str, Any]:
    """Run config of the resources: everything below one folder."""
    folder.mkdir(exist_ok=True)
    absolute = folder.absolute()
    return {
        "archive": {
            "config": {
                "data_path": str(absolute / "archive" / "data"),
                "files_path": str(absolute / "archive" / "files"),
                "report_path": str(absolute / "report"),
            }
        },
        "source": {"config": {"kind": kind, "api_token_variable": TOKEN_VARIABLE}},
        TARGET: {
            "config": {
                "tracking_uri_variable": ADDRESS_VARIABLE,
                "artifact_root": str(absolute / "mlflow-artifacts"),
            }
        },
    }


def _variables(token: str) -> dict[str, str]:
    return {
        TOKEN_VARIABLE: token,
        ADDRESS_VARIABLE: f"sqlite:///{Path(FOLDER).absolute()}/mlflow.db",
        "NO_PROXY": "*",
        "no_proxy": "*",
    }


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Sets environment variables of this process for the duration of the block."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


COLUMNS = ("runs", "attributes", "points", "files", "bytes")
OPEN = """Open the result:
  DAGSTER_HOME=$PWD uv run dagster dev
  uv run --extra mlflow mlflow ui --backend-store-uri sqlite:///demo/mlflow.db"""


def report(outcomes: Sequence[Outcome], seconds: float) -> str:
    """What happened, for someone who knows neither Dagster nor this project."""
    if not all(o.success for o in outcomes):
        return f"demo: {summary(outcomes)}"
    runs = sum(o.exported["runs"] for o in outcomes)
    if not any(_done_now(o) for o in outcomes):
        return (
            f"Nothing was to be done: all {runs} runs of {len(outcomes)} projects are exported, "
            f"loaded into {TARGET} and verified (looked at in {seconds:.0f} s).\n\n{OPEN}"
        )
    lines = [
        f"{runs} runs of {len(outcomes)} projects{_of_them(outcomes)} went from Neptune to "
        f"{TARGET}; everything was read back from there and is what Neptune had.",
        "",
        f"{'':<28}" + "".join(f"{name:>13}" for name in COLUMNS),
    ]
    for outcome in outcomes:
        lines += ["", f"{outcome.project} ({outcome.seconds:.0f} s)"]
        lines += [_line(name, figures) for name, figures in _stages(outcome)]
    losses = [line for outcome in outcomes for line in _losses(outcome)]
    if losses:
        lines += ["", f"What {TARGET} cannot hold as it is, and how it was kept:", *losses]
    noted = [(o.project, o.exported["runs with notes"]) for o in outcomes]
    if any(count for _, count in noted):
        lines += ["", "What Neptune itself could not give, such as an artifact's bytes, is named:"]
        lines += [
            f"  {project}: in the notes of {count} runs (manifest and record neptune/run)"
            for project, count in noted
            if count
        ]
    lines += ["", f"Everything took {seconds:.0f} s.", "", OPEN]
    return "\n".join(lines)


def _of_them(outcomes: Sequence[Outcome]) -> str:
    """How many are no runs, by kind."""
    named = Counter[str]()
    for outcome in outcomes:
        for name, count in outcome.exported.items():
            if name.startswith(OF_THEM):
                named[name.removeprefix(OF_THEM)] += count
    said = ", ".join(f"{name}: {count}" for name, count in named.items())
    return f" (of other kinds, {said})" if said else ""


def _done_now(outcome: Outcome) -> bool:
    load, held = outcome.loads[TARGET], outcome.checks[TARGET]
    exported = outcome.exported["exported now"] + outcome.exported["exported again"]
    return bool(exported or load["runs loaded now"] or held["runs compared now"])


def _stages(outcome: Outcome) -> Iterator[tuple[str, Sequence[int | None]]]:
    """(what was done, figures in the order of `COLUMNS`); None: done at an earlier time."""
    exported, load, held = outcome.exported, outcome.loads[TARGET], outcome.checks[TARGET]
    names = ("attributes", "points", "files", "bytes of files")
    yield "exported to Parquet", [exported["runs"], *(exported[name] for name in names)]
    at_once = load["runs loaded now"] == load["runs"]
    sent = [load[name] if at_once else None for name in names]
    yield f"loaded into {TARGET}", [load["runs"], *sent]
    at_once = held["runs compared now"] == load["runs"]
    single_values = exported["rows"] - exported["points"]
    compared = [
        held["equal"] + held["explained by losses"],
        held["rows compared"] - single_values,
        held["files compared"],
        held["bytes compared"],
    ]
    yield "read back and verified", [held["runs verified"], *(compared if at_once else [None] * 4)]


def _line(name: str, figures: Sequence[int | None]) -> str:
    return f"  {name:<26}" + "".join(
        f"{'earlier' if figure is None else f'{figure:,}':>13}" for figure in figures
    )


def _losses(outcome: Outcome) -> Iterator[str]:
    table = outcome.loads[TARGET].get("losses (table)")
    for record in table.records if table else ():
        row = record.data
        kept = row["kept"]
        yield (
            f"  {outcome.project}: {row['what']}: {row['values']:,} values of "
            f"{row['attributes']:,} attributes, such as {row['example']!r}; "
            f"{f'kept exactly in the file {kept} of the run' if kept else 'not kept'}"
        )
