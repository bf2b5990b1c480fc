"""The critical cut-off of a scan of widths: one Newton step from the predicted one, and its influence values."""

import numpy as np
import pytest

from fieldflow.checks.infinite_width import NEAR, _crossing

EXCESS = 0.1


def losses(members, curve, seed=3):
    """Return losses (members, 5) at 0, three cut-offs about 1 and infinity, with L(0) = 0 and L(∞) = 10 on average."""
    at = np.array([1.0 - NEAR, 1.0, 1.0 + NEAR])
    generator = np.random.default_rng(seed)
    noise = 0.1 * generator.standard_normal((members, 5))
    noise[:, 1:4] += 0.2 * generator.standard_normal((members, 1)) * at
    return at, np.concatenate([[0.0], curve(at), [10.0]]) + noise


def test_linear_loss_crosses_where_it_should():
    """L = 2Λ reaches a tenth of L(∞) at Λ = 1/2, far outside the three cut-offs."""
    at, loss = losses(4, lambda cutoff: 2.0 * cutoff)
    loss[:] = np.concatenate([[0.0], 2.0 * at, [10.0]])
    assert _crossing(loss, at, EXCESS) == pytest.approx(np.full(4, 0.5), abs=1e-13)


def test_curve_without_a_real_root():
    """A parabola that never comes down to the level: the step is still defined."""
    at, loss = losses(400, lambda cutoff: 3.0 + (cutoff - 0.5) ** 2)
    assert np.isfinite(_crossing(loss, at, EXCESS)).all()


def test_influence_values_are_the_jackknife():
    """Leaving a member out moves the crossing by its influence value over the number of members, up to 1/members²."""
    at, loss = losses(400, lambda cutoff: 2.0 * cutoff)
    values = _crossing(loss, at, EXCESS)
    n = len(values)
    without = np.array([_crossing(np.delete(loss, i, axis=0), at, EXCESS).mean() for i in range(n)])
    pseudo = n * values.mean() - (n - 1) * without
    assert np.std(pseudo - values) < 5.0 / n * np.std(values)
    assert np.std(pseudo - values.mean()) > 8.0 * np.std(pseudo - values)
