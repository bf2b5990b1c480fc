"""How do quantities vary together over any number of members? Running covariances, in memory that does not grow."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass
class Comoments:
    """Covariances (groups, cells, cells) of what was seen and their errors; cells of different groups do not mix.

    Parameters
    ----------
    reference : array (groups, cells)
        Numbers near the means, about which products are summed.

    >>> both = Comoments(np.zeros((1, 2)))
    >>> both.add(np.array([[[0.0, 1.0]], [[2.0, -1.0]]]))
    >>> both.covariance.tolist()
    [[[2.0, -2.0], [-2.0, 2.0]]]
    """

    reference: Array
    count: int = field(default=0, init=False)
    sums: Array = field(init=False)
    products: Array = field(init=False)

    def __post_init__(self) -> None:
        groups, cells = self.reference.shape
        self.sums = np.zeros((groups, cells))
        self.products = np.zeros((3, groups, cells, cells))

    def add(self, values: Array) -> None:
        """Add values (n, groups, cells)."""
        if not len(values):
            return
        shifted = np.ascontiguousarray(np.moveaxis(values - self.reference, 0, 2))
        squares = shifted**2
        self.sums += shifted.sum(axis=2)
        for total, left, right in zip(
            self.products, (shifted, squares, squares), (shifted, shifted, squares), strict=True
        ):
            total += np.matmul(left, right.swapaxes(1, 2))
        self.count += len(values)

    def merge(self, other: "Comoments") -> None:
        """Add what another with the same reference has seen."""
        self.count += other.count
        self.sums += other.sums
        self.products += other.products

    @property
    def mean(self) -> Array:
        """Return the mean (groups, cells)."""
        result: Array = self.reference + self.sums / self.count
        return result

    @property
    def covariance(self) -> Array:
        """Return the covariance (groups, cells, cells), without bias."""
        return self._biased * (self.count / max(self.count - 1, 1))

    @property
    def covariance_error(self) -> Array:
        """Return its standard error: that of the mean of the products (f_i - mean_i)(f_j - mean_j)."""
        shift = self.sums / self.count
        left, right = shift[:, :, None], shift[:, None, :]
        both, three, four = self.products / self.count
        diagonal = np.einsum("gii->gi", both)
        # E (u - a)²(v - b)² with a = E u, b = E v, multiplied out.
        square = four - 2.0 * (right * three + left * three.swapaxes(1, 2)) + 4.0 * left * right * both
        square += left**2 * diagonal[:, None, :] + right**2 * diagonal[:, :, None] - 3.0 * left**2 * right**2
        result: Array = np.sqrt(np.maximum(square - self._biased**2, 0.0) / self.count)
        return result

    @property
    def _biased(self) -> Array:
        shift = self.sums / self.count
        result: Array = self.products[0] / self.count - shift[:, :, None] * shift[:, None, :]
        return result
