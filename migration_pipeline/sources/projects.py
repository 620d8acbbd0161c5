"""Which projects of a source: named ones, or all that it lists, narrowed by patterns."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass

from migration_pipeline.errors import InvalidRegexError, WrongProtocolError
from migration_pipeline.sources.source import Selection, Source

log = logging.getLogger(__name__)
NAMES_VARIABLE = "NEPTUNE_PROJECT"
INCLUDE_VARIABLE, EXCLUDE_VARIABLE = "MIGRATION_INCLUDE_PROJECTS", "MIGRATION_EXCLUDE_PROJECTS"


@dataclass(frozen=True)
class ProjectChoice:
    """Names and patterns; a project must pass all that is given.

    Args:
        names: exactly these; empty: all that the source lists.
        include: regular expression, searched in `workspace/project`: only where it is found.
        exclude: the same: not where it is found.

    Raises:
        InvalidRegexError: a pattern is none.
    """

    names: Sequence[str] = ()
    include: str = ""
    exclude: str = ""

    def __post_init__(self) -> None:
        for variable, pattern in self._patterns():
            try:
                re.compile(pattern)
            except re.error as error:
                raise InvalidRegexError(variable, pattern, str(error)) from error

    def of(self, projects: Sequence[str]) -> list[str]:
        """Those of these projects that are chosen; a pattern that none has says so."""
        named = [project for project in projects if not self.names or project in self.names]
        for variable, pattern in self._patterns():
            if pattern and not any(re.search(pattern, project) for project in named):
                log.warning(
                    "%s=%r is found in none of %d project(s): %s",
                    variable,
                    pattern,
                    len(named),
                    ", ".join(named[:20]),
                )
        return [project for project in named if self._passes(project)]

    def _patterns(self) -> tuple[tuple[str, str], tuple[str, str]]:
        return (INCLUDE_VARIABLE, self.include), (EXCLUDE_VARIABLE, self.exclude)

    def _passes(self, project: str) -> bool:
        excluded = self.exclude and re.search(self.exclude, project)
        return not excluded and re.search(self.include, project) is not None


def find_projects(source: Source, choice: ProjectChoice, selection: Selection) -> list[str]:
    """The projects to do; those that were named must exist, and come in the order of their names.

    Raises:
        UnknownProjectError: one does not.
        WrongProtocolError: one, or all that are listed, are for another source.
    """
    try:
        listed = source.list_projects()
    except WrongProtocolError:
        if not choice.names:
            raise
        listed = []
    for project in choice.names:
        if project not in listed:  # a public one need not be listed: asking for its runs decides
            source.list_runs(project, selection)
    return choice.of(choice.names or listed)
