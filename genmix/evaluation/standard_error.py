"""How far a mean over independent events may be off."""

import math

import numpy as np
from jaxtyping import ArrayLike, Float


def standard_error(values: Float[ArrayLike, " n"]) -> float:
    """Standard error of the mean of independent values; NaN of fewer than two, which tell none."""
    values = np.asarray(values)
    if len(values) < 2:
        return math.nan
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))
