r"""How wide is a displayed formula? An estimate in ems from its LaTeX, close enough to break lines by.

The widths are those of Computer Modern; a letter of a sub- or superscript counts 0.7.
"""

import re

_TOKEN = re.compile(r"\\[A-Za-z]+\*?|\\.|[^\\\s]")

_NOTHING = frozenset({r"\limits", r"\nolimits", r"\displaystyle", r"\textstyle", r"\label", "&", "{", "}", r"\middle"})
_COMMANDS = {
    **dict.fromkeys((r"\left", r"\right", r"\bigl", r"\bigr", r"\biggl", r"\biggr", r"\Bigl", r"\Bigr"), 0.2),
    **dict.fromkeys((r"\geq", r"\leq", r"\to", r"\neq", r"\sim", r"\propto", r"\wedge", r"\vee"), 1.33),
    **dict.fromkeys((r"\int", r"\sum", r"\prod"), 1.2),
    r"\quad": 1.0,
    r"\qquad": 2.0,
    r"\,": 0.17,
    r"\:": 0.22,
    r"\;": 0.28,
    r"\!": -0.17,
    r"\ ": 0.33,
    r"\cdot": 0.72,
    r"\times": 1.2,
    r"\infty": 1.0,
    r"\top": 0.78,
    r"\langle": 0.39,
    r"\rangle": 0.39,
    r"\pm": 1.2,
}
_OPERATORS = "ln log exp sin cos tan sinh cosh tanh arcsin arccos arctan max min lim det erf"
_WORDS = frozenset(rf"\{name}" for name in _OPERATORS.split())
_SCRIPT = 0.7


def width(text: str) -> float:
    r"""Return the estimated width of display mathematics, in ems.

    >>> round(width(r"\frac{a + b}{c}"), 1) == round(width("a + b") + 0.24, 1)
    True
    >>> width("x^{2}") < width("x2")
    True
    """
    return _Scan(_TOKEN.findall(text)).run()


class _Scan:
    """A pass over the tokens of a formula."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 0

    def run(self, fractions: int = 0) -> float:
        """Return the width up to the end of the group that is open."""
        total, scripts = 0.0, {"^": 0.0, "_": 0.0}
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            if token == "}":
                break
            self.at += 1
            if token in scripts:
                scripts[token] = _SCRIPT * self._argument(fractions)
                continue
            total += max(scripts.values())  # a subscript lies under the superscript beside it
            scripts = {"^": 0.0, "_": 0.0}
            total += self._token(token, fractions)
        return total + max(scripts.values())

    def _argument(self, fractions: int) -> float:
        if self.at >= len(self.tokens):
            return 0.0
        token = self.tokens[self.at]
        self.at += 1
        if token != "{":
            return self._token(token, fractions)
        inside = self.run(fractions)
        self.at += 1
        return inside

    def _token(self, token: str, fractions: int) -> float:
        if token == "{":
            self.at -= 1
            return self._argument(fractions)
        if token in (r"\frac", r"\dfrac", r"\tfrac"):
            scale = 1.0 if fractions == 0 else _SCRIPT
            return 0.24 + scale * max(self._argument(fractions + 1), self._argument(fractions + 1))
        if token == r"\sqrt":
            return 0.9 + self._argument(fractions)
        if token in (r"\operatorname", r"\mathrm", r"\text", r"\mathbf", r"\texttt"):
            return self._word()
        if token == r"\begin":
            return self._environment()
        return _plain(token)

    def _word(self) -> float:
        self.at += 1
        end = next((i for i in range(self.at, len(self.tokens)) if self.tokens[i] == "}"), len(self.tokens))
        letters, self.at = end - self.at, end + 1
        return 0.55 * letters

    def _environment(self) -> float:
        """Return the width of cases, aligned or a matrix: the widest entry of every column."""
        self._word()
        columns, entries, depth, start = [0.0], 0, 0, self.at
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            depth += {r"\begin": 1, r"\end": -1}.get(token, 0)
            if (depth == 0 and token in ("&", r"\\")) or depth < 0:
                columns[entries] = max(columns[entries], _Scan(self.tokens[start : self.at]).run())
                start = self.at + 1
                if depth < 0:
                    break
                entries = entries + 1 if token == "&" else 0
                columns += [0.0] * (entries + 1 - len(columns))
            self.at += 1
        self.at += 1
        self._word()
        return sum(columns) + len(columns)


def _plain(token: str) -> float:
    if token in _NOTHING:
        return 0.0
    if token in _COMMANDS:
        return _COMMANDS[token]
    if token in _WORDS:
        return 0.5 * (len(token) - 1) + 0.17
    if token.startswith("\\"):
        return 0.6
    if token in "+-":
        return 1.22
    if token in "=<>":
        return 1.33
    if token in ",;":
        return 0.45
    if token in "()[]|'.!:":
        return 0.39
    return 0.75 if token.isupper() else 0.53
