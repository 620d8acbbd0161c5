"""What neptune-exporter's errors file says of the runs that are here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from migration_pipeline.archive.doctor.diagnosis import ProjectFinding
from migration_pipeline.archive.doctor.errors_file import Failure
from migration_pipeline.archive.doctor.evidence import Evidence
from migration_pipeline.archive.doctor.rules import because, some
from migration_pipeline.archive.doctor.siblings import Found
from migration_pipeline.archive.location import Location

_NAMED = """
with said as (select distinct id, attribute, error from failures),
of_runs as (
    select r.run, s.attribute, s.error, exists (
        select 1 from attributes a where a.run = r.run and a.path = s.attribute and a.valued > 0
    ) as there
    from said s join runs r on s.id = r.id
    where r.adopted
)
select run, count(*) filter (not there),
       list(distinct attribute order by attribute) filter (not there and attribute is not null),
       list(distinct attribute order by attribute) filter (there),
       list(distinct error order by error)
from of_runs group by run order by run
"""

_STRANGERS = """
select list(distinct id order by id) from failures anti join runs using (id)
"""


def failed_requests(evidence: Evidence) -> Found:
    """Runs that an errors file names.

    An attribute that failed and is not in the run is lost: proof. One that is there all the same
    may be a part of what it was, or whole, because the run was exported anew: a suspicion.
    """
    for run, lost, absent, there, errors in evidence.ask(_NAMED):
        names = ", ".join(errors)
        if lost:
            what = some(absent) if absent else "requests without an attribute's name"
            text = f"the errors file names it ({names}); failed and not here: {what}"
            yield run, because("failed_request", text)
        if there:
            text = f"the errors file names it ({names}); failed, with rows here: {some(there)}"
            yield run, because("failed_before", text)


def unknown_failures(evidence: Evidence, project: str) -> Iterator[ProjectFinding]:
    """Runs of the project that an errors file names and that are not here."""
    ((strangers,),) = evidence.ask(_STRANGERS)
    if strangers:
        text = f"an errors file names {len(strangers)} run(s) that are not here: {some(strangers)}"
        yield ProjectFinding(project, "errors_elsewhere", text)


def beyond_the_archive(
    failures: Iterable[Failure], projects: Sequence[str], unreadable: Sequence[tuple[Location, int]]
) -> Iterator[ProjectFinding]:
    """What the errors files say of other projects; reads them to their end first.

    Args:
        unreadable: (file, line) of lines that are none, complete once `failures` are read.
    """
    known = set(projects)
    elsewhere = sorted({f.project for f in failures if f.project not in known})
    for project in elsewhere:
        text = f"an errors file names project {project!r}, which is not here"
        yield ProjectFinding(project, "errors_elsewhere", text)
    if unreadable:
        path, line = unreadable[0]
        text = f"{len(unreadable)} line(s) of {path} cannot be read, the first is line {line}"
        yield ProjectFinding("", "errors_file_unreadable", text)
