"""The log in a folder that W&B's SDK left behind (`run-<id>.wandb`), by the SDK's own reader.

The log is LevelDB's format with protobuf records. What was cut off, or does not agree with its
checksum, ends the reading: everything before it counts, and the damage is named.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from migration_pipeline.wandb_sdk import records


class UnreadableFrom(Exception):
    """From here on a log cannot be read."""


def read_records(log: Path) -> Iterator[Any]:
    """The records of a log (`wandb_internal_pb2.Record`), in order.

    Raises:
        UnreadableFrom: after the last one that is whole.
        OSError: it may not be opened.
    """
    proto, store = records("source")
    size = log.stat().st_size
    with closing(_read_only(store)) as scan:
        try:
            scan.open_for_scan(str(log))
        except OSError as error:
            raise _of_the_disk(error, "at its beginning") from error
        except Exception as error:  # the SDK asserts, and raises plain exceptions
            raise UnreadableFrom(f"its beginning is none of W&B's: {error}") from None
        while True:
            at = scan.get_offset()
            try:
                data = scan.scan_data()
                record = None if data is None else proto.Record.FromString(data)
            except OSError as error:
                raise _of_the_disk(error, f"at byte {at} of {size}") from error
            except Exception as error:
                raise UnreadableFrom(f"at byte {at} of {size}: {error}") from None
            if record is None:
                if at < size:
                    raise UnreadableFrom(f"at byte {at} of {size}: the record there is not whole")
                return
            yield record


def _of_the_disk(error: OSError, place: str) -> Exception:
    """A bad sector ends the reading; all else, such as a missing right, can be mended."""
    if error.errno != errno.EIO:
        return error
    return UnreadableFrom(f"{place}: {error.strerror}")


def _read_only(store: Any) -> Any:
    """The SDK's reader, which opens a log for writing, too, though it never writes there."""

    class ReadOnly(store):  # type: ignore[misc]
        def open_for_scan(self, fname: str) -> None:
            self._fname = fname
            self._fp = Path(fname).open("rb")  # noqa: SIM115  closed by `close`
            self._index, self._size_bytes = 0, os.stat(fname).st_size
            self._opened_for_scan = True
            self._read_header()

    return ReadOnly()


def value_of(item: Any) -> Any:
    """The value of an item; NaN and infinities are bare words there."""
    return json.loads(item.value_json)


def keys_of(item: Any) -> tuple[str, ...]:
    return tuple(item.nested_key) or (item.key,)


def put(values: dict[str, Any], keys: tuple[str, ...], value: Any) -> None:
    """Sets a nested value; what was there and is no object gives way."""
    for key in keys[:-1]:
        inner = values.get(key)
        if not isinstance(inner, dict):
            inner = values[key] = {}
        values = inner
    values[keys[-1]] = value


def remove(values: dict[str, Any], keys: tuple[str, ...]) -> None:
    for key in keys[:-1]:
        inner = values.get(key)
        if not isinstance(inner, dict):
            return
        values = inner
    values.pop(keys[-1], None)


def update(values: dict[str, Any], record: Any) -> None:
    """Takes what a record of config or summary changes."""
    for item in record.update:
        put(values, keys_of(item), value_of(item))
    for item in record.remove:
        remove(values, keys_of(item))


def seconds(time: Any) -> float:
    """A protobuf timestamp in seconds since 1970."""
    return float(time.seconds) + float(time.nanos) / 1e9
