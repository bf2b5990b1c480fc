"""Which mistakes can a caller make? One class each, all ValueErrors, so that one ``except`` at the boundary is enough."""


class BadInput(ValueError):
    """An argument, a file or a key that fieldflow cannot accept; the message names it and the accepted values."""


class NoClosedForm(BadInput):
    """The requested expression has no closed form that this version derives; the message says what is supported."""


class NotPositiveDefinite(BadInput):
    """A covariance or Gram matrix that must be inverted is singular or indefinite."""


class NoCriticalCutoff(BadInput):
    """The loss at infinite cut-off does not exceed the loss at zero, so no critical cut-off exists."""


class NoFixedPoint(BadInput):
    """The variance of a deep random network grows without bound or oscillates, or there is no signal left to compare."""


class NoEdgeOfChaos(BadInput):
    """The activation has no curve of critical networks, or none at the given bias."""


class Underpowered(BadInput):
    """Too few samples for the claim that was asked to be judged."""


class ProofFailed(BadInput):
    """A derivation step did not hold when it was checked; nothing may be built on it."""


class InaccurateResult(UserWarning):
    """A number was computed, but its estimated error is above what was asked for; the message says both."""
