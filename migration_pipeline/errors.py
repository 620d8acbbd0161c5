"""Every error of the package, on two axes: where it happened and what to do about it.

Where: config, source, archive, target, verify. What to do: a `Terminal` error will come back
however often the step is repeated, so somebody has to act; a `Transient` one may pass, so a retry
policy may try again. Each message names the thing, the place and the remedy.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Sequence


class Terminal:
    """Mixed into errors that repeating does not cure."""


class Transient:
    """Mixed into errors that may pass by themselves."""


class MigrationError(Exception):
    """Base of the tree.

    Args:
        what: what happened to which thing, as a clause without a full stop.
        remedy: what the reader can do, as a sentence.
    """

    def __init__(self, what: str, remedy: str = "") -> None:
        self.what = what
        self.remedy = remedy
        super().__init__(f"{what}. {remedy}" if remedy else what)

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders in Dagster; subclasses have constructors of their own.
        return (_rebuild, (type(self), self.what, self.remedy, self.__dict__))


def _rebuild(
    cls: type[MigrationError], what: str, remedy: str, state: dict[str, object]
) -> MigrationError:
    error = cls.__new__(cls)
    MigrationError.__init__(error, what, remedy)
    error.__dict__.update(state)
    return error


# --- config ---------------------------------------------------------------------------------


class ConfigError(Terminal, MigrationError):
    """A setting is missing, malformed or contradicts another."""


class MissingSettingError(ConfigError):
    def __init__(self, variable: str, purpose: str) -> None:
        self.variable = variable
        super().__init__(
            f"{variable} is not set; it is needed for {purpose}",
            f"Set the environment variable {variable}, or the field of the same meaning in the "
            "run config.",
        )


class InvalidTokenError(ConfigError):
    def __init__(self, variable: str, reason: str) -> None:
        super().__init__(
            f"{variable} is not a Neptune API token: {reason}",
            "Copy the whole token from the user menu of your Neptune server; it is base64 text "
            "that holds the server's address.",
        )


class InvalidRegexError(ConfigError):
    def __init__(self, setting: str, pattern: str, reason: str) -> None:
        super().__init__(
            f"{setting}: {pattern!r} is not a regular expression: {reason}",
            "Correct it, or escape special characters with a backslash.",
        )


class UnknownNameError(ConfigError):
    """A name was given that is none of the known ones."""

    def __init__(self, kind: str, name: str, known: Iterable[str], setting: str) -> None:
        self.name = name
        known_names = ", ".join(sorted(known)) or "none"
        super().__init__(f"{setting}: there is no {kind} {name!r}", f"Known: {known_names}.")


class UnknownPartitionError(ConfigError):
    def __init__(self, partition: str, known: Sequence[str]) -> None:
        shown = ", ".join(sorted(known)[:10]) or "none yet"
        super().__init__(
            f"{partition!r} is not a known project partition",
            f"Known: {shown}. Start the job `migrate` with NEPTUNE_PROJECT={partition}, or turn "
            "on the discovery sensor, to add it.",
        )


class PartitionGoneError(ConfigError):
    def __init__(self, partition: str) -> None:
        super().__init__(
            f"the partition {partition!r} of neptune_projects was deleted while a run was at work "
            "on it; this step was not begun",
            "What is exported and loaded stays where it is. The job `migrate` with "
            f"NEPTUNE_PROJECT={partition} adds the partition again and does the rest.",
        )


class MissingExtraError(ConfigError):
    def __init__(self, target: str, extra: str, module: str, kind: str = "target") -> None:
        super().__init__(
            f"{kind} {target} needs the package {module}, which is not installed",
            f"Install it with `uv sync --extra {extra}`.",
        )


# --- several machines -----------------------------------------------------------------------


class BrokerUnavailableError(Transient, MigrationError):
    def __init__(self, broker: str, reason: str) -> None:
        super().__init__(
            f"the broker {broker} cannot be reached: {reason}",
            "Start it, or correct CELERY_BROKER_URL and CELERY_RESULT_BACKEND; what is done stays, "
            "and the next start does the rest.",
        )


class ResultsUnavailableError(Transient, MigrationError):
    def __init__(self, results: str, reason: str) -> None:
        super().__init__(
            f"{results}, where workers say what came of a step, cannot be reached: {reason}",
            "Start it, or correct CELERY_RESULT_BACKEND; what is done stays, and the next start "
            "does the rest.",
        )


class StorageUnavailableError(Transient, MigrationError):
    def __init__(self, reason: str) -> None:
        super().__init__(
            f"Dagster's storage, which dagster.yaml in DAGSTER_HOME names, is not there: {reason}",
            "Start the database, or correct its address. Archive and targets are as they were; the "
            "next start does the rest.",
        )


class OtherCodeError(Terminal, MigrationError):
    def __init__(self, host: str, here: str, planned: str) -> None:
        super().__init__(
            f"the worker on {host} runs migration_pipeline {here}, this step was planned by "
            f"{planned}",
            "Bring all workers and the machine that starts runs to one version, restart them, and "
            "start the same job again.",
        )


class RunEndedError(Terminal, MigrationError):
    def __init__(self, run_id: str) -> None:
        super().__init__(
            f"the Dagster run {run_id} was ended while this step waited for a worker; nothing was "
            "begun",
            "Start the same job again: it does what is missing.",
        )


class BusyProjectError(Terminal, MigrationError):
    def __init__(self, project: str, run_id: str, began: str) -> None:
        super().__init__(
            f"{project} is being worked on by the Dagster run {run_id} since {began}; nothing was "
            "begun here, so nothing is done twice",
            "Start again when that run has ended. If its machine is gone, end it on the page "
            f"(Runs, Terminate, mark as cancelled) or with `dagster run delete {run_id}`.",
        )


# --- source ---------------------------------------------------------------------------------


class SourceError(MigrationError):
    """Reading from a source failed."""


class SourceRefusedError(Terminal, SourceError):
    """The server understood and said no (400, 401, 403, 404 …)."""


class CredentialsRefusedError(SourceRefusedError):
    """The token is unknown, has run out, or was withdrawn: no other request will pass either."""


class SourceUnavailableError(Transient, SourceError):
    """The server could not be reached, or kept answering 429 or 5xx until time ran out."""


class UnknownProjectError(Terminal, SourceError):
    """A source has no such project.

    Args:
        known: those that it has, where that is known: local folders hold nothing in secret.
    """

    def __init__(self, project: str, known: Iterable[str] | None = None) -> None:
        self.project = project
        if known is not None:
            super().__init__(
                f"no local folder is of project {project!r}; there are {', '.join(sorted(known))}",
                "Check the spelling (workspace/project) and the folders of MIGRATION_LOCAL_PATH.",
            )
            return
        super().__init__(
            f"project {project!r} does not exist on the server or the token may not read it",
            "Check the spelling (workspace/project) and the permissions of the token's user.",
        )


class WrongProtocolError(Terminal, SourceError):
    """A project or a server of the other Neptune protocol than the source's."""

    def __init__(self, what: str, source: str) -> None:
        self.source = source
        super().__init__(
            what,
            f"Set MIGRATION_SOURCE={source}, or the field of the same meaning in the run config.",
        )


class InvalidQueryError(Terminal, SourceError):
    """The server does not understand a query that it was given."""

    def __init__(self, setting: str, query: str, said: str) -> None:
        super().__init__(
            f"{setting}: the server does not understand {query!r}: {said}",
            "Correct the query; it is the server's own language (NQL).",
        )


class RunGoneError(Terminal, SourceError):
    """A run that was listed does not exist any more."""

    def __init__(self, run: str) -> None:
        super().__init__(
            f"{run} is not there any more: it was deleted after it was listed",
            "Nothing is to be done; the next export does not list it.",
        )


class StepOutOfRangeError(Terminal, SourceError):
    """A step that the archive cannot hold: its steps are 64-bit numbers of millionths."""

    def __init__(self, run: str, attribute: str, step: float) -> None:
        super().__init__(
            f"run {run}, series {attribute!r}: step {step:g} is beyond what the archive holds, "
            "9,200,000,000,000",
            "Export the run without this series (an attribute filter), or log it with steps that "
            "are smaller.",
        )


class MissingFilesError(Terminal, SourceError):
    """Files that a run names are not in the server's storage."""

    def __init__(self, run: str, paths: Sequence[str]) -> None:
        self.paths = list(paths)
        shown = ", ".join(repr(p) for p in self.paths[:5])
        more = f" and {len(self.paths) - 5} more" if len(self.paths) > 5 else ""
        super().__init__(
            f"run {run}: {len(self.paths)} file(s) are gone from the server's storage: "
            f"{shown}{more}",
            "If they are lost for good, set MIGRATION_ACCEPT_MISSING_FILES=1: the run is then "
            "exported and its manifest names them.",
        )


class UnreadableRunError(Terminal, SourceError):
    """Something in a run that nobody has thought of."""

    def __init__(self, run: str, error: BaseException) -> None:
        super().__init__(
            f"run {run} cannot be read: {type(error).__name__}: {error}",
            "All others are; the log has the place. Please report it.",
        )


class HeldByAnotherError(Terminal, SourceError):
    """A run that would replace what another source brought, of which it may be a part only."""

    def __init__(self, run: str, source: str) -> None:
        super().__init__(
            f"run {run} is in the archive already, exported from {source}; local directories may "
            "hold a part of it only",
            "Set MIGRATION_LOCAL_MERGE=archive to have all of both, or export into another archive "
            "(MIGRATION_DATA_PATH, MIGRATION_FILES_PATH).",
        )


class AdoptedRunError(Terminal, SourceError):
    """Runs of local directories of which an adopted archive holds something already."""

    def __init__(self, runs: Sequence[str], place: str) -> None:
        shown = ", ".join(runs[:5]) + (f" and {len(runs) - 5} more" if len(runs) > 5 else "")
        super().__init__(
            f"{len(runs)} run(s) of local directories lie in {place} as another tool wrote them, "
            f"which is never rewritten: {shown}",
            "Export the directories into another archive (MIGRATION_DATA_PATH, "
            "MIGRATION_FILES_PATH), merged with this one where MIGRATION_LOCAL_MERGE=archive, "
            "MIGRATION_LOCAL_MERGE_DATA_PATH and MIGRATION_LOCAL_MERGE_FILES_PATH say so; or leave "
            "these runs out by run_regex.",
        )


class UnmergeableRunError(Terminal, SourceError):
    """A run of which an archive that it is merged with holds nothing that can be read."""

    def __init__(self, run: str, place: str, reason: str) -> None:
        super().__init__(
            f"run {run} cannot be merged: not a row of it can be read in {place}: {reason}",
            "Restore it there from a backup, or export it without MIGRATION_LOCAL_MERGE.",
        )


class IncompleteAnswerError(Transient, SourceError):
    """What arrived is shorter than, or contradicts, what the server announced."""


# --- archive --------------------------------------------------------------------------------


class ArchiveError(MigrationError):
    """Reading or writing the archive failed."""


class ArchiveNotWritableError(Terminal, ArchiveError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"cannot write {path} on {socket.gethostname()}: {reason}",
            "Free space, or give this user the right to write there, or point "
            "MIGRATION_DATA_PATH and MIGRATION_FILES_PATH elsewhere. What was whole stays whole; "
            "the next run does the rest.",
        )


class ObjectStoreRefusedError(Terminal, ArchiveError):
    """There is no such bucket, or the store does not let us."""

    def __init__(self, path: str, reason: str, remedy: str = "") -> None:
        super().__init__(
            f"{path} cannot be used: {reason}",
            "Correct MIGRATION_DATA_PATH and MIGRATION_FILES_PATH, or make the bucket and give "
            f"these credentials the right to list, read, write and delete there. {remedy}".strip(),
        )


class ObjectStoreUnavailableError(Transient, ArchiveError):
    """The object store did not answer, or not with what it was asked for."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} cannot be reached: {reason}",
            "Look at the store and at its address in the environment, and start the job again: "
            "what was whole stays whole, and only what is missing is done.",
        )


class StoppedWriterError(Transient, ArchiveError):
    """A writer stood still for so long that others may have taken its place."""

    def __init__(self, place: str) -> None:
        super().__init__(
            f"this process stood still, or did not reach {place}, for so long that others had to "
            "take it for dead",
            "Nothing that it had not finished was published; start the job again.",
        )


class ReportNotWritableError(Terminal, ArchiveError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"cannot write the report {path}: {reason}",
            "Point MIGRATION_REPORT_PATH at a directory that this user may write to and that has "
            "space. Reports that were there before are untouched.",
        )


class NotAnArchiveError(Terminal, ArchiveError):
    def __init__(self, path: str, reason: str) -> None:
        super().__init__(
            f"{path} is not an archive: {reason}",
            "MIGRATION_DATA_PATH must be the folder that holds one folder a project with "
            "…_part_0.parquet files in it.",
        )


class UnknownRunError(Terminal, ArchiveError):
    def __init__(self, run: str, place: str) -> None:
        super().__init__(
            f"run {run} is not in the archive {place}",
            "Export it first, or correct MIGRATION_DATA_PATH.",
        )


class DamagedPartError(Terminal, ArchiveError):
    def __init__(self, path: str, reason: str) -> None:
        self.path = path
        super().__init__(
            f"part {path} is damaged: {reason}",
            "Export the run again (delete its parts first), or restore the file from a backup.",
        )


# --- target ---------------------------------------------------------------------------------


class TargetError(MigrationError):
    """Writing to, or reading from, a target failed."""


class TargetRefusedError(Terminal, TargetError):
    """The target understood and said no."""


class TargetUnavailableError(Transient, TargetError):
    def __init__(self, target: str, address: str, reason: str) -> None:
        super().__init__(
            f"target {target} at {address} cannot be reached: {reason}",
            "Start it, or correct the address in its settings; runs that are already complete "
            "there are not sent again.",
        )


class StoreNotWritableError(TargetRefusedError):
    """A place on this machine cannot be written: rights, space, a missing folder."""

    def __init__(self, target: str, path: str, reason: str, setting: str) -> None:
        super().__init__(
            f"target {target}: cannot write {path}: {reason}",
            f"Free space, or give this user the right to write there, or point {setting} "
            "elsewhere. Runs that are complete there stay so; the next load does the rest.",
        )


class StoreDamagedError(TargetRefusedError):
    """A database of a target on this machine cannot be read as what it should be."""

    def __init__(self, target: str, path: str, reason: str) -> None:
        super().__init__(
            f"target {target}: {path} cannot be used: {reason}",
            "Restore it from a backup, or move it away: its runs are then loaded again.",
        )


class StoreBusyError(Transient, TargetError):
    """Another process holds a database of a target on this machine."""

    def __init__(self, target: str, path: str, reason: str) -> None:
        super().__init__(
            f"target {target}: {path} is in use by another process: {reason}",
            "Let that process finish, or stop it, and load again; runs that are complete there are "
            "not sent again.",
        )


class UntestedStoreError(TargetRefusedError):
    """A tracker's package or database has tables of a version that was never tried."""

    def __init__(self, target: str, where: str, found: object, tested: object, extra: str) -> None:
        super().__init__(
            f"target {target}: the tables of {where} have version {found}, and only {tested} was "
            "tested",
            f"Install the version that was (`uv sync --extra {extra}`), or point the target's "
            "settings at another place. Nothing was written.",
        )


class StepsMeetError(Terminal, TargetError):
    """Two different steps of one series would become the same step at the target."""

    def __init__(self, run: str, attribute: str, first: str, second: str, multiplier: str) -> None:
        super().__init__(
            f"run {run}, series {attribute!r}: steps {first} and {second} become one with step "
            f"multiplier {multiplier}",
            "Unset MIGRATION_STEP_MULTIPLIER to let the smallest exact one be chosen, or set a "
            "larger one. Nothing of the run was sent.",
        )


class StepTooLargeError(Terminal, TargetError):
    """A step times the multiplier does not fit into the target's 64-bit integers."""

    def __init__(self, run: str, attribute: str, step: str, multiplier: str) -> None:
        super().__init__(
            f"run {run}, series {attribute!r}: step {step} times step multiplier {multiplier} "
            "exceeds a 64-bit integer",
            "Set MIGRATION_STEP_MULTIPLIER to a smaller one. Nothing of the run was sent.",
        )


# --- verify ---------------------------------------------------------------------------------


class VerifyError(Terminal, MigrationError):
    """What a target gives back is not what the archive holds."""


class RunsFailedError(Terminal, MigrationError):
    """Some runs of a step failed; all others were done."""

    def __init__(self, action: str, place: str, failures: Sequence[tuple[str, str]]) -> None:
        self.failures = list(failures)
        listed = "\n".join(f"  {run}: {reason}" for run, reason in self.failures[:20])
        more = f"\n  … and {len(self.failures) - 20} more" if len(self.failures) > 20 else ""
        super().__init__(
            f"{len(self.failures)} run(s) of {place} failed to {action}:\n{listed}{more}\n"
            "All other runs were done",
            "Start the same job again: it does only what is missing.",
        )
