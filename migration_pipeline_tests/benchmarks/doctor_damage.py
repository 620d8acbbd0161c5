"""Which share of damage the doctor finds, by kind: with manifests, and without.

    uv run python -m migration_pipeline_tests.benchmarks.doctor_damage [--archives 500]

Each archive has six runs that are alike (two experiments of three runs, one configuration), is
damaged in one place, and examined. Without manifests a suspicion counts as found, and the share of
proof stands beside it; with them only proof counts. A run of which no part is left can only be a
finding (a gap in the numbers, files that nobody names), which is no proof. What is found without
manifests depends on how alike runs are: these are.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from random import Random

from migration_pipeline.archive.doctor.examine import examine
from migration_pipeline_tests.archive.doctor.damaging import KINDS, is_found
from migration_pipeline_tests.archive.doctor.projects import PROJECT, adopted_project, own_project
from migration_pipeline_tests.archive.making import archive_in


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--archives", type=int, default=500)
    archives = parser.parse_args().archives
    counts: Counter[tuple[str, str]] = Counter()
    with tempfile.TemporaryDirectory() as name:
        wholes = {"ours": Path(name, "ours"), "adopted": Path(name, "adopted")}
        own_project(archive_in(wholes["ours"]), parts=True)
        adopted_project(archive_in(wholes["adopted"]))
        for seed in range(archives):
            kind = sorted(KINDS)[seed % len(KINDS)]
            for whose, whole in wholes.items():
                to = Path(name, "damaged")
                shutil.rmtree(to, ignore_errors=True)
                shutil.copytree(whole, to)
                archive, chance = archive_in(to), Random(seed)
                run = KINDS[kind](archive, chance)
                while run is None:  # nothing to damage at that place
                    run = KINDS[kind](archive, chance)
                found = examine(archive, PROJECT)
                counts[kind, whose] += 1
                proven = is_found(found, kind, run, proof=True)
                is_gone = kind == "run deleted" and whose == "adopted"
                counts[kind, f"{whose} proof"] += proven and not is_gone
                counts[kind, f"{whose} found"] += is_found(found, kind, run, proof=False)
    print(f"{archives} archives of each sort")
    print("| damage | with manifests | without: found | without: proven |")
    print("|---|---|---|---|")
    for kind in KINDS:
        ours, adopted = counts[kind, "ours"], counts[kind, "adopted"]
        print(
            f"| {kind} | {counts[kind, 'ours proof']} of {ours} | "
            f"{counts[kind, 'adopted found']} of {adopted} | "
            f"{counts[kind, 'adopted proof']} of {adopted} |"
        )
    total = {
        column: sum(counts[kind, column] for kind in KINDS)
        for column in ("ours", "ours proof", "adopted", "adopted found", "adopted proof")
    }
    print(
        f"| all | {total['ours proof']} of {total['ours']} | {total['adopted found']} of "
        f"{total['adopted']} | {total['adopted proof']} of {total['adopted']} |"
    )


if __name__ == "__main__":
    main()
