"""The errors that fieldflow raises for a caller's mistakes, all ValueErrors."""

from fieldflow.symbolic.errors import (
    BadInput,
    NoClosedForm,
    NoCriticalCutoff,
    NotPositiveDefinite,
    ProofFailed,
    Underpowered,
)

__all__ = ["BadInput", "NoClosedForm", "NoCriticalCutoff", "NotPositiveDefinite", "ProofFailed", "Underpowered"]
