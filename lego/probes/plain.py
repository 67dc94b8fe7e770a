"""Measurements as plain JSON: numbers of 4 digits, null for NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd


def plain(values: Any) -> Any:
    """Nested lists from an array of floats, or one float."""
    if isinstance(values, np.ndarray):
        return [plain(value) for value in values]
    return None if np.isnan(values) else round(float(values), 4)


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A dict a row, by column."""
    return [
        {name: plain(value) if isinstance(value, float) else value for name, value in row.items()}
        for row in table.to_dict("records")
    ]
