"""Files and the rows that name them: named twice, named and not there at all, not named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from migration_pipeline.archive.doctor.diagnosis import ProjectFinding
from migration_pipeline.archive.doctor.evidence import Evidence
from migration_pipeline.archive.doctor.facts import RunFacts
from migration_pipeline.archive.doctor.files import walk
from migration_pipeline.archive.doctor.rules import because, some
from migration_pipeline.archive.doctor.siblings import Found

_TWICE = """
with twice as (
    select root, file, list(distinct id || '|' || attribute) as claimants
    from claims join runs using (run) where adopted
    group by root, file having count(distinct (run, attribute, step)) > 1
),
named as (
    select distinct run, root, file, list_sort(claimants) as claimants
    from twice join claims using (root, file)
)
select run, count(*), list({named: file, claimants: claimants} order by file)[:2]
from named group by run order by run
"""

_UNNAMED = """
select count(*), sum(size), list(file order by file)[:3]
from found anti join claims using (root, file)
where root = ?
"""


def claimed_twice(evidence: Evidence) -> Found:
    """Runs without a manifest whose file is named by another row too, of it or of another run."""
    for run, files, examples in evidence.ask(_TWICE):
        shown = "; ".join(f"{e['named']!r} by {some(e['claimants'])}" for e in examples)
        yield (
            run,
            because("file_claimed_twice", f"{files} file(s) are named more than once: {shown}"),
        )


def unnamed_files(
    evidence: Evidence, project: str, facts: Sequence[RunFacts]
) -> Iterator[ProjectFinding]:
    """Files below the project's directories that no run names."""
    for root in sorted({run.files_root for run in facts}, key=str):
        directories = {d for run in facts if run.files_root == root for d in run.directories}
        evidence.add_found(root, walk(root, directories))
        ((count, size, examples),) = evidence.ask(_UNNAMED, str(root))
        if count:
            text = f"{count} file(s) with {size} bytes below {root} are named by no row: "
            yield ProjectFinding(project, "unnamed_files", text + ", ".join(map(repr, examples)))


def files_directory(project: str, facts: Sequence[RunFacts]) -> Iterator[ProjectFinding]:
    """One finding for what else would only show as thousands of missing files."""
    for root in sorted({run.files_root for run in facts}, key=str):
        of_root = [run for run in facts if run.files_root == root]
        named = sum(run.files for run in of_root)
        if named > 1 and named == sum(run.files_missing for run in of_root):
            state = "holds none of them" if root.is_dir() else "does not exist"
            text = (
                f"rows name {named} files and {root} {state}. MIGRATION_FILES_PATH must be the "
                "directory that was exported together with this data"
            )
            yield ProjectFinding(project, "files_directory_missing", text)
