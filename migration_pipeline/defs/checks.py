"""The two checks: is the archive whole, does the target hold it.

The first is one pass over a project's footers and files' sizes, no rows; the same pass counts what
the archive holds, so that the figures on the page are those of the disk and not those of a log.
The second puts together what the loader found when it read the runs back.

Both are blocking: what follows in the same Dagster run does not start. A load that is started
later looks for itself.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from pydantic import ValidationError

from migration_pipeline.archive import layout
from migration_pipeline.archive.archive import KIND_PLURALS, Archive, Place, RunKey
from migration_pipeline.archive.doctor.announced import (
    differing_files,
    differing_parts,
    manifest_in,
)
from migration_pipeline.archive.location import Location, scandir
from migration_pipeline.archive.manifest import Manifest, read_footer
from migration_pipeline.defs import partitions
from migration_pipeline.errors import DamagedPartError

WHOLE = "archive_whole"
HELD = "held_by_target"
WHOLE_REMEDY = (
    "Restore what is named from a backup, or delete all parts of the run in question: the next "
    "export brings it again."
)
DAMAGED_VARIABLE = "MIGRATION_LOAD_DAMAGED"
LEFT_OUT_REMEDY = (
    f"Decide about them: {DAMAGED_VARIABLE}=1, in run config `damaged: load`, loads what can be "
    "read of them, marked as damaged; 0, `damaged: leave out`, leaves them out, which is then no "
    "failure."
)
LEFT_OUT = "left out"
"""The figure of a check that names the damaged runs; these count them, and those that are there."""
LEFT_OUT_COUNT = "damaged runs left out"
LOADED_DAMAGED = "damaged runs loaded as far as they can be read"
FINDINGS_KEPT = 100
MANIFESTS_KEPT = 200


def whole_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        WHOLE,
        asset=asset,
        blocking=True,
        partitions_def=partitions.projects,
        description="All parts of every run are there with the rows that its manifest announces, "
        "and every file has its announced size.",
    )


def held_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    return dg.AssetCheckSpec(
        HELD,
        asset=asset,
        blocking=True,
        partitions_def=partitions.projects,
        description="Every run was read back from the target and is what the archive holds, value "
        "by value; what the target cannot hold was announced before and is listed as losses.",
    )


@dataclass
class Examination:
    """What one project's directories hold.

    Args:
        runs: with a part 0, of every kind; `adopted` of them were written by another tool.
        other_kinds: plural of a kind → how many of them are no runs but of that kind.
        findings: (run or part, what is wrong), the first `FINDINGS_KEPT` of `found`.
        noted: runs whose manifest says what the source could not give.
        manifests: those written last, the newest first, at most `MANIFESTS_KEPT`.
    """

    runs: int = 0
    other_kinds: Counter[str] = field(default_factory=Counter)
    adopted: int = 0
    attributes: int = 0
    rows: int = 0
    points: int = 0
    files: int = 0
    bytes: int = 0
    parquet_bytes: int = 0
    missing_files: int = 0
    noted: int = 0
    found: int = 0
    findings: list[tuple[str, str]] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return not self.found

    def find(self, where: str, what: str) -> None:
        self.found += 1
        if len(self.findings) < FINDINGS_KEPT:
            self.findings.append((where, what))

    def count(self, manifest: Manifest) -> None:
        self.attributes += manifest.attributes
        self.rows += manifest.rows
        self.points += manifest.points
        self.files += len(manifest.files)
        self.bytes += manifest.bytes
        self.missing_files += len(manifest.missing_files)
        self.noted += bool(manifest.notes)
        self.manifests.append(manifest)
        if len(self.manifests) >= 4 * MANIFESTS_KEPT:
            self.keep_newest()

    def keep_newest(self) -> None:
        self.manifests.sort(key=lambda m: m.written_at, reverse=True)
        del self.manifests[MANIFESTS_KEPT:]


@dataclass
class _Parts:
    place: Place
    stem: str
    numbers: list[int] = field(default_factory=list)
    size: int = 0

    def path(self, number: int) -> Location:
        return self.place.directory / layout.part_name(self.stem, number)


def examine(archive: Archive, project: str) -> Examination:
    """Looks at every run of a project that has a part 0: its parts, footers, and files' sizes."""
    result = Examination()
    for parts in _runs_on_disk(archive, project):
        result.runs += 1
        if parts.place.kind != "run":
            result.other_kinds[KIND_PLURALS[parts.place.kind]] += 1
        result.parquet_bytes += parts.size
        try:
            _examine_run(parts, result)
        except DamagedPartError as error:
            result.find(parts.stem, error.what)
        except ValidationError as error:
            result.find(parts.stem, f"its manifest cannot be read ({error.errors()[0]['msg']})")
    result.keep_newest()
    return result


def _runs_on_disk(archive: Archive, project: str) -> Iterator[_Parts]:
    for place in archive.places(project):
        if not place.directory.is_dir():
            continue
        stems: dict[str, _Parts] = {}
        with scandir(place.directory) as entries:
            for entry in entries:
                if parsed := layout.parse_part_name(entry.name):
                    parts = stems.setdefault(parsed[0], _Parts(place, parsed[0]))
                    parts.numbers.append(parsed[1])
                    parts.size += entry.stat().st_size
        yield from (parts for parts in stems.values() if 0 in parts.numbers)


def _examine_run(parts: _Parts, result: Examination) -> None:
    footer = read_footer(parts.path(0))
    manifest = manifest_in(footer)
    if manifest is None:
        _examine_adopted(parts, result)
        return
    result.count(manifest)
    name = str(RunKey(manifest.project, manifest.run, parts.place.kind))
    numbers = sorted(parts.numbers)
    footers = [footer, *(read_footer(parts.path(number)) for number in numbers[1:])]
    for reason in (
        *differing_parts(manifest, numbers, footers),
        *differing_files(parts.place.files_root, manifest.files),
    ):
        result.find(name, reason.text)


def _examine_adopted(parts: _Parts, result: Examination) -> None:
    """Another tool announces nothing, so only what is contradictory in itself can be found."""
    result.adopted += 1
    numbers = sorted(parts.numbers)
    if numbers != list(range(len(numbers))):
        result.find(parts.stem, f"parts {numbers} are there, some between them are missing")
    for number in numbers:
        result.rows += read_footer(parts.path(number)).num_rows


def whole_result(asset: dg.AssetKey, found: Examination) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        check_name=WHOLE,
        asset_key=asset,
        passed=found.whole,
        metadata={
            "runs": found.runs,
            "files": found.files,
            "findings": found.found,
            **({} if found.whole else {"remedy": WHOLE_REMEDY}),
            **findings_table(found.findings, found.found),
        },
    )


def held_result(
    asset: dg.AssetKey, planned: dict[str, Any], chunks: Sequence[dict[str, Any]]
) -> dg.AssetCheckResult:
    """From what was planned and the verdicts of all chunks (`load`).

    Runs that nobody read back because verification is off are a warning, not an error; so are
    damaged runs that are left out because somebody decided that.
    """
    verdicts = _sums([chunk["verdicts"] for chunk in chunks])
    undecided = planned["left out"] and not planned["decided"]
    named = [(where, f"unreadable in the archive: {what}") for where, what in planned["unreadable"]]
    named += planned["duplicates"]
    left_out = [(where, f"damaged and left out: {what}") for where, what in planned["left out"]]
    named += left_out
    named += [(where, what) for chunk in chunks for where, _, what in chunk["findings"]]
    bad = len(planned["unreadable"]) + len(planned["duplicates"])
    bad += len(left_out) if undecided else 0
    bad += verdicts.get("runs", 0) - verdicts.get("runs equal", 0)
    firsts: dict[str, str] = {}
    for where, kind, what in (f for chunk in chunks for f in chunk["findings"]):
        firsts.setdefault(f"first {kind}", f"{where}: {what}")
    unverified = planned["never verified"]
    return dg.AssetCheckResult(
        check_name=HELD,
        asset_key=asset,
        passed=not bad and not unverified and not left_out,
        severity=dg.AssetCheckSeverity.ERROR if bad else dg.AssetCheckSeverity.WARN,
        metadata={
            "runs verified": planned["verified before"] + verdicts.get("runs equal", 0),
            "runs compared now": verdicts.get("runs", 0),
            "runs never compared": unverified,
            "runs with findings": bad,
            LEFT_OUT_COUNT: len(left_out),
            **({LEFT_OUT: [where for where, _ in left_out[:FINDINGS_KEPT]]} if left_out else {}),
            **({"remedy": LEFT_OUT_REMEDY} if undecided else {}),
            LOADED_DAMAGED: planned["damaged"],
            **{name: verdicts.get(name, 0) for name in VERDICT_FIGURES},
            "runs at the target that the archive does not have": planned["foreign runs"],
            **firsts,
            **findings_table(named[:FINDINGS_KEPT], len(named)),
        },
    )


VERDICT_FIGURES = {
    "equal": "equal",
    "explained by losses": "explained",
    "differing": "differing",
    "missing": "missing",
    "unexpected": "unexpected",
    "rows compared": "rows",
    "files compared": "files",
    "bytes compared": "bytes",
}
"""On the page → field of a verdict. The first five count attributes."""


def findings_table(findings: Sequence[tuple[str, str]], found: int) -> dict[str, dg.MetadataValue]:
    """(where, what) as a table that says how many of all it shows; nothing when there are none."""
    if not findings:
        return {}
    shown = "" if len(findings) >= found else f", first {len(findings)} of {found}"
    rows = [dg.TableRecord({"where": where, "what": what}) for where, what in findings]
    return {f"findings (table{shown})": dg.MetadataValue.table(rows)}


def _sums(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    return {name: sum(c[name] for c in counts) for name in (counts[0] if counts else ())}
