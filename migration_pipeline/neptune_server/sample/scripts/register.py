"""`python register.py`: the model registry of Neptune 2.x, and metadata of the project itself."""

from __future__ import annotations

import argparse

import neptune
from neptune.types import File

AUC = {1: (0.958, 0.971, 0.979, 0.981), 2: (0.962, 0.98, 0.986, 0.987)}
"""Version → what it reached on four days in a row."""
STAGES = {1: "production", 2: "staging"}
DAY = 86_400


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--at", type=float, required=True, help="seconds since 1970")
    at = parser.parse_args().at
    model = neptune.init_model(name="Malignant or not", key="CANCER")
    model["signature"].upload(File.from_content('{"features": 30, "classes": 2}', extension="json"))
    model["owner/team"] = "diagnostics"
    model["validation/data"].track_files("data/val.csv")
    name = model["sys/id"].fetch()
    model.stop()
    for number, scores in AUC.items():
        version = neptune.init_model_version(model=name, name=f"release {number}")
        version["binary"].upload(f"models/TAB-{number}.pkl")
        version["run/id"] = f"TAB-{number}"
        for day, score in enumerate(scores):
            version["validation/auc"].append(score, step=day, timestamp=at + day * DAY)
        version.change_stage(STAGES[number])
        version.stop()
    project = neptune.init_project()
    project["general/brief"] = "Which tumours are malignant, from measurements of cell nuclei"
    project["general/data"].upload(File.from_path("data/val.csv"))
    project["general/people"] = 3
    project["sys/tags"].add(["diagnostics", "2025"])
    project["reports"].upload_files(["README.md"])
    project.stop()


if __name__ == "__main__":
    main()
