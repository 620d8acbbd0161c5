"""Where the steps of a run work: in the run's own process, in a process each, or on Celery workers.

Run config chooses (`execution: config: celery: {}`); where it says nothing, `MIGRATION_EXECUTOR`
does. With Celery the run's process only hands out steps and collects their events. The addresses of
broker and results stay in the environment (`CELERY_BROKER_URL`, `CELERY_RESULT_BACKEND`), where
Celery itself looks for them, because run config is stored and shown.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import dagster as dg
from dagster._core.definitions.executor_definition import ExecutorRequirement
from dagster._core.execution.retries import RetryMode
from dagster_shared.yaml_utils import load_yaml_from_path

from migration_pipeline import deploy
from migration_pipeline.defs import settings
from migration_pipeline.errors import (
    BrokerUnavailableError,
    MigrationError,
    MissingExtraError,
    MissingSettingError,
    ResultsUnavailableError,
    UnknownNameError,
)

VARIABLE = "MIGRATION_EXECUTOR"
BROKER_VARIABLE, RESULTS_VARIABLE = "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND"
NAMES = ("in_process", "multiprocess", "celery")
_BOTH = dg.multi_or_in_process_executor
_DEFINITIONS = "migration_pipeline.definitions"
START_METHOD: Mapping[str, Any] = (
    {"forkserver": {"preload_modules": [_DEFINITIONS]}}
    if sys.platform == "linux"
    else {"spawn": {}}
)
"""Of a step's process, where run config says none. One server imports the definitions, no SDK of
a target, and each step begins as a copy of it: seconds of importing less. macOS's own libraries do
not bear being copied."""
_STOPPED = "steps_interrupted"
"""What the event of Dagster's loop holds by which it says that it was told to end."""
_ANSWER_SECONDS = 2.0
"""In which a worker that is there says so."""
_LOOK_SECONDS = 10.0
_PATIENCE_SECONDS = 600.0
"""How long steps are waited for while broker or results do not answer. A restart takes less; what
lay in the broker's queues may be lost with it, and nobody would notice."""
_ASK_ONCE = {"result_backend_max_retries": 0}
"""For a run, which asks again every second; workers have nobody else who does."""


def chosen() -> str:
    """The executor of a run whose config does not say.

    Raises:
        UnknownNameError: there is none of that name.
    """
    name = settings.text(VARIABLE, "in_process")
    if name not in NAMES:
        raise UnknownNameError("executor", name, NAMES, VARIABLE)
    return name


def _schema() -> Any:
    both: Any = _BOTH.config_schema.as_field().config_type
    fields = dict(both.fields)
    several = dict(fields["multiprocess"].config_type.fields)
    several["start_method"] = dg.Field(
        several["start_method"].config_type,
        default_value=START_METHOD,
        description="How a step's process is started.",
    )
    fields["multiprocess"] = dg.Field(several, description="In a process each.")
    fields["celery"] = dg.Field(
        {"retries": fields["in_process"].config_type.fields["retries"]},
        description=f"On workers: {BROKER_VARIABLE} and {RESULTS_VARIABLE} say by which broker.",
    )
    return dg.Field(dg.Selector(fields), default_value={chosen(): {}})  # type: ignore[no-untyped-call]


def _requirements(config: Mapping[str, Any]) -> Sequence[ExecutorRequirement]:
    if "celery" in config:
        return dg.multiple_process_executor_requirements()
    return _BOTH.get_requirements(config)


@dg.executor(
    name="in_process_multiprocess_or_celery", config_schema=_schema(), requirements=_requirements
)
def executor(init_context: dg.InitExecutorContext) -> dg.Executor:
    """One process unless run config or environment say otherwise.

    A process a step costs a second or more each; the work is parallel inside a step already.
    """
    config: Any = init_context.executor_config
    if "celery" in config:
        return _on_workers(config["celery"])
    assert _BOTH.executor_creation_fn
    return _BOTH.executor_creation_fn(init_context)


def _on_workers(config: Mapping[str, Any]) -> dg.Executor:
    """
    Raises:
        MissingExtraError, MissingSettingError: before anything is handed out.
    """
    try:
        from dagster_celery.executor import CeleryExecutor
    except ImportError as error:
        raise MissingExtraError("celery", str(error.name), "executor celery") from error
    of_workers: Any = load_yaml_from_path(str(deploy.CELERY))
    return _Watched(
        CeleryExecutor(
            retries=RetryMode.from_config(config["retries"]),
            broker=_address(BROKER_VARIABLE, "the queue from which Celery workers take steps"),
            backend=_address(RESULTS_VARIABLE, "what Celery workers say when a step has ended"),
            config_source=of_workers["execution"]["config"]["config_source"] | _ASK_ONCE,
        )
    )


def _address(variable: str, purpose: str) -> str:
    if not (given := os.environ.get(variable, "").strip()):
        raise MissingSettingError(variable, purpose)
    return given


class _Watched(dg.Executor):
    """Dagster's Celery executor, which says in words when broker or workers are not there."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def retries(self) -> RetryMode:
        retries: RetryMode = self._inner.retries
        return retries

    def app_args(self) -> dict[str, Any]:
        """What Dagster's loop makes its Celery app of; it asks the executor of the run."""
        args: dict[str, Any] = self._inner.app_args()
        return args

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        from dagster_celery.make_app import make_app
        from kombu.exceptions import OperationalError

        # The loop registers its task anew for every step.
        warnings.filterwarnings("ignore", message="Task name 'execute_plan' is already")
        app = make_app(self.app_args())
        broker = app.connection_for_write().as_uri()  # without the password
        try:
            if not _stop_what_is_over(app, plan_context.instance):
                plan_context.log.warning(
                    f"No Celery worker answers at {broker}: steps wait until one is started, by "
                    "`dagster-celery worker start -A dagster_celery.app -y …/deploy/celery.yaml`."
                )
            yield from self._handing_out(app, plan_context, execution_plan)
        except OperationalError as error:
            raise BrokerUnavailableError(broker, str(error)) from error

    def _handing_out(
        self, app: Any, plan_context: Any, execution_plan: Any
    ) -> Iterator[dg.DagsterEvent]:
        """Dagster's loop. When the run is stopped, its steps on workers are stopped too; however it
        ends, the slots that they had in the pools are free again."""
        from dagster_celery.core_execution_loop import core_celery_execution_loop
        from dagster_celery.executor import _submit_task

        watch = _Watch(app, plan_context.log)
        handed_out: list[str] = []

        def hand_out(*arguments: Any) -> Any:
            result = _submit_task(*arguments)
            handed_out.append(result.id)
            return _Awaited(result, watch)

        try:
            for event in core_celery_execution_loop(plan_context, execution_plan, hand_out):
                if event.is_engine_event and _STOPPED in event.engine_event_data.metadata:
                    with watch.unreachable_is_said("its steps cannot be stopped on their workers"):
                        app.control.revoke(handed_out, terminate=True)
                yield event
        finally:
            run_id = plan_context.dagster_run.run_id
            plan_context.instance.event_log_storage.free_concurrency_slots_for_run(run_id)


class _Absence:
    """How long a service that awaited steps need has been away.

    Args:
        service: what it is, and its address without a password.
        effect: a clause, what does not happen meanwhile.
        error: made of a reason.
        say: takes a sentence.
    """

    def __init__(
        self,
        service: str,
        effect: str,
        error: Callable[[str], MigrationError],
        say: Callable[[str], None],
    ) -> None:
        self._service, self._effect, self._error, self._say = service, effect, error, say
        self._since: float | None = None
        self._said = 0.0

    def note(self, reason: str) -> None:
        """It does not answer.

        Raises:
            MigrationError: it has not for `_PATIENCE_SECONDS`.
        """
        now = time.monotonic()
        self._since = self._since or now
        away = now - self._since
        if away > _PATIENCE_SECONDS:
            raise self._error(f"{reason}, for {away:.0f} s now")
        if now - self._said < _LOOK_SECONDS:
            return
        self._said = now
        self._say(
            f"{self._service} does not answer ({reason}): {self._effect}. The run ends as failed "
            f"when it is away for {_PATIENCE_SECONDS:.0f} s; it is for {away:.0f} s now."
        )

    def over(self) -> None:
        """It answers."""
        if self._since is not None:
            self._say(f"{self._service} answers again.")
        self._since = None


class _Watch:
    """Looks whether broker and results are there while steps are awaited: Dagster's loop only asks
    for results, and would wait for ever for a step that no worker can get.

    Args:
        app: Celery's.
        log: of the run.
    """

    def __init__(self, app: Any, log: Any) -> None:
        self._app, self._log = app, log
        broker, results = app.connection_for_write().as_uri(), app.backend.as_uri()
        self._broker = broker  # neither holds its password
        self._without_broker = _Absence(
            f"The broker {broker}",
            "no worker gets a step until it does",
            partial(BrokerUnavailableError, broker),
            log.warning,
        )
        self._without_results = _Absence(
            f"{results}, where workers say what came of a step,",
            "nothing is known of the steps under way until it does",
            partial(ResultsUnavailableError, results),
            _on_terminal,
        )
        self._next = time.monotonic() + _LOOK_SECONDS

    def is_ready(self, result: Any) -> bool:
        """Whether a step has ended.

        Raises:
            BrokerUnavailableError, ResultsUnavailableError: it has not answered for too long.
        """
        from celery.exceptions import BackendGetMetaError

        try:
            ready: bool = result.ready()
        except BackendGetMetaError as error:
            said = str(error.__cause__ or error.__context__ or error).strip()
            self._without_results.note(said.splitlines()[0].rstrip("."))
            return False
        self._without_results.over()
        if not ready:
            self._look()
        return ready

    def _look(self) -> None:
        if time.monotonic() < self._next:
            return
        if reason := self._unreachable():
            self._without_broker.note(reason)
        else:
            self._without_broker.over()
        self._next = time.monotonic() + _LOOK_SECONDS

    def _unreachable(self) -> str:
        from kombu.exceptions import OperationalError

        try:
            with self._app.connection_for_write() as connection:
                connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        except OperationalError as error:
            return str(error)
        return ""

    @contextlib.contextmanager
    def unreachable_is_said(self, what: str) -> Iterator[None]:
        """A run that is stopped while the broker is away is stopped all the same."""
        from kombu.exceptions import OperationalError

        lost = (OperationalError, *self._app.connection_for_write().connection_errors)
        try:
            yield
        except lost as error:
            self._log.warning(
                f"The broker {self._broker} does not answer ({error}): {what}. They give up when "
                "they are handed out again, for the run has ended."
            )


class _Awaited:
    """What Dagster's loop asks of a step's result; each question is an occasion to look."""

    def __init__(self, result: Any, watch: _Watch) -> None:
        self._result, self._watch = result, watch

    def ready(self) -> bool:
        return self._watch.is_ready(self._result)

    def get(self) -> Any:
        return self._result.get()

    def revoke(self) -> None:
        with self._watch.unreachable_is_said("a step of it cannot be called back"):
            self._result.revoke()


def _on_terminal(sentence: str) -> None:
    """A run's log is mostly in the database that its workers' answers are in: writing to it while
    it is away ends the run."""
    print(f"{time.strftime('%H:%M:%S')} {sentence}", file=sys.stderr, flush=True)


def _stop_what_is_over(app: Any, instance: dg.DagsterInstance) -> bool:
    """Stops steps whose run has ended without them, as when its process was killed.

    Returns:
        Whether a worker answers at all.
    """
    answered = app.control.inspect(timeout=_ANSWER_SECONDS).active() or {}
    for task in (task for tasks in answered.values() for task in tasks):
        arguments = task["kwargs"].get("execute_step_args_packed", {})
        run = instance.get_run_by_id(arguments.get("run_id", ""))
        if run is not None and run.is_finished:
            app.control.revoke(task["id"], terminate=True)
    return bool(answered)
