"""Heuristics over the runs of a project that no manifest vouches for: what most of them have.

Siblings of a run are those with its `sys/name`, and those with its configuration (the same paths
of parameters). All that is found here is suspicion: a run that crashed at once looks like one whose
export failed. Numbers are shares of the *other* runs, so a group of two compares with one sibling.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from migration_pipeline.archive.doctor.diagnosis import Reason
from migration_pipeline.archive.doctor.evidence import Evidence
from migration_pipeline.archive.doctor.rules import because, some
from migration_pipeline.archive.schema import MICROS

METRICS = ("metrics",)
LAST_CLASSES = ("text", "histograms", "files")
"""What neptune-exporter asks for after parameters and metrics."""
Found = Iterator[tuple[int, Reason]]
"""(number of a run in `Evidence`, reason)."""

_CIRCLES = """
create table configured as
    select run, md5(string_agg(path, chr(10) order by path)) as configuration
    from attributes join classes using (type)
    where class = 'parameters' and valued > 0 and not starts_with(path, 'sys/')
    group by run;
create table circles as
    with own as (select * from runs where kind = 'run' and adopted)
    select run, 1 as rank, 'sys/name ' || name as circle from own where name <> ''
    union all
    select run, 2, 'configuration ' || configuration from own join configured using (run)
    union all
    select run, 3, 'project' from own join configured using (run);
create table sizes as select circle, count(*) as members from circles group by circle;
create table has_class as
    select distinct run, class from attributes join classes using (type) where valued > 0;
"""

_WITHOUT_CLASS = """
with having_it as (
    select circle, class, count(*) as holders
    from circles join has_class using (run) group by circle, class
)
select run, class, circle, holders, members - 1
from circles join sizes using (circle) join having_it using (circle)
     anti join has_class using (run, class)
where case when circle = 'project' then members > 10 and holders >= 0.9 * (members - 1)
           else holders > 0.5 * (members - 1) end
qualify row_number() over (partition by run, class order by rank) = 1
order by run, class
"""

_ATTRIBUTE_MISSING = """
with common as (
    select circle, path, type, count(*) as holders
    from circles join attributes using (run)
    where rank = 1 and valued > 0 and not starts_with(path, 'sys/')
    group by circle, path, type
),
nearly_all as (
    select circle, path, type, holders, members - 1 as others
    from common join sizes using (circle)
    where holders >= 2 and holders < members and holders >= 0.95 * (members - 1)
),
lacking as (
    select circles.run, circle, n.path, n.type, holders, others
    from circles join nearly_all n using (circle)
         anti join (select run, path, type from attributes where valued > 0) held
         on held.run = circles.run and held.path = n.path and held.type = n.type
)
select run, circle, list(path order by path), min(holders), max(others)
from lacking join classes using (type) semi join has_class using (run, class)
group by run, circle order by run
"""

_STOPS_EARLY = """
with ends as (
    select circle, rank, run, path, step_max, median(step_max) over of_siblings as usual,
           count(*) over of_siblings as members
    from circles join attributes using (run) join classes using (type)
    where rank < 3 and valued > 0 and step_max is not null and class <> 'files'
    window of_siblings as (partition by circle, path, type)
),
compared as (
    select *, step_max < 0.5 * usual as early from ends where members > 2 and usual > 0
),
judged as (
    select run, circle, rank, count(*) as series, count(*) filter (early) as stopped,
           list({path: path, ends: step_max, usual: usual} order by path) filter (early) as which
    from compared group by run, circle, rank
)
select run, circle, stopped, series, which[:5]
from judged join runs using (run)
where stopped > 0 and not (failed and stopped = series)
qualify row_number() over (partition by run order by rank) = 1
order by run
"""

_NEVER_VALUED = """
with never as (
    select path, type, regexp_replace(path, '[^/]*$', '') as namespace
    from attributes join classes using (type) join runs using (run)
    where class in ('parameters', 'files') and type <> 'file_series' and kind = 'run'
          and not starts_with(path, 'sys/')
    group by path, type having sum(valued) = 0
),
holders as (
    select a.run, n.path, n.type, exists (
        select 1 from attributes b
        where b.run = a.run and b.valued > 0 and n.namespace <> ''
              and starts_with(b.path, n.namespace)
    ) as likely
    from attributes a join never n on a.path = n.path and a.type = n.type
),
chosen as (
    select * from holders
    qualify likely or not bool_or(likely) over (partition by path, type)
)
select run, type = 'float', list(path order by path) from chosen group by all order by run
"""

_SOMETIMES_VALUED = """
select count(*), count(distinct run) from attributes a
where type = 'float' and valued = 0 and not starts_with(path, 'sys/') and exists (
    select 1 from attributes b where b.path = a.path and b.type = a.type and b.valued > 0
)
"""

_WITHOUT_PARAMETERS = """
with with_them as (
    select distinct run from attributes where starts_with(path, 'sys/') and valued > 0
)
select run from runs
where adopted and run in (select run from attributes) and run not in (from with_them)
      and exists (from with_them)
order by run
"""

_NOBODY_HAS = """
select run from runs
where kind = 'run' and adopted and run in (select run from attributes)
      and not exists (from has_class where list_contains(?, class))
order by run
"""


def compare_siblings(evidence: Evidence) -> Found:
    """All reasons that follow from comparing runs."""
    evidence.run(_CIRCLES)
    for run, kind, circle, holders, others in evidence.ask(_WITHOUT_CLASS):
        text = f"no {kind}, which {holders} of {others} {_siblings(circle)} have"
        yield run, because("without_class", text)
    for run, circle, paths, holders, others in evidence.ask(_ATTRIBUTE_MISSING):
        text = f"lacks {some(paths)}, which {holders} of {others} {_siblings(circle)} have"
        yield run, because("attribute_missing", text)
    for run, circle, stopped, series, which in evidence.ask(_STOPS_EARLY):
        text = f"{stopped} of {series} series stop far below those of {_siblings(circle)}: "
        yield run, because("series_stops_early", text + ", ".join(map(_end, which)))
    for (run,) in evidence.ask(_WITHOUT_PARAMETERS):
        text = "it has rows and none below sys/, which every object at Neptune has"
        yield run, because("without_parameters", text)
    yield from _missing_everywhere(evidence)


def compare_values(evidence: Evidence) -> Found:
    """Parameters and files that have a row in some runs and a value in none.

    neptune-exporter writes a row for every attribute that *one* of a batch of runs has; so when no
    run has a value, one of them had one that could not be written: NaN, if it is a number. Which
    run it was is not said; those with other values in the same namespace are the likely ones.
    """
    for run, numbers, paths in evidence.ask(_NEVER_VALUED):
        if numbers:
            text = f"no run has a value of {some(paths)}: it was NaN in at least one that has a row"
            yield run, because("nan_became_null", text)
        else:
            text = f"no run has a value of {some(paths)}, and rows say that at least one had it"
            yield run, because("rows_without_value", text)


def absent_or_nan(evidence: Evidence) -> tuple[int, int]:
    """(rows, runs) of numbers without a value that other runs have."""
    (counts,) = evidence.ask(_SOMETIMES_VALUED)
    return counts[0], counts[1]


def _missing_everywhere(evidence: Evidence) -> Found:
    """Classes that a request for a batch of runs, or the end of the export, takes from all."""
    for code, classes in (("no_metrics", METRICS), ("last_classes_missing", LAST_CLASSES)):
        runs = evidence.ask(_NOBODY_HAS, list(classes))
        for (run,) in runs:
            names = " or ".join([", ".join(classes[:-1]), classes[-1]] if classes[1:] else classes)
            text = f"none of the project's {len(runs)} run(s) without a manifest has {names}"
            yield run, because(code, text)


def _siblings(circle: str) -> str:
    what, _, name = circle.partition(" ")
    if what == "sys/name":
        return f"others with sys/name {name!r}"
    return "others with the same configuration" if what == "configuration" else "other runs"


def _end(which: dict[str, Any]) -> str:
    ends, usual = which["ends"] / MICROS, which["usual"] / MICROS
    return f"{which['path']!r} at step {ends:g}, siblings at {usual:g}"
