"""Our figures and calls against the installed MLflow: what it changes shows here."""

from __future__ import annotations

import inspect

from hypothesis import given
from hypothesis import strategies as st
from mlflow import MlflowClient
from mlflow.store import tracking
from mlflow.store.artifact.artifact_repo import verify_artifact_path
from mlflow.store.db.utils import _get_latest_schema_revision
from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModel, SqlRegisteredModelTag
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun
from mlflow.utils import validation
from mlflow.utils.uri import validate_path_is_safe

from migration_pipeline.mapping.names import NameRules, assign_names
from migration_pipeline.targets.mlflow import capabilities, models
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


def test_limits_of_datasets_and_models() -> None:
    assert capabilities.DATASET_NAME_MAX_LENGTH == validation.MAX_DATASET_NAME_SIZE
    assert capabilities.DATASET_DIGEST_MAX_LENGTH == validation.MAX_DATASET_DIGEST_SIZE
    assert capabilities.DATASETS_PER_REQUEST <= validation.MAX_DATASETS_PER_BATCH
    columns = SqlRegisteredModel.__table__.columns
    assert columns["name"].type.length == capabilities.MODEL_NAME_MAX_LENGTH
    assert columns["description"].type.length == capabilities.MODEL_TEXT_MAX_LENGTH
    tags = SqlRegisteredModelTag.__table__.columns
    assert tags["value"].type.length == capabilities.MODEL_TEXT_MAX_LENGTH
    for alias in models._ALIASES:
        validation._validate_model_alias_name(alias)


def test_the_installed_schema_was_tested() -> None:
    """If not: compare `metrics`, `latest_metrics`, `runs`, `tags` and sqlalchemy_store.py with what
    `tables` says of them, run these tests with the new version in the list, and leave it there."""
    assert _get_latest_schema_revision() in capabilities.TESTED_SCHEMAS


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
    """The calls as this target makes them."""
    for call, arguments in (
        (MlflowClient.log_batch, {"run_id": "r", "metrics": [], "params": []}),
        (MlflowClient.log_inputs, {"run_id": "r", "datasets": []}),
        (MlflowClient.create_registered_model, {"name": "n", "tags": {}}),
        (
            MlflowClient.create_model_version,
            {
                "name": "n",
                "source": "s",
                "run_id": "r",
                "tags": {},
                "description": None,
                "await_creation_for": 0,
            },
        ),
        (
            MlflowClient.set_registered_model_alias,
            {"name": "n", "alias": "production", "version": "1"},
        ),
        (MlflowClient.search_model_versions, {"filter_string": "", "page_token": None}),
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
