"""Data sets of Neptune 2.x: its kinds of objects, and its types as the archive holds them.

A file set has two rows, the server's zip and the listing as JSON; so has an artifact whose files
could be read: the JSON list and a zip of their bytes.
"""

from __future__ import annotations

import io
import json
import zipfile

from migration_pipeline.archive.manifest import KINDS
from migration_pipeline_tests.contract.making import (
    START,
    DataSet,
    Row,
    RunData,
    curve,
    floats,
    param,
)

TABULAR = "acme/tabular"


def zipped(files: dict[str, bytes]) -> bytes:
    """A zip as the server makes it: with an entry `/` and one a directory."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as target:
        target.writestr(zipfile.ZipInfo("/"), b"")
        for name in sorted({f"{n.rpartition('/')[0]}/" for n in files if "/" in n}):
            target.writestr(zipfile.ZipInfo(name), b"")
        for name, data in files.items():
            target.writestr(zipfile.ZipInfo(name), data)
    return content.getvalue()


def file_set(path: str, files: dict[str, bytes]) -> tuple[Row, Row]:
    listing = [{"path": name, "size": len(data)} for name, data in sorted(files.items())]
    return (
        Row(path, "file_set", zipped(files), extension=".zip"),
        Row(path, "file_set", json.dumps(listing).encode(), extension=".json"),
    )


def artifact(path: str, files: dict[str, bytes] | None) -> list[Row]:
    """With `files` None their bytes are where nobody could read them."""
    listed = [
        {"filePath": name, "fileHash": "0" * 40, "size": len(data), "type": "Local"}
        for name, data in (files or {"gone.bin": b"gone"}).items()
    ]
    text = json.dumps({"hash": "f" * 64, "files": listed})
    rows = [Row(path, "artifact", text.encode(), extension=".json")]
    if files:
        rows.append(Row(path, "artifact", zipped(files), extension=".zip"))
    return rows


GIT = {
    "branch": "main",
    "commit": {"id": "a" * 40, "message": 'it\'s "fast"\n', "authorName": "Ada"},
    "dirty": True,
    "remotes": [],
}
EVERY_TYPE = (
    param("sys/id", "string", "TAB-1"),
    param("sys/name", "string", "Untitled"),
    param("sys/creation_time", "datetime", START),
    param("sys/modification_time", "datetime", START + 9000),
    param("sys/owner", "string", "ada"),
    param("sys/failed", "bool", True),
    param("sys/state", "string", "idle"),
    param("sys/tags", "string_set", ["baseline", "2.x"]),
    param("source_code/git", "string", json.dumps(GIT, sort_keys=True, separators=(",", ":"))),
    param("notebook", "string", '{"notebookId":"n","notebookName":"a b.ipynb"}'),
    param("parameters/learning rate", "float", 0.1),
    param("parameters/depth", "int", 2**31 - 1),
    param("properties/text file", "string", "spaces and an older client's prefix"),
    param("a.b", "string", "dot"),
    param("a_b", "string", "underscore"),
    *curve("metrics/auc"),
    *floats("metrics/decimal", [("0.5", START, 1.0), ("1.25", START + 1, -0.0)]),
    *(
        Row("monitoring/1a2b/traceback", "string_series", f"line {i}", str(i), START + i)
        for i in range(3)
    ),
    *(Row("charts", "file_series", b"png %d" % i, str(i), extension=".png") for i in range(3)),
    Row("model/weights", "file", b"\x80pickle", extension=".pkl"),
    *file_set("source_code/files", {"train.py": b"print()", "pkg/a.py": b"", "pkg/ä.py": b"2"}),
    *file_set("data/empty set", {}),
    *artifact("data/train", {"train.csv": b"a,b\n1,2\n", "more/x.csv": b""}),
    *artifact("data/elsewhere", None),
    Row("data/train.zip", "file", b"called like the zip of an artifact"),
    Row("data/train.json", "file", b"called like its list"),
)


NEPTUNE2_DATASETS = [
    DataSet("every 2.x type", (RunData("TAB-1", EVERY_TYPE, project=TABULAR, plain=True),)),
    DataSet(
        "kinds of one id",
        (
            *(
                RunData(
                    "TAB-1",
                    (
                        param("sys/id", "string", "TAB-1"),
                        param("kind", "string", kind),
                        *curve("m/a", 3 + number),
                        Row("file", "file", kind.encode()),
                        *file_set("set", {"kind": kind.encode()}),
                    ),
                    project=TABULAR,
                    kind=kind,
                )
                for number, kind in enumerate(KINDS)
            ),
            # What a mark for kinds could be taken for, and an experiment like that of the models.
            RunData("%model|TAB-1", (param("n", "int", 1),), project=TABULAR),
            RunData("TAB-2", (param("sys/name", "string", "models"),), project=TABULAR),
        ),
    ),
    DataSet(
        "a model and its versions",
        (
            RunData("TAB-MOD", (param("sys/name", "string", "churn"),), TABULAR, "model"),
            *(
                RunData(
                    f"TAB-MOD-{number}",
                    (
                        param("sys/model_id", "string", "TAB-MOD"),
                        param("sys/stage", "string", stage),
                        *curve("validation/auc", 4),
                        Row("binary", "file", b"%d" % number, extension=".onnx"),
                    ),
                    TABULAR,
                    "model_version",
                )
                for number, stage in enumerate(("production", "none"), start=1)
            ),
            RunData("TAB", (param("sys/visibility", "string", "priv"),), TABULAR, "project"),
        ),
    ),
]
