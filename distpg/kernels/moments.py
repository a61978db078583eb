"""Mean and spread of each column of many rows."""

# mypy: disallow-untyped-defs=False, disallow-untyped-calls=False, disallow-untyped-decorators=False

import numpy as np

from distpg.kernels.compile_cache import njit


@njit
def moments(rows, mean, squares):
    """Of rows [N, size] their mean, and the sums of squared deviations from it: into float64[size] of zeros.

    Added up in the order of the rows.
    """
    count, size = rows.shape
    for row in range(count):
        for k in range(size):
            mean[k] += np.float64(rows[row, k])
    for k in range(size):
        mean[k] /= count
    for row in range(count):
        for k in range(size):
            deviation = np.float64(rows[row, k]) - mean[k]
            squares[k] += deviation * deviation
