"""Derive a kernel, show the derivation, and evaluate it.

Run as ``python examples/derive_kernel.py``.
"""

from pathlib import Path

import sympy as sp

import fieldflow as ff


def main(*, quick: bool = False, seed: int = 0, out: Path | None = None) -> float:
    """Return E[relu(u)relu(v)] at q11 = q22 = 1, c = 1/2; its LaTeX is written to ``out`` if given."""
    z = sp.Symbol("z", real=True)
    formula = ff.gaussian_expectation(sp.Max(z, 0))
    if out is not None:
        out.write_text(formula.latex(style="align") + "\n", encoding="utf-8")
    return float(formula.compile()(1.0, 0.5, 1.0))


if __name__ == "__main__":
    print(main())
