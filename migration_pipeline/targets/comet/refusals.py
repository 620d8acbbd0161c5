"""What Comet answers with an error, in words and settings of its users."""

from __future__ import annotations

from migration_pipeline.errors import TargetRefusedError

# comet_ml/exceptions.py
_BAD_KEY, _NO_WORKSPACE, _NO_ACCESS, _VIEW_ONLY = 90212, 90219, 90210, 7000011
_SERVICE_ACCOUNT, _PROJECT_FULL, _FOR_LLM = 7000023, 7000020, 34323
_AGAIN = "Correct what it names and start again; runs that are complete are not sent again."


def refused_login(address: str) -> TargetRefusedError:
    return TargetRefusedError(
        f"target comet at {address} refuses the API key",
        "Set COMET_API_KEY to one of its keys (Account settings, API keys), and COMET_URL_OVERRIDE "
        "where they are of a Comet of your own.",
    )


def refusal(
    doing: str, address: str, workspace: str, status: int, code: int | None, said: str | None
) -> TargetRefusedError:
    """
    Args:
        code: `sdk_error_code`.
        said: the message in the answer; None: the answer is not Comet's.
    """
    if code == _BAD_KEY or (status == 401 and said is not None):
        return refused_login(address)
    if said is None and status != 413:
        return TargetRefusedError(
            f"what answers at {address} is not Comet (status {status}, {doing})",
            "Correct COMET_URL_OVERRIDE.",
        )
    if code == _NO_WORKSPACE:
        return TargetRefusedError(
            f"target comet at {address} has no workspace {workspace!r} for this API key",
            "Set COMET_WORKSPACE to one of yours.",
        )
    if code in (_NO_ACCESS, _VIEW_ONLY, _SERVICE_ACCOUNT) or status == 403:
        return TargetRefusedError(
            f"target comet at {address}, {doing}: this API key may not write to the workspace "
            f"{workspace!r}: {said}",
            "Ask its owner for the right to write, or set COMET_WORKSPACE or COMET_API_KEY.",
        )
    if code == _PROJECT_FULL:
        return TargetRefusedError(
            f"target comet at {address}: the project has as many experiments as Comet allows: "
            f"{said}",
            "Delete some there, or set MIGRATION_NAME_PREFIX to load into another project.",
        )
    if code == _FOR_LLM:
        return TargetRefusedError(
            f"target comet at {address}: the project is one for LLM prompts: {said}",
            "Set MIGRATION_NAME_PREFIX to load into another project.",
        )
    if status == 413:
        return TargetRefusedError(
            f"target comet at {address}, {doing}: the request is too large",
            "Set MIGRATION_COMET_POINTS_PER_REQUEST to less.",
        )
    return TargetRefusedError(
        f"target comet at {address}, {doing}: it answers with status {status}"
        f"{f', error {code}' if code else ''}: {said}",
        _AGAIN,
    )
