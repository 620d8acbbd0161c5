"""Single values, sets and operations: types are fixed, what is refused does not stop the rest."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import neptune
import pytest
from neptune.exceptions import FetchAttributeNotFoundException, MetadataInconsistency
from neptune.types import File

from migration_pipeline.neptune_server import RunningServer

from .clients import open_run
from .looking import attributes, execute, get, options

MOMENT = datetime(2024, 2, 29, 23, 59, 59, 123_999, tzinfo=timezone(timedelta(hours=5.5)))


def test_values_read_back_as_they_were_written(server: RunningServer) -> None:
    values: dict[str, Any] = {
        "int": -(2**31),
        "float": 0.1 + 0.2,
        "tiny": 5e-324,
        "huge": 1.7976931348623157e308,
        "yes": True,
        "no": False,
        "empty": "",
        "text": "line\nline\t'\"`\\ 漢字 🚀 \u2028",
        "with spaces/and, commas|bars%": "path",
        "zero": -0.0,
    }
    with open_run(server) as run:
        for path, value in values.items():
            run[path] = value
        run["when"] = MOMENT
        found = {path: run[path].fetch() for path in values}
        when = run["when"].fetch()
    assert {path: repr(value) for path, value in found.items()} == {
        path: repr(value) for path, value in values.items()
    }
    assert when == datetime(2024, 2, 29, 18, 29, 59, 123_000, tzinfo=UTC)
    assert attributes(server, "TAB-1")["when"]["value"] == "2024-02-29T18:29:59.123Z"


def test_a_type_is_fixed_and_the_rest_of_the_batch_applies(server: RunningServer) -> None:
    with open_run(server) as run, open_run(server, with_id="TAB-1") as unaware:
        run["a"] = 1
        with pytest.raises(MetadataInconsistency, match="Attribute a of TAB-1 is int, not string"):
            unaware["a"] = "text"
    refused = execute(
        server,
        "TAB-1",
        ("b", "assignFloat", {"value": 1.5}),
        ("a", "assignFloat", {"value": 2.5}),
        ("a", "logFloats", {"entries": []}),
        ("c", "assignFloat", {"value": 3.5}),
    )
    assert refused == [
        "Attribute a of TAB-1 is int, not float",
        "Attribute a of TAB-1 is int, not floatSeries",
    ]
    found = attributes(server, "TAB-1")
    assert [found[path]["value"] for path in "abc"] == [1, 1.5, 3.5]


def test_a_field_of_another_type_takes_a_deleted_ones_place(server: RunningServer) -> None:
    with open_run(server, mode="async") as run:
        run["a"] = 1.5
        del run["a"]
        run["a"] = "text"
        run["b"] = 2.5
        del run["b"]
        run["b"].upload(File.from_content("content"))
        run["c"].append(1.0)
        del run["c"]
        run.wait()
    found = attributes(server, "TAB-1")
    assert found["a"]["value"] == "text"
    assert (found["b"]["attributeType"], found["b"]["size"]) == ("file", 7)
    assert "c" not in found


def test_a_deleted_field_is_unknown(server: RunningServer) -> None:
    with open_run(server) as run:
        run["a"] = 1
        with open_run(server, with_id="TAB-1") as unaware:
            del run["a"]
            with pytest.raises(FetchAttributeNotFoundException):
                unaware["a"].fetch()
    answer = get(server, "integers", "TAB-1", "a")
    assert (answer.status_code, answer.json()["errorType"]) == (404, "ATTRIBUTE_NOT_FOUND")
    assert get(server, "integers", "TAB-9", "a").json()["errorType"] == "EXPERIMENT_NOT_FOUND"
    assert get(server, "floats", "TAB-1", "sys/id").status_code == 404
    assert execute(server, "TAB-1", ("never/there", "deleteAttribute", {})) == []


def test_a_dictionary_adds_and_a_deleted_namespace_is_gone(server: RunningServer) -> None:
    with open_run(server) as run:
        run["p"] = {"a": 1, "deep": {"b": 2.5}}
        run["p"] = {"c": "x"}
        assert run["p"].fetch() == {"a": 1, "deep": {"b": 2.5}, "c": "x"}
        del run["p/deep"]
        run["p2"] = 1
        assert run["p"].fetch() == {"a": 1, "c": "x"}
        del run["p"]
    found = attributes(server, "TAB-1")
    assert {name for name in found if name.startswith("p")} == {"p2"}


def test_string_sets_are_tags_and_nothing_else(server: RunningServer) -> None:
    with open_run(server, tags=["first"]) as run:
        with pytest.raises(MetadataInconsistency, match="only sys/tags and sys/group_tags"):
            run["my/tags"].add("a")
        run["sys/group_tags"].add(["g"])
        run["sys/tags"].add(["b", "first", "a"])
        run["sys/tags"].remove(["b", "never there"])
        assert run["sys/tags"].fetch() == {"first", "a"}
    found = attributes(server, "TAB-1")
    assert "my/tags" not in found
    assert sorted(found["sys/tags"]["values"]) == ["a", "first"]
    assert found["sys/group_tags"]["values"] == ["g"]
    for operation in ("removeStrings", "clearStringSet"):
        [refused] = execute(server, "TAB-1", ("my/tags", operation, {"values": ["a"]}))
        assert "cannot be a StringSet" in refused
    assert "my/tags" not in attributes(server, "TAB-1")


def test_clear_and_add_in_one_flush_keep_their_order(server: RunningServer) -> None:
    with open_run(server, mode="async", tags=["old"]) as run:
        run["sys/tags"].clear()
        run["sys/tags"].add(["new", "newer"])
        run.wait()
    assert sorted(attributes(server, "TAB-1")["sys/tags"]["values"]) == ["new", "newer"]


def test_fields_are_copied_between_kinds_of_objects(server: RunningServer) -> None:
    with (
        open_run(server) as run,
        neptune.init_model(key="NET", **options(server)) as model,
        neptune.init_project(**options(server)) as project,
    ):
        for path, value in {"i": 1, "f": 1.5, "b": True, "s": "text"}.items():
            run[path] = value
            model[f"of run/{path}"] = run[path]
            project[path] = model[f"of run/{path}"]
            run[f"again/{path}"] = run[path]
    for sys_id, prefix in (("TAB-NET", "of run/"), ("TAB", ""), ("TAB-1", "again/")):
        found = attributes(server, sys_id)
        assert [found[prefix + path]["value"] for path in "ifbs"] == [1, 1.5, True, "text"]


def test_what_is_no_operation_is_refused_alone(server: RunningServer) -> None:
    with open_run(server):
        pass
    refused = execute(
        server,
        "TAB-1",
        ("a", "explode", {}),
        ("a", "assignInt", {"value": "1"}),
        ("a", "assignBool", {"value": 1}),
        ("a", "assignFloat", {}),
        ("a", "assignFloat", {"value": "many"}),
        ("a", "logFloats", {"entries": [{"step": 1, "timestampMilliseconds": 1}]}),
        ("b", "assignInt", {"value": 2}),
    )
    assert refused == [
        "Unknown operation explode on a",
        "'1' is not a whole number",
        "1 is not a bool",
        "assignFloat on a lacks something: KeyError('value')",
        "'many' is not a number",
        "logFloats on a lacks something: KeyError('value')",
    ]
    assert attributes(server, "TAB-1")["b"]["value"] == 2


def test_writers_at_the_same_time_all_arrive(server: RunningServer) -> None:
    with open_run(server):
        pass

    def write(number: int) -> None:
        with open_run(server, with_id="TAB-1") as run:
            for i in range(5):
                run[f"w{number}/{i}"] = i
                run[f"w{number}/series"].append(float(i))

    with ThreadPoolExecutor(3) as pool:
        list(pool.map(write, range(3)))
    found = attributes(server, "TAB-1")
    for number in range(3):
        assert [found[f"w{number}/{i}"]["value"] for i in range(5)] == [0, 1, 2, 3, 4]
        assert found[f"w{number}/series"]["last"] == 4.0


def test_every_change_moves_the_modification_time(server: RunningServer) -> None:
    server.store.clock = lambda: 1_700_000_000_000
    with open_run(server) as run:
        before = run["sys/modification_time"].fetch()
        run["a"] = 1
        assert run["sys/modification_time"].fetch() > before
        changed = run["sys/modification_time"].fetch()
        run.ping()
        assert run["sys/modification_time"].fetch() == changed
