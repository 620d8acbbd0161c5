"""Damaged runs of a project: left out of its load, or loaded as far as they can be read.

Whether a run is damaged is the doctor's to say, and he is asked before anything is sent: part of a
run at a target looks like a run. What could be loaded of it is marked there as what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.archive.doctor.diagnosis import Diagnosis
from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline.archive.location import Location
from migration_pipeline.archive.salvage import ArchiveWithDamage, SalvagedRun, salvage

Handling = Literal["fail", "leave out", "load"]
"""Of damaged runs: leave them out and fail at the end, because nobody decided; leave them out, as
decided; load what can be read of them, marked as damaged."""


@dataclass(frozen=True)
class Damage:
    """What is damaged of a project, and how it is handled.

    Args:
        archive: the archive as a load is to see it.
        left_out: run → what is wrong with it.
        loaded: the same for those of which something can be read, where they are to be loaded.
    """

    archive: Archive
    left_out: Mapping[RunKey, str] = field(default_factory=dict)
    loaded: Mapping[RunKey, tuple[str, ...]] = field(default_factory=dict)


def look_for_damage(
    archive: Archive, project: str, handling: Handling, errors: Sequence[Location] = ()
) -> Damage:
    """Examines a project before its load.

    The digests of manifests are recomputed only where somebody decided about damaged runs: else
    the read-back does that for the runs that are loaded, and fails them by name.

    Args:
        errors: neptune-exporter's errors files.
    """
    found = examine(archive, project, thorough=handling != "fail", errors=errors)
    proofs = {run.key: _proofs(run) for run in found.runs if run.grade == "damaged"}
    if handling != "load":
        left_out = {key: "; ".join(said) for key, said in proofs.items()}
        return Damage(_without(archive, left_out), left_out)
    return with_damage(archive, proofs)


def with_damage(archive: Archive, damage: Mapping[RunKey, tuple[str, ...]]) -> Damage:
    """An archive whose damaged runs are read as far as they can be.

    Args:
        damage: run → what is wrong with it. A run of which no row can be read is left out.
    """
    found = {key: salvage(archive, key, said) for key, said in damage.items()}
    salvaged = {key: run for key, run in found.items() if run}
    left_out = {
        key: f"not a row of it can be read: {'; '.join(damage[key])}"
        for key in damage
        if key not in salvaged
    }
    return Damage(
        _without(archive, left_out, salvaged), left_out, {key: damage[key] for key in salvaged}
    )


def _without(
    archive: Archive,
    left_out: Mapping[RunKey, str],
    salvaged: Mapping[RunKey, SalvagedRun] | None = None,
) -> Archive:
    if not left_out and not salvaged:
        return archive
    return ArchiveWithDamage(
        archive.data,
        archive.files,
        archive.model_data,
        archive.model_files,
        dict(salvaged or {}),
        frozenset(left_out),
    )


def _proofs(run: Diagnosis) -> tuple[str, ...]:
    return tuple(reason.text for reason in run.reasons if reason.proof)
