"""A loader in memory, in place of `targets.loading`: what Dagster makes of its answers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from migration_pipeline.archive.archive import Archive, RunKey
from migration_pipeline.errors import MigrationError
from migration_pipeline.targets.loading import (
    LoadPlan,
    LoadReport,
    LoadResult,
    LoadSettings,
    Loss,
    ProjectMapping,
    RunLoad,
    Target,
    VerifyMode,
)
from migration_pipeline.verify.compare import Finding, Verdict


@dataclass
class FakeLoader:
    """Holds runs by name.

    Args:
        errors: run id → what its load fails with, once for each entry.
        differing: run ids whose read-back differs.
        sent: run ids in the order in which they were loaded.
    """

    errors: dict[str, list[MigrationError]] = field(default_factory=dict)
    differing: set[str] = field(default_factory=set)
    complete: dict[RunKey, bool] = field(default_factory=dict)
    """Run → verified."""
    unreadable: list[tuple[str, MigrationError]] = field(default_factory=list)
    duplicates: dict[RunKey, tuple[str, ...]] = field(default_factory=dict)
    sent: list[str] = field(default_factory=list)
    settings: LoadSettings | None = None

    def plan_load(
        self,
        target: Target,
        archive: Archive,
        project: str,
        settings: LoadSettings | None = None,
        keys: Collection[RunKey] | None = None,
    ) -> LoadPlan:
        self.settings = settings
        there = [key for key in self.complete if key.project == project]
        due = [key for key in archive.runs(project) if key not in self.complete]
        return LoadPlan(
            target="mlflow",
            address="sqlite:///fake.db",
            project=project,
            mapping=ProjectMapping(step_multiplier=1000),
            families=[(key,) for key in sorted(due, key=str)],
            reasons=dict.fromkeys(due, "absent"),
            complete=there,
            unverified=[key for key in there if not self.complete[key]],
            unreadable=self.unreadable,
            duplicates=self.duplicates,
            foreign=[],
            urls={key: f"http://target/{key.run}" for key in there},
        )

    def load_runs(
        self,
        target: Target,
        archive: Archive,
        mapping: ProjectMapping,
        keys: Sequence[RunKey],
        *,
        verify: VerifyMode = "new",
        parallel: int | None = None,
        progress: Callable[[str], None],
    ) -> LoadResult:
        assert mapping.step_multiplier == 1000
        return LoadResult([self._load(key, verify) for key in keys], seconds=0.5)

    def _load(self, key: RunKey, verify: VerifyMode) -> RunLoad:
        if pending := self.errors.get(key.run):
            return RunLoad(key, error=pending.pop(0))
        done = RunLoad(key, url=f"http://target/{key.run}", skipped=key in self.complete)
        if not done.skipped:
            self.sent.append(key.run)
            done.report = LoadReport(
                key,
                attributes=4,
                points=20,
                files=1,
                bytes=11,
                losses=[Loss("metrics/loss", "infinity", 2, "points.jsonl")],
                renames={"a:b": "a_b"},
                url=done.url,
            )
        self.complete[key] = verify != "off" and key.run not in self.differing
        if verify != "off":
            done.verdict = Verdict(key, equal=4, rows=23, files=1, bytes=11)
            if key.run in self.differing:
                done.verdict.equal, done.verdict.missing = 3, 1
                done.verdict.findings = [Finding("missing", "metrics/loss", "it is not there")]
        return done
