"""Channels as bytes: one Arrow record of one row, with the names of its channels in front instead of its schema.

A record is: one byte for its form; the CRC-32 of the channels' names and layouts, which tells the record of another
schema from one of this; two lengths; the names; then the Arrow record, compressed unless that makes it longer.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping
from decimal import DecimalException
from typing import Any

import pyarrow as pa

from graphs.errors import SchemaError, StateInvalid
from graphs.state.types import MisfitError, TableType, ValueType

_PLAIN, _COMPRESSED = 1, 2
_HEADER = struct.Struct("<BIIII")
"""Form; fingerprint; bytes of the names; if compressed: bytes of the Arrow record before, its CRC-32 after."""
_LZ4 = pa.Codec("lz4_raw")
_MAX_RATIO = 256
"""LZ4 never compresses better than this: a length that claims more is no length."""
_MAX_COMPRESSED_BYTES = 2**31 - 1
_ALIGNMENT_BYTES = 8
_MAX_LAYOUTS = 1024

_CONVERSION_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError, MisfitError)
_READ_ERRORS = (pa.ArrowException, ValueError, TypeError, OSError, LookupError, DecimalException)


class _Layout:
    """How the values of one set of channels are laid out."""

    def __init__(self, types: Mapping[str, ValueType]) -> None:
        self.types = dict(types)
        self.schema = pa.schema([(name, kind.storage) for name, kind in types.items()])
        self.fingerprint = zlib.crc32(";".join(f"{name}:{kind.layout}" for name, kind in types.items()).encode())
        self.names = ",".join(types).encode()
        self.tables = tuple(name for name, kind in types.items() if isinstance(kind.inner, TableType))

    def head(self, form: int, size_bytes: int, checksum: int) -> bytes:
        return _HEADER.pack(form, self.fingerprint, len(self.names), size_bytes, checksum) + self.names


class Codec:
    """Encodes and decodes records of channels.

    Args:
        types: Type of each channel.
    """

    def __init__(self, types: Mapping[str, ValueType]) -> None:
        self._types = types
        self._layouts: dict[Any, _Layout] = {}

    def encode(self, values: Mapping[str, Any]) -> bytes:
        """`values`, which are settled or None, as bytes.

        Raises:
            StateInvalid: A value does not fit its channel, or is longer than Arrow can hold.
        """
        layout = self._layout(tuple(values))
        arrays = []
        for (name, kind), value in zip(layout.types.items(), values.values(), strict=True):
            try:
                packed = value if value is None or kind.direct else kind.pack(value)
                array = pa.array([packed], kind.storage)
            except _CONVERSION_ERRORS as error:
                raise StateInvalid(f"{name}: cannot be stored: {error}", problems=[f"{name}: {error}"]) from error
            if isinstance(array, pa.ChunkedArray):
                raise StateInvalid(f"{name}: is longer than 2 GB; split it", problems=[f"{name}: is longer than 2 GB"])
            arrays.append(array)
        record = pa.RecordBatch.from_arrays(arrays, schema=layout.schema).serialize()
        # A table is left as it is, so that it can be read without a copy.
        if record.size <= _MAX_COMPRESSED_BYTES and all(values[name] is None for name in layout.tables):
            body: bytes = _LZ4.compress(record, asbytes=True)
            if len(body) < record.size:
                return layout.head(_COMPRESSED, record.size, zlib.crc32(body)) + body
        head = layout.head(_PLAIN, 0, 0)
        return b"".join((head, bytes(-len(head) % _ALIGNMENT_BYTES), record))

    def decode(self, blob: bytes) -> dict[str, Any]:
        """The values in `blob`, by channel.

        Raises:
            SchemaError: It is damaged, or was written with another schema.
        """
        try:
            form, fingerprint, names_bytes, size_bytes, checksum = _HEADER.unpack_from(blob)
            body_at = _HEADER.size + names_bytes
            names = blob[_HEADER.size : body_at].decode()
            if len(blob) < body_at:
                raise ValueError("it is cut off")
        except (struct.error, ValueError) as error:
            raise SchemaError(f"stored state cannot be read: {error}") from error
        layout = self._stored_layout(names, fingerprint)
        try:
            record = pa.ipc.read_record_batch(_body(form, blob, body_at, size_bytes, checksum), layout.schema)
            record.validate(full=True)
            if record.num_rows != 1 and record.num_columns:
                raise ValueError(f"it has {record.num_rows} rows")
            return {
                name: _value(kind, column)
                for (name, kind), column in zip(layout.types.items(), record.columns, strict=True)
            }
        except _READ_ERRORS as error:
            raise SchemaError(f"stored state cannot be read: {error}") from error

    def _layout(self, names: tuple[str, ...]) -> _Layout:
        layout = self._layouts.get(names)
        if layout is None:
            layout = self._remember(names, names)
        return layout

    def _stored_layout(self, joined: str, fingerprint: int) -> _Layout:
        layout = self._layouts.get(joined)
        if layout is None:
            names = tuple(joined.split(",")) if joined else ()
            if unknown := [name for name in names if name not in self._types]:
                raise SchemaError(
                    f"stored state has channels that the schema has not: {', '.join(map(repr, unknown))}; "
                    "read it with the version of the workflow that wrote it"
                )
            layout = self._remember(joined, names)
        if layout.fingerprint != fingerprint:
            raise SchemaError(
                f"stored channels {joined} have other types than in the schema; "
                "read them with the version of the workflow that wrote them"
            )
        return layout

    def _remember(self, key: Any, names: tuple[str, ...]) -> _Layout:
        if len(self._layouts) >= _MAX_LAYOUTS:
            self._layouts.clear()
        layout = self._layouts[key] = _Layout({name: self._types[name] for name in names})
        return layout


def _body(form: int, blob: bytes, at: int, size_bytes: int, checksum: int) -> pa.Buffer:
    """The Arrow record in `blob`, which begins at `at`."""
    if form == _COMPRESSED:
        body = memoryview(blob)[at:]
        if zlib.crc32(body) != checksum:
            raise ValueError("its checksum is wrong")
        if size_bytes > _MAX_RATIO * (len(body) + 1):
            raise ValueError(f"its length is wrong: {size_bytes} bytes out of {len(body)}")
        return _LZ4.decompress(body, size_bytes)
    if form == _PLAIN:
        # Tables may be large; Arrow itself notices if a record is cut off.
        return pa.py_buffer(blob).slice(at + -at % _ALIGNMENT_BYTES)
    raise ValueError(f"it has the unknown form {form}")


def _value(kind: ValueType, column: pa.Array) -> Any:
    if column.null_count:
        return None
    if isinstance(kind.inner, TableType):
        # Not copied: the table's columns are views of the stored bytes.
        return kind.unpack(column.buffers()[2])
    value = column.to_pylist()[0]
    return value if kind.direct else kind.unpack(value)
