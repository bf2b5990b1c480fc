"""How does a paper show an action? Each coupling with its diagrams drawn beside the terms they stand for."""

from collections.abc import Iterable

from fieldflow.diagram import Diagram, diagrams

LEGS, ORDER = (2, 4, 6), 2

_HEAD = r"""\begin{table}[!ht]\centering
\setlength{\tabcolsep}{4pt}\renewcommand{\arraystretch}{1.15}
\begin{tabular}{@{}cccc@{\hspace{12pt}}l@{}}
\toprule
 & diagram & order & $1/\text{symmetry}$ & term \\
\midrule"""

_FOOT = r"""\bottomrule
\end{tabular}
\caption{Diagrams of the couplings $g_2$, $g_4$, $g_6$ of $S = \tfrac12 \phi\Delta\phi + \sum_r g_r \phi^r$ up to $N^{-2}$ for
an even ensemble of independent neurons. A blob with $n$ lines is the cumulant $\hat{G}^{(n)}$, amputated by $\Delta$ on every
leg; a line between blobs is $-G^{(2)}$; repeated indices are summed over the mesh.}\label{tab:diagrams}
\end{table}"""


def page(names: Iterable[str]) -> str:
    r"""Return a table of the diagrams of g_2, g_4, g_6 to N^{-2} (booktabs, tikz); nothing without these formulas.

    >>> page(["shell.mean"])
    ''
    >>> page(["action.g4"]).count(r"\begin{tikzpicture}")
    4
    """
    wanted = [legs for legs in LEGS if f"action.g{legs}" in set(names)]
    blocks = ["\n".join(_row(legs, i, entry) for i, entry in enumerate(diagrams(legs, ORDER))) for legs in wanted]
    if not blocks:
        return ""
    return "\n".join([_HEAD, "\n\\midrule\n".join(blocks), _FOOT])


def _row(legs: int, position: int, entry: Diagram) -> str:
    left = f"$g_{legs}$" if position == 0 else ""
    return (
        rf"{left} & {entry.tikz(scale=0.5)} & $N^{{-{entry.order}}}$ & $1/{entry.symmetry_factor}$ & "
        rf"$\displaystyle {entry.latex()}$ \\[6pt]"
    )
