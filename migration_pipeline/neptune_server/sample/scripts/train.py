"""`python train.py`: a gradient boosting on a table, logged as people log to Neptune 2.x.

Every number is what that training gave. Only the clock is made up: a training takes a moment here,
so `--at` says when it began and the points are spread as if a stage took a second and a half.
"""

from __future__ import annotations

import argparse
import pickle
from pathlib import Path
from typing import Any

import neptune
import numpy as np
from matplotlib.figure import Figure
from neptune.types import File, GitRef
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

STAGES = 40
SECONDS_A_STAGE = 1.5


def table(name: str) -> tuple[Any, Any]:
    """Features and labels of a CSV file whose last column is the label."""
    rows = np.loadtxt(Path("data") / name, delimiter=",", skiprows=1)
    return rows[:, :-1], rows[:, -1].astype(int)


def chart(trees: Any, columns: list[str]) -> Figure:
    """The ten features that count most in some trees."""
    counts = np.mean([tree.feature_importances_ for tree in trees], axis=0)
    order = np.argsort(counts)[-10:]
    figure = Figure(figsize=(3.6, 2.4), dpi=60, layout="constrained")
    axes = figure.add_subplot()
    axes.barh([columns[i] for i in order], counts[order])
    axes.tick_params(labelsize=6)
    return figure


def log_stages(run: Any, model: Any, at: float) -> None:
    """Losses and scores after each tree that the model grew."""
    features, labels = table("val.csv")
    train, train_labels = table("train.csv")
    columns = (Path("data") / "train.csv").read_text().splitlines()[0].split(",")
    stages = zip(model.staged_predict_proba(train), model.staged_predict_proba(features))  # noqa: B905
    for stage, (seen, unseen) in enumerate(stages, start=1):
        now = at + 4 + stage * SECONDS_A_STAGE
        loss = log_loss(labels, unseen)
        for name, value in (
            ("train/loss", log_loss(train_labels, seen)),
            ("val/loss", loss),
            ("val/auc", roc_auc_score(labels, unseen[:, 1])),
            ("val/accuracy", accuracy_score(labels, unseen.argmax(axis=1))),
        ):
            run[f"metrics/{name}"].append(value, step=stage, timestamp=now)
        run["progress/epochs"].append(loss, step=stage / 8, timestamp=now)
        if stage % 10 == 0:
            line = f"stage {stage}: val_loss={loss:.4f}"
            run["training/log"].append(line, step=stage, timestamp=now)
        if stage % 20 == 0:
            picture = File.as_image(chart(model.estimators_[:stage, 0], columns))
            run["charts/importances"].append(picture, step=stage, timestamp=now)
        if loss > 5:
            raise FloatingPointError(f"val_loss is {loss:.1f} at stage {stage}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--depth", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True)
    parser.add_argument("--at", type=float, required=True, help="seconds since 1970")
    given = parser.parse_args()
    with neptune.init_run(
        name=f"boosting, depth {given.depth}",
        description="Baseline of the second quarter",
        tags=["boosting", "baseline"],
        source_files=["train.py", "conf/*.json"],
        git_ref=GitRef(repository_path="."),
        capture_hardware_metrics=False,
        capture_stdout=False,
        capture_stderr=False,
    ) as run:
        run["sys/group_tags"].add(["cancer"])
        run["parameters"] = {
            "max_depth": given.depth,
            "learning_rate": given.rate,
            "subsample": 0.8,
            "stratified": True,
            "optimizer": {"name": "friedman_mse"},
        }
        run["data/train"].track_files("data/train.csv")
        run["data/all"].track_files("data")
        features, labels = table("train.csv")
        model = GradientBoostingClassifier(
            max_depth=given.depth,
            learning_rate=given.rate,
            subsample=0.8,
            n_estimators=STAGES,
            random_state=7,
        )
        model.fit(features, labels)
        log_stages(run, model, given.at)
        run.wait()
        run["results/last_auc"] = run["metrics/val/auc"].fetch_last()
        run["results/finished"] = True
        binary = Path("models") / f"{run['sys/id'].fetch()}.pkl"
        binary.parent.mkdir(exist_ok=True)
        binary.write_bytes(pickle.dumps(model))
        run["model/binary"].upload(str(binary))
        run["model/report"].upload_files(["conf", "README.md"])


if __name__ == "__main__":
    main()
