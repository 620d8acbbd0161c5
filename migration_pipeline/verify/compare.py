"""Compares an archived run with what a target gives back, value by value.

Both sides are reduced to order-free sums per attribute (`archive.digest.RunSums`): the archive's
rows and files here, the target's answer there. The read-back shares no code with what wrote it. An
attribute that differs is looked at once more, alone, so that the first differing point is named.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal

import pyarrow as pa

from migration_pipeline.archive.archive import ArchivedRun, RunKey
from migration_pipeline.archive.digest import AttributeSum, FileInfo, RunSums, digest_file
from migration_pipeline.errors import DamagedPartError
from migration_pipeline.mapping.facts import FactsReader
from migration_pipeline.mapping.steps import step_text
from migration_pipeline.mapping.terms import Loss, ProjectMapping, RunFacts
from migration_pipeline.targets.target import LoadState, Meter, Target, TargetRun
from migration_pipeline.verify.closer import Attribute, difference

FindingKind = Literal["missing", "unexpected", "differing", "duplicate run", "state", "facts"]
NAMED = 20
"""Findings of one run that are named; all are counted."""
_LOOKED_AT = 5
"""Differing attributes that are read once more, to name the first differing point."""


@dataclass(frozen=True)
class Finding:
    """One difference between the archive and the target.

    Args:
        kind: `missing`, `unexpected` and `differing` concern an attribute.
        attribute: its path; empty when it concerns the run.
        what: a clause that says what differs, with the first differing point where known.
    """

    kind: FindingKind
    attribute: str
    what: str

    def __str__(self) -> str:
        named = f"{self.kind} {self.attribute!r}" if self.attribute else self.kind
        return f"{named}: {self.what}"


@dataclass
class Verdict:
    """What a comparison of one run found.

    Args:
        equal: attributes that are the same, bit by bit.
        differing: attributes that are on both sides and not the same.
        missing: attributes that only the archive has.
        unexpected: attributes that only the target has.
        explained: attributes that differ as far as a loss that the target announced beforehand
            explains it, and no further; they count neither as equal nor as differing.
        rows: compared values and points.
        files: compared files.
        bytes: of those files.
        findings: the first ones, named; attributes are counted in full above.
    """

    key: RunKey
    equal: int = 0
    differing: int = 0
    missing: int = 0
    unexpected: int = 0
    explained: int = 0
    rows: int = 0
    files: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def equal_to_archive(self) -> bool:
        return not self.findings

    def add(self, kind: FindingKind, attribute: str, what: str) -> None:
        """Notes a finding, by name if there is still room."""
        if len(self.findings) < NAMED:
            self.findings.append(Finding(kind, attribute, what))


def compare_run(
    run: ArchivedRun,
    target: Target,
    mapping: ProjectMapping,
    at_target: TargetRun,
    losses: Collection[Loss] = (),
    meter: Meter | None = None,
) -> Verdict:
    """Reads a run back and compares it with the archive.

    Args:
        at_target: as the target lists it.
        losses: announced before the load; those that are kept nowhere explain a difference.
        meter: is told of the rows that were read.

    Raises:
        DamagedPartError: the archive is not what its own manifest says.
        TargetError: the target cannot be read.
    """
    verdict = Verdict(run.key)
    if at_target.state is not LoadState.COMPLETE:
        verdict.add("state", "", f"the run is {at_target.state} at {target.address}")
        return verdict
    if len(at_target.ids) > 1:
        verdict.add(
            "duplicate run",
            "",
            f"{len(at_target.ids)} runs at {target.address} have its identity: "
            f"{', '.join(at_target.ids)}",
        )
    archived, facts = _archived(run, verdict)
    with tempfile.TemporaryDirectory(prefix="migration-") as scratch:
        returned = _returned(target, run.key, mapping, Path(scratch), meter)
        _compare_attributes(verdict, archived, returned, losses)
        _name_points(verdict, run, target, mapping, archived, returned, Path(scratch))
    _compare_facts(verdict, target.shown_facts(facts), target.facts(run.key, mapping))
    return verdict


def _archived(run: ArchivedRun, verdict: Verdict) -> tuple[RunSums, RunFacts]:
    manifest = run.manifest
    known = {f.path: FileInfo(f.size, f.digest) for f in manifest.files} if manifest else {}

    def info(path: str) -> FileInfo:
        found = known.get(path) or run.file_info(path)
        known[path] = found
        verdict.files += 1
        verdict.bytes += found.size
        return found

    sums, reader = RunSums(info), FactsReader()
    for batch in run.batches():
        sums.update(batch)
        reader.update(batch)
    if manifest and sums.digest() != manifest.digest:
        raise DamagedPartError(str(run.parts[0]), "its rows are not what its manifest says")
    verdict.rows = sums.rows
    return sums, reader.facts(run.key, manifest.parent if manifest else None)


def _returned(
    target: Target, key: RunKey, mapping: ProjectMapping, into: Path, meter: Meter | None
) -> RunSums:
    sums = RunSums(lambda path: digest_file(into / path))
    for batch in target.read_back(key, mapping, into):
        sums.update(batch)
        _forget_files(batch, into)
        if meter:
            meter.add(points=batch.num_rows)
    return sums


def _forget_files(batch: pa.RecordBatch, into: Path) -> None:
    """Deletes the downloaded files that a batch names."""
    column = batch.column("file_value")
    if column.null_count == len(column):
        return
    for value in column.to_pylist():
        if value and value["path"]:
            file = into / value["path"]
            if file.is_file():
                file.unlink()


def _compare_attributes(
    verdict: Verdict, archived: RunSums, returned: RunSums, losses: Collection[Loss]
) -> None:
    unkept = {loss.attribute: loss for loss in losses if not loss.kept}
    for (path, kind), there in sorted(archived.attributes.items()):
        back = returned.attributes.get((path, kind))
        if back is not None and back.key() == there.key():
            verdict.equal += 1
        elif path in unkept and _explains(unkept[path], there, back):
            verdict.explained += 1
        elif back is None:
            verdict.missing += 1
            verdict.add("missing", path, f"{kind} with {_rows(there.rows)}")
        else:
            verdict.differing += 1
            verdict.add("differing", path, _difference(archived, returned, (path, kind)))
    for (path, kind), back in sorted(returned.attributes.items()):
        if (path, kind) not in archived.attributes:
            verdict.unexpected += 1
            verdict.add("unexpected", path, f"{kind} with {_rows(back.rows)}")


def _explains(loss: Loss, there: AttributeSum, back: AttributeSum | None) -> bool:
    """A loss explains that as many rows as it counts are gone, or came back changed."""
    lost = there.rows - (back.rows if back else 0)
    return 0 <= lost <= loss.count


def _difference(archived: RunSums, returned: RunSums, attribute: Attribute) -> str:
    """What the sums alone tell."""
    there, back = archived.attributes[attribute], returned.attributes[attribute]
    for other, sums in archived.attributes.items():
        if other[0] != attribute[0] and sums.key() == back.key():
            return f"it holds what belongs to {other[0]!r}"
    said = []
    if there.rows != back.rows:
        said.append(f"{_rows(there.rows)} in the archive, {back.rows:,} at the target")
    for what, pair in (
        ("first step", (there.step_min, back.step_min)),
        ("last step", (there.step_max, back.step_max)),
    ):
        if pair[0] != pair[1]:
            shown = ["none" if s is None else step_text(s) for s in pair]
            said.append(f"{what} is {shown[1]}, not {shown[0]}")
    if (there.time_min, there.time_max) != (back.time_min, back.time_max):
        said.append("times differ")
    return ", ".join(said) or "values differ"


def _rows(count: int) -> str:
    return f"{count:,} {'row' if count == 1 else 'rows'}"


def _name_points(
    verdict: Verdict,
    run: ArchivedRun,
    target: Target,
    mapping: ProjectMapping,
    archived: RunSums,
    returned: RunSums,
    scratch: Path,
) -> None:
    """Adds the first differing point to the first findings about attributes."""
    differing = [
        (attribute, i)
        for i, finding in enumerate(verdict.findings)
        for attribute in archived.attributes
        if finding.kind == "differing"
        and attribute[0] == finding.attribute
        and attribute in returned.attributes
        and archived.attributes[attribute].key() != returned.attributes[attribute].key()
    ][:_LOOKED_AT]
    for attribute, i in differing:
        more = difference(
            run,
            attribute,
            target.read_back(run.key, mapping, scratch / str(i), {attribute[0]}),
            scratch / str(i),
        )
        if more:
            old = verdict.findings[i]
            verdict.findings[i] = Finding(old.kind, old.attribute, f"{old.what}: {more}")


_SAID = {"start": "start (ms)", "end": "end (ms)", "parent": "run that it was forked from"}


def _compare_facts(verdict: Verdict, expected: RunFacts, found: RunFacts) -> None:
    for item in fields(RunFacts):
        there, here = getattr(expected, item.name), getattr(found, item.name)
        if there != here and not (there != there and here != here):
            said = _SAID.get(item.name, item.name.replace("_", " "))
            verdict.add("facts", "", f"the run's {said} is {here!r}, not {there!r}")
