"""Under which conventions does a formula or a number hold? Explicit, printable, comparable."""

from dataclasses import dataclass, fields

from fieldflow.symbolic.errors import BadInput

WIDTH_SCALINGS = ("fan_in", "unscaled", "any")


@dataclass(frozen=True)
class Convention:
    """The choices that change numbers.

    Parameters
    ----------
    width_scaling : {"fan_in", "unscaled", "any"}
        W ~ N(0, σ_w²/fan_in), W ~ N(0, σ_w²), or a formula that holds under both.
    """

    width_scaling: str = "any"
    input_scaling: str = "1/d_in under fan_in, 1 under unscaled"
    loss: str = "mean over samples and outputs of (f - y)², no factor ½"
    learning_rate: str = "NTK parameterisation: weight = prior standard deviation × ω, ω is trained"
    fisher: str = "Gaussian likelihood; λ = E[h²]/noise variance of the raw read-out weight"
    partition: str = "sloppy: λ < Λ (strict); stiff: λ ≥ Λ"
    action: str = "P[φ] ∝ exp(-S[φ])"

    def __post_init__(self) -> None:
        if self.width_scaling not in WIDTH_SCALINGS:
            raise BadInput(f"width_scaling: expected one of {', '.join(WIDTH_SCALINGS)}, got {self.width_scaling!r}")

    def items(self) -> list[tuple[str, str]]:
        """Return the conventions as (name, statement) pairs, in order.

        >>> Convention().items()[0]
        ('width_scaling', 'any')
        """
        return [(entry.name, getattr(self, entry.name)) for entry in fields(self)]

    def compatible(self, other: "Convention") -> bool:
        """Return whether numbers under both may be compared ("any" width scaling agrees with each)."""
        mine, theirs = dict(self.items()), dict(other.items())
        scalings = {mine.pop("width_scaling"), theirs.pop("width_scaling")}
        return mine == theirs and (len(scalings) == 1 or "any" in scalings)
