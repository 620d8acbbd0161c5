"""`acme/digits`: real trainings of scikit-learn on its bundled images of digits.

Every curve, image, histogram, log line and checkpoint is what that training gave. Only the clock is
made up: a training takes milliseconds here, so times are spread as if an epoch took seconds.
"""

from __future__ import annotations

import io
import json
import math
import pickle
import warnings
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn
from matplotlib.figure import Figure
from sklearn.datasets import load_digits
from sklearn.ensemble import (
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
)
from sklearn.linear_model import SGDClassifier
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, log_loss
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.tree import export_text

from migration_pipeline.archive.schema import MICROS
from migration_pipeline.neptune_server.sample.record import Run, milliseconds

Floats = npt.NDArray[np.float64]
_CLASSES = np.arange(10)
_SEED = 20250303
_BATCH = 64


@dataclass(frozen=True)
class _Data:
    train: Floats
    train_labels: npt.NDArray[np.int64]
    val: Floats
    val_labels: npt.NDArray[np.int64]


def _load() -> _Data:
    images, labels = load_digits(return_X_y=True)
    train, val, train_labels, val_labels = train_test_split(
        images / 16.0, labels, test_size=540, stratify=labels, random_state=_SEED
    )
    return _Data(train, train_labels, val, val_labels)


class _Clock:
    """A machine on which a unit of work takes about `seconds`, now and then longer."""

    def __init__(self, run: Run, seconds: float) -> None:
        self._ms = seconds * 1000
        self._random = np.random.default_rng(zlib.crc32(run.run_id.encode()))
        self.now = run.created + int(self._random.integers(3_900, 6_200))  # imports, loading

    def work(self, units: float = 1.0) -> int:
        self.now += max(1, round(self._ms * units * self._random.lognormal(0.0, 0.12)))
        return self.now


@dataclass
class _Training:
    """One training being logged: the run, its clock, the data and the model."""

    run: Run
    clock: _Clock
    data: _Data
    model: Any
    probabilities: bool = True
    lines: int = 0

    def say(self, line: str, stream: str = "stdout") -> None:
        self.run.text(f"runtime/{stream}", self.lines * MICROS, self.clock.now, line)
        self.lines += 1

    def evaluate(self, step: int, name: str) -> None:
        """Losses, accuracies and f1 of each class at a step; `name` says what the step is."""
        data, run, time = self.data, self.run, self.clock.work(0.2)
        told = []
        for part, images, labels in (
            ("train", data.train, data.train_labels),
            ("val", data.val, data.val_labels),
        ):
            predicted = self.model.predict(images)
            accuracy = accuracy_score(labels, predicted)
            run.point(f"metrics/{part}/accuracy", step, time, accuracy)
            told.append(f"{part}_acc={accuracy:.4f}")
            if self.probabilities:
                probabilities = self.model.predict_proba(images)
                loss = log_loss(labels, probabilities, labels=_CLASSES)
                run.point(f"metrics/{part}/loss", step, time, loss)
                told.append(f"{part}_loss={loss:.4f}")
        scores = f1_score(
            data.val_labels, predicted, labels=_CLASSES, average=None, zero_division=0.0
        )
        for digit, score in enumerate(scores):
            run.point(f"metrics/val/f1/{digit}", step, time, score)
        run.point("metrics/val/f1_macro", step, time, scores.mean())
        self.say(f"{name}: {' '.join(told)} f1_macro={scores.mean():.4f}")

    def picture(self, step: int, title: str) -> None:
        """The confusion matrix on the validation images, as a PNG."""
        counts = confusion_matrix(
            self.data.val_labels, self.model.predict(self.data.val), labels=_CLASSES
        )
        content = _confusion_png(counts, f"{self.run.run_id}, {title}")
        self.run.file_at("plots/confusion_matrix", step, self.clock.now, content, ".png")

    def weights(self, step: int) -> None:
        """Histograms of the weights of each layer; those of a linear model are one layer."""
        layers = getattr(self.model, "coefs_", None) or [self.model.coef_]
        for number, layer in enumerate(layers):
            counts, edges = np.histogram(layer, bins=24)
            self.run.histogram(f"weights/layer_{number}", step, self.clock.now, edges, counts)
            norm = float(np.linalg.norm(layer))
            self.run.point(f"weights/norm/layer_{number}", step, self.clock.now, norm)

    def finish(self) -> None:
        """What is known at the end: best values, and the images it got wrong."""
        accuracy = self.run.floats["metrics/val/accuracy"]
        best = max(accuracy, key=lambda point: (point[2], -point[0]))
        self.run.config("summary/best_val_accuracy", "float", best[2])
        self.run.config("summary/best_step", "int", best[0] // MICROS)
        self.run.config("summary/finished", "datetime", self.clock.now)
        predicted = self.model.predict(self.data.val)
        wrong = np.flatnonzero(predicted != self.data.val_labels)
        rows = [f"{i},{self.data.val_labels[i]},{predicted[i]}\n" for i in wrong]
        table = "".join(["image,label,predicted\n", *rows])
        self.run.file("results/errors", table.encode(), ".csv")
        self.say(f"done: best val_acc={best[2]:.4f}, {len(wrong)} of {len(predicted)} wrong")


def _confusion_png(counts: npt.NDArray[np.int64], title: str) -> bytes:
    figure = Figure(figsize=(2.6, 2.6), dpi=80)
    axes = figure.add_axes((0.12, 0.1, 0.85, 0.8))
    axes.imshow(np.log1p(counts), cmap="Blues")
    for row, column in zip(*np.nonzero(counts), strict=True):
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=5)
    axes.set_title(title, fontsize=6)
    axes.set_xticks(_CLASSES)
    axes.set_yticks(_CLASSES)
    axes.tick_params(labelsize=5, length=0)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _batches(data: _Data, random: np.random.Generator) -> Iterator[npt.NDArray[np.intp]]:
    order = random.permutation(len(data.train))
    yield from np.array_split(order, math.ceil(len(order) / _BATCH))


def _log_setup(training: _Training, kind: str, parameters: dict[str, object]) -> None:
    run = training.run
    run.configs(
        {
            "config/model": kind,
            "config/seed": _SEED,
            "config/scikit_learn": sklearn.__version__,
            "config/data/name": "sklearn.datasets.load_digits",
            "config/data/train_images": len(training.data.train),
            "config/data/val_images": len(training.data.val),
            "config/data/scaled": True,
            "config/data/classes": [str(c) for c in _CLASSES],
            **{f"config/{name}": value for name, value in parameters.items()},
        }
    )
    run.config("config/started", "datetime", run.created)
    run.file("config.json", json.dumps({"model": kind, **parameters}, indent=2).encode(), ".json")
    training.say(f"{kind} {parameters}")


def _mlp(run: Run, data: _Data, epochs: int, seconds: float = 2.4, **parameters: Any) -> None:
    """A network trained batch by batch; a forked run goes on from its parent's checkpoint."""
    random = np.random.default_rng(_SEED + run.depth)
    model = MLPClassifier(batch_size=_BATCH, random_state=_SEED, **parameters)
    step = 0
    if run.parent is not None and run.fork_step is not None:
        step = run.fork_step // MICROS
        model = pickle.loads(_checkpoint(run.parent, run.fork_step))
        model._optimizer.learning_rate = parameters["learning_rate_init"]
        model._optimizer.learning_rate_init = parameters["learning_rate_init"]
    training = _Training(run, _Clock(run, seconds), data, model)
    hidden = {"hidden_layer_sizes": str(parameters["hidden_layer_sizes"])}
    _log_setup(training, "MLPClassifier", {**parameters, **hidden, "epochs": epochs})
    for epoch in range(1, epochs + 1):
        for rows in _batches(data, random):
            step += 1
            time = training.clock.work(0.04)
            if not _learn(training, rows, step, time):
                return
        at = step * MICROS
        training.evaluate(at, f"epoch {epoch}")
        if epoch % 5 == 0 or epoch == 1:
            training.weights(at)
        if epoch in (1, 5, 15, epochs):
            training.picture(at, f"epoch {epoch}")
        if epoch == 15 and "checkpointed" in run.tags:
            run.file_at("checkpoints/model", at, training.clock.now, pickle.dumps(model), ".pkl")
    stream = io.BytesIO()
    layers = {f"layer_{n}": layer.astype(np.float32) for n, layer in enumerate(model.coefs_)}
    np.savez_compressed(stream, **layers)
    run.file("checkpoints/final", stream.getvalue(), ".npz")
    training.finish()


def _learn(training: _Training, rows: npt.NDArray[np.intp], step: int, time: int) -> bool:
    """One step of a network; false when it diverged, which the run then says of itself."""
    model, data = training.model, training.data
    failure = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", RuntimeWarning)
        try:
            model.partial_fit(data.train[rows], data.train_labels[rows], classes=_CLASSES)
        except ValueError as error:
            failure = f"ValueError: {error}"
    training.run.point("train/batch_loss", step * MICROS, time, model.loss_)
    rate = model._optimizer.learning_rate
    training.run.point("train/learning_rate", step * MICROS, time, rate)
    for warning in caught:
        if issubclass(warning.category, RuntimeWarning):
            training.say(f"step {step}: RuntimeWarning: {warning.message}", "stderr")
    if failure:
        training.say(f"step {step}: loss={model.loss_}")
        training.say(failure, "stderr")
        training.run.failed = True
    return not failure


def _checkpoint(run: Run, step: int) -> bytes:
    return next(f.content for f in run.files if f.path == "checkpoints/model" and f.step == step)


def _linear(run: Run, data: _Data, epochs: int, seconds: float = 0.9, **parameters: Any) -> None:
    """A linear classifier trained batch by batch: logistic regression or a machine by its loss."""
    random = np.random.default_rng(_SEED)
    model = SGDClassifier(random_state=_SEED, **parameters)
    probabilities = parameters["loss"] in ("log_loss", "modified_huber")
    training = _Training(run, _Clock(run, seconds), data, model, probabilities)
    _log_setup(training, "SGDClassifier", {**parameters, "epochs": epochs})
    step = 0
    for epoch in range(1, epochs + 1):
        for rows in _batches(data, random):
            step += 1
            model.partial_fit(data.train[rows], data.train_labels[rows], classes=_CLASSES)
            margins = model.decision_function(data.train[rows])
            signs = np.where(data.train_labels[rows][:, None] == _CLASSES, 1.0, -1.0)
            hinge = np.maximum(0.0, 1.0 - signs * margins).sum(axis=1).mean()
            time = training.clock.work(0.04)
            run.point("train/batch_hinge", step * MICROS, time, hinge)
        at = step * MICROS
        training.evaluate(at, f"epoch {epoch}")
        if epoch % 5 == 0 or epoch == 1:
            training.weights(at)
        if epoch in (1, 5, epochs):
            training.picture(at, f"epoch {epoch}")
    stream = io.BytesIO()
    np.savez_compressed(stream, coef=model.coef_, intercept=model.intercept_)
    run.file("checkpoints/final", stream.getvalue(), ".npz")
    training.finish()


def _forest(
    run: Run, data: _Data, make: Callable[..., Any], trees: int, seconds: float, **parameters: Any
) -> None:
    """A forest that grows tree by tree; its step is the number of trees."""
    model = make(warm_start=True, random_state=_SEED, **parameters)
    training = _Training(run, _Clock(run, seconds), data, model)
    _log_setup(training, make.__name__, {**parameters, "trees": trees})
    for count in range(1, trees + 1):
        model.set_params(n_estimators=count).fit(data.train, data.train_labels)
        time = training.clock.work()
        grown = np.ravel(model.estimators_[-1:])
        depths = [tree.get_depth() for tree in grown]
        run.point("train/depth", count * MICROS, time, float(np.mean(depths)))
        run.point("train/leaves", count * MICROS, time, sum(t.get_n_leaves() for t in grown))
        training.evaluate(count * MICROS, f"{count} trees")
        if count in (1, trees // 4, trees):
            training.picture(count * MICROS, f"{count} trees")
        if count % (trees // 4) == 0:
            counts, edges = np.histogram(model.feature_importances_, bins=16)
            at = count * MICROS
            run.histogram("weights/feature_importances", at, training.clock.now, edges, counts)
    first = export_text(np.ravel(model.estimators_)[0], max_depth=4)
    run.file("model/first_tree", first.encode(), ".txt")
    run.file("model/feature_importances", _npy(model.feature_importances_), ".npy")
    training.finish()


def _npy(values: Floats) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values)
    return stream.getvalue()


def _run(run_id: str, created: str, experiment: str, *tags: str, **fields: Any) -> Run:
    start = milliseconds(created)
    return Run(run_id, start, experiment=experiment, tags=["digits", *tags], **fields)


def training_runs() -> list[Run]:
    """Trains everything, parents before their forks."""
    data = _load()
    return [*_networks(data), *_linear_models(data), *_forests(data)]


def _networks(data: _Data) -> list[Run]:
    adam: dict[str, Any] = {"solver": "adam", "alpha": 1e-4, "activation": "relu"}
    sweep = ["sweep 2025-03"]
    base = _run(
        "mlp-48-adam", "2025-03-03T09:12:44.318", "mlp", "baseline", "checkpointed",
        description="Baseline network.\nIts checkpoint of epoch 15 is what mlp-48-finetuned uses.",
    )  # fmt: skip
    wide = _run("mlp-96-48-adam", "2025-03-03T13:40:02.907", "mlp", group_tags=sweep)
    tanh = _run("mlp-48-tanh", "2025-03-04T08:05:31.550", "mlp", group_tags=sweep, owner="grace")
    momentum = _run("mlp-48-sgd", "2025-03-04T10:51:09.004", "mlp-sgd", group_tags=sweep)
    diverged = _run(
        "mlp-48-lr-1e5", "2025-03-04T11:32:27.761", "mlp-sgd", "diverged", group_tags=sweep,
        description="Upper end of the sweep of learning rates.",
    )  # fmt: skip
    first = _run(
        "mlp-16-first-try", "2025-03-02T17:20:55.125", "mlp", "obsolete", archived=True,
        description="Too small and stopped early; mlp-48-adam took its place.",
    )  # fmt: skip
    tuned = _run("mlp-48-finetuned", "2025-03-06T14:03:18.642", "mlp", "finetuning", parent=base)
    _mlp(first, data, 10, hidden_layer_sizes=(16,), learning_rate_init=1e-3, **adam)
    _mlp(base, data, 30, hidden_layer_sizes=(48,), learning_rate_init=1e-3, **adam)
    _mlp(wide, data, 30, 3.9, hidden_layer_sizes=(96, 48), learning_rate_init=1e-3, **adam)
    _mlp(
        tanh, data, 30, hidden_layer_sizes=(48,), learning_rate_init=3e-3,
        **{**adam, "activation": "tanh", "alpha": 1e-2},
    )  # fmt: skip
    sgd: dict[str, Any] = {"solver": "sgd", "alpha": 1e-4, "hidden_layer_sizes": (48,)}
    _mlp(momentum, data, 30, 2.1, learning_rate_init=0.2, learning_rate="invscaling", **sgd)
    _mlp(diverged, data, 30, 2.1, learning_rate_init=1e5, **sgd)
    tuned.fork_step = next(f.step for f in base.files if f.path == "checkpoints/model")
    _mlp(tuned, data, 12, hidden_layer_sizes=(48,), learning_rate_init=2e-4, **adam)
    return [first, base, wide, tanh, momentum, diverged, tuned]


def _linear_models(data: _Data) -> list[Run]:
    logistic = _run("logistic-l2", "2025-03-05T09:00:12.480", "linear", "baseline")
    sparse = _run("logistic-l1", "2025-03-05T09:18:40.233", "linear", "sparse", owner="grace")
    svm = _run("svm-hinge", "2025-03-05T10:02:03.771", "linear", "svm")
    huber = _run("svm-huber-averaged", "2025-03-05T10:44:59.096", "linear", "svm", "averaged")
    _linear(logistic, data, 25, loss="log_loss", penalty="l2", alpha=1e-4)
    _linear(sparse, data, 25, loss="log_loss", penalty="l1", alpha=1e-3)
    _linear(svm, data, 25, 0.7, loss="hinge", penalty="l2", alpha=1e-4)
    _linear(huber, data, 25, 0.7, loss="modified_huber", alpha=1e-3, average=True)
    return [logistic, sparse, svm, huber]


def _forests(data: _Data) -> list[Run]:
    forest = _run("forest-deep", "2025-03-07T08:30:00.667", "forest", "baseline")
    shallow = _run("forest-depth-4", "2025-03-07T09:11:21.914", "forest", owner="grace")
    extra = _run("extra-trees", "2025-03-07T10:05:47.259", "forest")
    boosted = _run("boosted-stumps", "2025-03-08T19:45:36.802", "forest", "boosting")
    _forest(forest, data, RandomForestClassifier, 60, 1.1, max_features=8)
    _forest(shallow, data, RandomForestClassifier, 60, 0.8, max_depth=4, max_features=8)
    _forest(extra, data, ExtraTreesClassifier, 60, 0.6, min_samples_leaf=2)
    _forest(
        boosted, data, GradientBoostingClassifier, 60, 5.2,
        learning_rate=0.3, max_depth=1, subsample=0.5,
    )  # fmt: skip
    return [forest, shallow, extra, boosted]
