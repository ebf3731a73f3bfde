"""Channels as bytes: one Arrow record of one row, with the names of its channels in front instead of its schema.

A record is: one byte for its form; the CRC-32 of the channels' names and layouts, which tells the record of another
schema from one of this; two lengths; the names; then the Arrow record, compressed unless that makes it longer.
References to large values stand in front of it in a form of their own; the large values themselves are records of one
channel, or, if they are tables, Arrow streams.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Mapping
from decimal import DecimalException
from typing import Any

import msgspec
import pyarrow as pa

from graphs.errors import SchemaError, StateInvalid
from graphs.state.refs import ValueRef, holds_refs
from graphs.state.types import MisfitError, TableType, ValueType

_PLAIN, _COMPRESSED, _REFERRING, _TABLE = 1, 2, 3, 4
_HEADER = struct.Struct("<BIIII")
"""Form; fingerprint; bytes of the names; if compressed: bytes of the Arrow record before, its CRC-32 after.

For references: their CRC-32 stands as fingerprint, they themselves as names.
"""
_REFERS = bytes([_REFERRING])
_LZ4 = pa.Codec("lz4_raw")
_MAX_RATIO = 256
"""LZ4 never compresses better than this: a length that claims more is no length."""
_MAX_COMPRESSED_BYTES = 2**31 - 1
_ALIGNMENT_BYTES = 8
_MAX_LAYOUTS = 1024
_VALUE = "value"
"""What the channel of a value on its own is called: the same value in two channels has the same bytes."""

_CONVERSION_ERRORS = (pa.ArrowException, ValueError, TypeError, OverflowError, AttributeError, MisfitError)
_READ_ERRORS = (pa.ArrowException, ValueError, TypeError, OSError, LookupError, DecimalException)


class _Refs(msgspec.Struct, frozen=True):
    """The references of one record, by channel."""

    values: dict[str, ValueRef]
    items: dict[str, dict[int, ValueRef]]
    """Those that stand for items of a list, by index."""


_refs_decoder = msgspec.msgpack.Decoder(_Refs)


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
        """`values`, which are settled, None or references, as bytes.

        Raises:
            StateInvalid: A value does not fit its channel, or is longer than Arrow can hold.
        """
        held = {name: value for name, value in values.items() if holds_refs(value)}
        if not held:
            return self._encode(values)
        refs = _Refs(
            values={name: value for name, value in held.items() if type(value) is ValueRef},
            items={name: _item_refs(value) for name, value in held.items() if type(value) is list},
        )
        record = self._encode(
            {
                name: _small_items(value) if name in refs.items else value
                for name, value in values.items()
                if name not in refs.values
            }
        )
        body = msgspec.msgpack.encode(refs)
        head = _HEADER.pack(_REFERRING, zlib.crc32(body), len(body), 0, 0) + body
        return b"".join((head, bytes(-len(head) % _ALIGNMENT_BYTES), record))

    def _encode(self, values: Mapping[str, Any]) -> bytes:
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

    def decode(self, blob: bytes | memoryview) -> dict[str, Any]:
        """The values in `blob`, by channel; references where large values are.

        Raises:
            SchemaError: It is damaged, or was written with another schema.
        """
        if blob[:1] != _REFERS:
            return self._decode(blob)
        try:
            refs, at = _read_refs(memoryview(blob))
        except (struct.error, ValueError, msgspec.MsgspecError) as error:
            raise SchemaError(f"stored state cannot be read: {error}") from error
        self._check_known((*refs.values, *refs.items))
        values = self._decode(memoryview(blob)[at:])
        for name, items in refs.items.items():
            for index, item in sorted(items.items()):
                values[name].insert(index, item)
        return {**values, **refs.values}

    def _decode(self, blob: bytes | memoryview) -> dict[str, Any]:
        try:
            form, fingerprint, names_bytes, size_bytes, checksum = _HEADER.unpack_from(blob)
            body_at = _HEADER.size + names_bytes
            names = str(blob[_HEADER.size : body_at], "utf-8")
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
            self._check_known(names)
            layout = self._remember(joined, names)
        if layout.fingerprint != fingerprint:
            raise SchemaError(
                f"stored channels {joined} have other types than in the schema; "
                "read them with the version of the workflow that wrote them"
            )
        return layout

    def _check_known(self, names: Iterable[str]) -> None:
        if unknown := [name for name in names if name not in self._types]:
            raise SchemaError(
                f"stored state has channels that the schema has not: {', '.join(map(repr, unknown))}; "
                "read it with the version of the workflow that wrote it"
            )

    def _remember(self, key: Any, names: tuple[str, ...]) -> _Layout:
        if len(self._layouts) >= _MAX_LAYOUTS:
            self._layouts.clear()
        layout = self._layouts[key] = _Layout({name: self._types[name] for name in names})
        return layout


def encoded_size(blob: bytes | memoryview) -> int:
    """Bytes of the values in `blob`, before they were compressed; those that are only referred to do not count."""
    if blob[:1] == _REFERS:
        return encoded_size(memoryview(blob)[_read_refs(memoryview(blob))[1] :])
    return int(_HEADER.unpack_from(blob)[3]) or len(blob)


def least_size(kind: ValueType, value: Any) -> int:
    """Bytes that `value` will have at least when it is encoded, told at a glance."""
    if isinstance(value, str | bytes):
        return len(value)
    return int(value.nbytes) if isinstance(kind.inner, TableType) and value is not None else 0


def item_sizes(kind: ValueType, items: list[Any]) -> list[int]:
    """Arrow bytes of each of `items`. Raises `StateInvalid` for one that does not fit."""
    try:
        array = pa.array([item if item is None else kind.pack(item) for item in items], kind.storage)
    except _CONVERSION_ERRORS as error:
        raise StateInvalid(f"an item cannot be stored: {error}", problems=[str(error)]) from error
    return [array.slice(index, 1).nbytes for index in range(len(items))]


def encode_value(kind: ValueType, value: Any) -> memoryview:
    """One value on its own as bytes. Raises `StateInvalid` for one that does not fit its type."""
    if not isinstance(kind.inner, TableType):
        return memoryview(Codec({_VALUE: kind}).encode({_VALUE: value}))
    head = _Layout({_VALUE: kind}).head(_TABLE, 0, 0)
    head += bytes(-len(head) % _ALIGNMENT_BYTES)
    size = pa.MockOutputStream()
    _write_table(size, value)
    # Allocated once: a stream that grows would copy a large table again and again.
    blob = pa.allocate_buffer(len(head) + size.size())
    sink = pa.FixedSizeBufferWriter(blob)
    sink.write(head)
    _write_table(sink, value)
    return memoryview(blob)


def decode_value(kind: ValueType, blob: bytes | memoryview) -> Any:
    """The value in `blob`; a table is not copied, its columns are views of `blob`.

    Raises:
        SchemaError: It is damaged, or is a value of another type.
    """
    if not isinstance(kind.inner, TableType):
        return Codec({_VALUE: kind}).decode(blob)[_VALUE]
    head = _Layout({_VALUE: kind}).head(_TABLE, 0, 0)
    if bytes(blob[: len(head)]) != head:
        raise SchemaError(f"a stored value is no {kind.layout}; read it with the version of the workflow that wrote it")
    try:
        return kind.unpack(pa.py_buffer(blob).slice(len(head) + -len(head) % _ALIGNMENT_BYTES))
    except _READ_ERRORS as error:
        raise SchemaError(f"a stored value cannot be read: {error}") from error


def _write_table(sink: Any, table: Any) -> None:
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write(table)


def _item_refs(items: list[Any]) -> dict[int, ValueRef]:
    return {index: item for index, item in enumerate(items) if type(item) is ValueRef}


def _small_items(items: list[Any]) -> list[Any]:
    return [item for item in items if type(item) is not ValueRef]


def _read_refs(blob: memoryview) -> tuple[_Refs, int]:
    """The references at the begin of `blob`, and where the rest begins."""
    _, checksum, size_bytes, _, _ = _HEADER.unpack_from(blob)
    end = _HEADER.size + size_bytes
    body = blob[_HEADER.size : end]
    if zlib.crc32(body) != checksum:
        raise ValueError("the checksum of its references is wrong")
    return _refs_decoder.decode(body), end + -end % _ALIGNMENT_BYTES


def _body(form: int, blob: bytes | memoryview, at: int, size_bytes: int, checksum: int) -> pa.Buffer:
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
