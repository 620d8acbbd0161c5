"""The rules by which runs are judged: which are proof, which are suspicions, what each means.

Whether a rule is proof is decided here and nowhere else. Proof is what nothing innocent explains:
the archive contradicts its manifest or itself, or the tool that wrote it kept a record of a
failure. A suspicion is a heuristic, and its meaning names the innocent cause.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from migration_pipeline.archive.doctor.diagnosis import Reason

_SHOWN = 5


@dataclass(frozen=True)
class Rule:
    """One rule of the doctor.

    Args:
        proof: a run that it finds is damaged, not only suspect.
        meaning: what follows from it, in a sentence for the report.
    """

    proof: bool
    meaning: str


RULES: dict[str, Rule] = {
    "part_unreadable": Rule(True, "A part is not Parquet, is cut off, or its rows cannot be read."),
    "part_missing": Rule(True, "A part between or before others, or that a manifest counts, is "
                         "not there."),
    "other_schema": Rule(True, "A part has not the archive's columns: it cannot be read as one."),
    "foreign_part": Rule(True, "A part is of another run, project or export than its name says."),
    "no_rows": Rule(True, "There are parts, but not a single row in them."),
    "manifest_unreadable": Rule(True, "The manifest in part 0 cannot be read."),
    "rows_differ": Rule(True, "The rows are not those that the manifest announces, by their number "
                        "or by their digest."),
    "file_missing": Rule(True, "A file that a row or the manifest names is not there."),
    "file_differs": Rule(True, "A file has not the size or the digest that the manifest says."),
    "file_outside": Rule(True, "A row names a file outside of the archive's directories."),
    "failed_request": Rule(True, "neptune-exporter's errors file names the run, and what failed is "
                           "not in the archive."),
    "source_damaged": Rule(True, "What the run was read from was damaged or incomplete: the run is "
                           "there up to what could be read."),
    "sources_differ": Rule(False, "Two sources that the run was merged from differ in a value: one "
                           "of them was changed, or the run was logged twice; or one of them "
                           "was suspect itself."),
    "failed_before": Rule(False, "neptune-exporter's errors file names an attribute that the run "
                          "has: a part of it may be missing, or a later export brought it."),
    "leftover_tmp": Rule(False, "Temporary parts lie beside the run: an export or a copy of it was "
                         "broken off, or is under way."),
    "empty_file": Rule(False, "A file is empty: it was so at the source, or its download was "
                       "broken off."),
    "file_claimed_twice": Rule(False, "Several rows name one file: all but one of them have lost "
                               "theirs, unless the files were equal."),
    "without_class": Rule(False, "The run has no rows of a class that most of its siblings have: "
                          "the export of the class failed, or the run never logged any."),
    "without_parameters": Rule(False, "The run has no sys/ attributes, other runs have: the export "
                               "of its parameters failed, or left them out."),
    "attribute_missing": Rule(False, "The run lacks an attribute that nearly all of its siblings "
                              "have: its export failed, or the run never logged it."),
    "series_stops_early": Rule(False, "A series ends far below those of its siblings: its export "
                               "was broken off, or the run ended early."),
    "no_metrics": Rule(False, "No run of the project has metrics: the requests for them failed "
                       "(until 2025-11-25 neptune-exporter kept no errors file), or they were "
                       "left out, or nobody logged any."),
    "last_classes_missing": Rule(False, "No run of the project has text, histograms or files, "
                                 "which neptune-exporter writes last: the export was interrupted, "
                                 "or left them out, or nobody logged any."),
    "nan_became_null": Rule(False, "A number has a row and no value: neptune-exporter writes NaN "
                            "so."),
    "rows_without_value": Rule(False, "Rows have no value although nothing explains why they were "
                               "written: the value could not be fetched or converted."),
    "integer_rounded": Rule(False, "An integer beyond 2**53 is exactly a double: neptune-exporter "
                            "rounds such integers when other runs lack the attribute."),
    "times_shifted": Rule(False, "The points' times are a whole number of hours off "
                          "sys/creation_time: local time was taken for UTC, or the times were "
                          "given by hand."),
    "unordered_rows": Rule(False, "Steps of a series go backward, which neptune-exporter does not "
                           "write: no loss, but somebody changed the parts. Can be repaired."),
    "duplicate_rows": Rule(False, "Rows of an attribute share one step: written twice, or logged "
                           "twice. Rows that are equal throughout can be repaired."),
}  # fmt: skip

FINDINGS: dict[str, str] = {
    "folder_of_another_project": "A folder holds runs of a project whose folder has another name.",
    "unreadable_folder": "No part of a folder says which project it is of.",
    "run_never_finished": "Temporary parts of a run that has no part 0: its export was broken off, "
    "or is under way.",
    "stray_tmp": "Temporary parts beside runs with a manifest: of a later export that was broken "
    "off, or is under way. They do not concern the run.",
    "gap_in_ids": "Numbers are missing among the sys/ids: runs that were deleted, or that the "
    "export left out.",
    "parent_missing": "Runs are forked from runs that are not here.",
    "listing_may_lack_runs": "Until 2026-02-03, neptune-exporter's listing of a 2.x project could "
    "leave out runs.",
    "files_directory_missing": "None of the files that rows name is there: the files directory is "
    "missing, or belongs to other data.",
    "unnamed_files": "Files that no row names.",
    "absent_or_nan": "Numbers without a value that other runs have: the run does not have them, or "
    "they were NaN; neptune-exporter writes both alike.",
    "errors_file_unreadable": "Lines of an errors file cannot be read.",
    "errors_elsewhere": "An errors file names a run or project that is not here.",
}
"""Code of a finding that belongs to no run → what it means."""


def because(code: str, text: str) -> Reason:
    """A reason by one of the rules."""
    return Reason(code, text, RULES[code].proof)


def some(names: Sequence[str]) -> str:
    """The first names, quoted, and how many there are beyond."""
    return listed([repr(name) for name in names[:_SHOWN]], len(names))


def counted(names: Sequence[tuple[str, int]]) -> str:
    """The same with a number behind each."""
    return listed([f"{name!r} ({number})" for name, number in names[:_SHOWN]], len(names))


def listed(first: Sequence[str], number: int) -> str:
    """What is first of a number of things, and how many more there are."""
    more = f" and {number - len(first)} more" if number > len(first) else ""
    return ", ".join(first) + more
