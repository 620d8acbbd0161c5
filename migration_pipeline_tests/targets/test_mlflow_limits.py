"""Our figures and calls against the installed MLflow: what it changes shows here."""

from __future__ import annotations

import inspect

from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.store import tracking
from mlflow.store.artifact.artifact_repo import verify_artifact_path
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun
from mlflow.utils import validation
from mlflow.utils.uri import validate_path_is_safe

from migration_pipeline.mapping.names import NameRules, assign_names
from migration_pipeline.targets.mlflow import capabilities
from migration_pipeline.targets.mlflow.capabilities import CAPABILITIES
from migration_pipeline.targets.mlflow.naming import artifact_folder

HOSTILE = st.sets(
    st.one_of(st.text(max_size=20), st.text(alphabet="a./#%2eE:\\ -\0\n", max_size=10)), max_size=8
)


def test_limits() -> None:
    assert CAPABILITIES.key_max_length == validation.MAX_ENTITY_KEY_LENGTH
    assert CAPABILITIES.parameter_max_length == validation.MAX_PARAM_VAL_LENGTH
    assert CAPABILITIES.tag_max_length == validation.MAX_TAG_VAL_LENGTH
    assert CAPABILITIES.points_per_request == min(
        validation.MAX_METRICS_PER_BATCH, validation.MAX_ENTITIES_PER_BATCH
    )
    assert CAPABILITIES.parameters_per_request == validation.MAX_PARAMS_TAGS_PER_BATCH
    assert capabilities.HISTORY_PAGE == tracking.GET_METRIC_HISTORY_MAX_RESULTS
    assert capabilities.SEARCH_PAGE <= tracking.SEARCH_MAX_RESULTS_THRESHOLD
    column = SqlExperiment.__table__.columns["name"].type.length
    assert column == capabilities.EXPERIMENT_NAME_MAX_LENGTH
    assert SqlRun.__table__.columns["name"].type.length == capabilities.RUN_NAME_MAX_LENGTH
    # What MLflow adds to the folder of an experiment: a run's id and "artifacts".
    room = SqlRun.__table__.columns["artifact_uri"].type.length - len(f"/{'0' * 32}/artifacts")
    assert len(artifact_folder("é" * 300)) <= room - 80


@given(HOSTILE)
def test_mlflow_takes_every_key(names: set[str]) -> None:
    can = CAPABILITIES
    rules = NameRules(can.key_characters, can.key_max_length, path=can.key_is_path)
    for name in assign_names({n: n for n in names}, rules).values():
        validation._validate_metric_name(name)
        validation._validate_param(name, "x")


@given(HOSTILE)
def test_mlflow_takes_every_file_name(names: set[str]) -> None:
    can = CAPABILITIES
    rules = NameRules(f"{can.file_characters}/", can.file_path_max_length, path=True, tree=True)
    wanted = {n: f"files/{n}" for n in names}
    for name in assign_names(wanted, rules).values():
        verify_artifact_path(name)
        assert validate_path_is_safe(name) == name


def test_signatures() -> None:
    """The calls as `sending`, `client` and `read_back` make them."""
    for call, arguments in (
        (MlflowClient.log_batch, {"run_id": "r", "metrics": [], "params": [], "tags": []}),
        (MlflowClient.log_artifacts, {"run_id": "r", "local_dir": "d"}),
        (
            MlflowClient.create_run,
            {"experiment_id": "1", "start_time": 1, "tags": {}, "run_name": "n"},
        ),
        (MlflowClient.set_terminated, {"run_id": "r", "status": "FAILED", "end_time": 1}),
        (MlflowClient.create_experiment, {"name": "n", "artifact_location": None}),
        (
            MlflowClient.search_runs,
            {"experiment_ids": [], "filter_string": "", "max_results": 1, "page_token": None},
        ),
        (MlflowClient.search_experiments, {"filter_string": "", "page_token": None}),
    ):
        inspect.signature(call).bind(None, **arguments)
