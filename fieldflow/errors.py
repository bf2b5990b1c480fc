"""The errors that fieldflow raises for a caller's mistakes, all ValueErrors."""

from fieldflow.symbolic.errors import (
    BadInput,
    InaccurateResult,
    NoClosedForm,
    NoCriticalCutoff,
    NoEdgeOfChaos,
    NoFixedPoint,
    NotPositiveDefinite,
    ProofFailed,
    Underpowered,
)

__all__ = [
    "BadInput",
    "InaccurateResult",
    "NoClosedForm",
    "NoCriticalCutoff",
    "NoEdgeOfChaos",
    "NoFixedPoint",
    "NotPositiveDefinite",
    "ProofFailed",
    "Underpowered",
]
