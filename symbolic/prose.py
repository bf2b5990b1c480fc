"""How does a sentence with mathematics in plain text become LaTeX? Words stay words, what is a formula becomes one.

Domains, rules and conventions are written as "q11, q22 >= 0, |c| <= sqrt(q11 q22)": readable on a screen.
"""

import re
import unicodedata
from collections.abc import Mapping

from fieldflow.symbolic.printing import balanced, printed_names

_SMALL = (
    "alpha beta gamma delta varepsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho sigma tau upsilon phi chi psi "
    "omega"
)
_CAPITAL = "Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega"
_GREEK = dict(zip("αβγδεζηθικλμνξοπρστυφχψωΓΔΘΛΞΠΣΥΦΨΩ", f"{_SMALL} {_CAPITAL}".split(), strict=True))
_GREEK_NAMES = frozenset(_GREEK.values()) | {"epsilon"}

_SIGNS = {
    "∞": r"\infty", "∝": r"\propto", "≥": r"\geq", "≤": r"\leq", "×": r"\times", "½": r"\tfrac12", "√": r"\sqrt{\ }",
    "±": r"\pm", "→": r"\to", "≠": r"\neq", "≈": r"\approx", "∂": r"\partial", "∇": r"\nabla", "∑": r"\sum", "Σ": r"\Sigma",
    "∫": r"\int", "·": r"\cdot", "−": "-", "⟨": r"\langle", "⟩": r"\rangle", "ℓ": r"\ell", "⊤": r"^{\top}", "ᵀ": r"^{\top}",
    "²": "^{2}", "³": "^{3}", "⁴": "^{4}", "₀": "_{0}", "₁": "_{1}", "₂": "_{2}", "≡": r"\equiv",
    "∘": r"\circ", "∼": r"\sim",
}  # fmt: skip

_ESCAPED = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\ensuremath{<}", ">": r"\ensuremath{>}",
    "|": r"\ensuremath{|}", "–": "--", "—": "---", "“": "``", "”": "''", "‘": "`", "’": "'", "…": r"\dots{}",
    **{sign: rf"\ensuremath{{{command}}}" for sign, command in _SIGNS.items()},
    **{letter: rf"\ensuremath{{\{name}}}" for letter, name in _GREEK.items()},
    "²": r"\textsuperscript{2}", "³": r"\textsuperscript{3}", "ο": "o",
}  # fmt: skip

_OPERATOR_NAMES = "exp ln log sin cos tan max min det arcsin arccos arctan lim sum"
_FUNCTIONS = frozenset(_OPERATOR_NAMES.split())
_RELATIONS = {"**": "^", ">=": r"\geq ", "<=": r"\leq ", "->": r"\to ", "!=": r"\neq ", "~": r"\sim ", "*": r"\,"}
_OPERATORS = frozenset({"=", "+", "-", "/", "*", "<", ">", "~", "×", "·", "∝", "≥", "≤", "≠", "→", "∞", *_RELATIONS})
_LIKE_MATHS = re.compile(
    r"[_^=<>|²³√ᵀ\[\]]|\*"  # a sign that prose has no use for
    r"|^[A-Za-z]'*$|^[A-Za-z]{1,2}\d+$|^[A-Z]{2}$"  # h, h', h1, KA
    r"|^[A-Za-z]+'*\((?!s\))"  # relu(z)
)
_IDENTIFIER = re.compile(rf"(?!(?:{'|'.join(sorted(_GREEK_NAMES))})_)[a-z]{{3,}}(_[a-z]+)+|[a-z_]+(\.\w+)+")
_UNDECIDED = frozenset({"a", "A", "I", "-", "/", "infinity"})
_TOKEN = re.compile(
    rf"d(?=(?:{'|'.join(sorted(_GREEK_NAMES))})(?![a-z]))"  # a differential: dLambda
    r"|\*\*|>=|<=|->|!=|sqrt\(|[A-Za-z]+\d*(?:_(?:\{[^{}]*\}|[A-Za-z0-9]+|[<>](?!=)))*|\s+|."
)


def escape(text: str) -> str:
    r"""Return plain text as LaTeX.

    >>> escape("a_b < 1")
    'a\\_b \\ensuremath{<} 1'
    """
    return "".join(_ESCAPED.get(character) or _ascii(character) for character in text)


def _ascii(character: str) -> str:
    """Return a character that LaTeX knows without further packages: Latin-1 as it is, others by their nearest ASCII."""
    if ord(character) < 256:
        return character
    plain = unicodedata.normalize("NFKD", character).encode("ascii", "ignore").decode()
    return plain or rf"\texttt{{U+{ord(character):04X}}}"


def prose(text: str, names: Mapping[str, str] | None = None) -> str:
    r"""Return a sentence as LaTeX with its formulas in math mode.

    Parameters
    ----------
    text : str
    names : mapping, optional
        Calling name to LaTeX, for symbols to be printed under another name.

    >>> prose("q11, q22 >= 0, |c| <= sqrt(q11 q22)")
    '$q_{11}$, $q_{22} \\geq 0$, $|c| \\leq \\sqrt{q_{11} q_{22}}$'
    >>> prose("a root of the quadratic")
    'a root of the quadratic'
    """
    known = printed_names(names)
    found: list[tuple[str, bool]] = []
    for before, core, after in map(_trimmed, _chunks(text)):
        found += [
            (part, maths) for part, maths in ((before, False), (core, _is_maths(core, known)), (after, False)) if part
        ]
        found.append((" ", False))
    _adopt(found)
    return _joined(found, known).strip()


def _chunks(text: str) -> list[str]:
    """Return words; one that opens a bracket behind a letter runs on to where the bracket closes."""
    chunks: list[str] = []
    for word in text.split():
        last = chunks[-1] if chunks else ""
        inner = last.lstrip("([")
        if inner and sum(inner.count(b) for b in "([{") > sum(inner.count(b) for b in ")]}") and _opens(inner):
            chunks[-1] += f" {word}"
        else:
            chunks.append(word)
    return chunks


def _opens(word: str) -> bool:
    return re.match(r"[A-Za-z_^{}\-0-9>]*[A-Za-z}>]'*[\[(]", word) is not None


def _trimmed(chunk: str) -> tuple[str, str, str]:
    """Return punctuation before, the word, punctuation after; brackets go to the punctuation where they do not match."""
    before, after = "", ""
    while chunk:
        opened, closed = chunk.count("(") - chunk.count(")"), chunk.count("[") - chunk.count("]")
        if chunk[-1] in ",;:." or (chunk[-1] == ")" and opened < 0) or (chunk[-1] == "]" and closed < 0):
            chunk, after = chunk[:-1], chunk[-1] + after
        elif (
            chunk[0] in "(["
            and (opened > 0 or closed > 0 or (chunk[-1] == ")" and " " not in chunk))
            and len(chunk) > 1
        ):
            chunk, before = chunk[1:], before + chunk[0]
        else:
            break
    return before, chunk, after


def _is_maths(word: str, known: Mapping[str, str]) -> bool:
    word = word.removeprefix("-") or word
    if word in _UNDECIDED or word.isdigit():
        return False
    if word in _OPERATORS or word in known:
        return True
    if all(part.removeprefix("d") in _GREEK_NAMES for part in word.strip("'").split("/")):  # mu', dmu/dLambda
        return True
    if _IDENTIFIER.fullmatch(word):
        return False
    if any(character in _GREEK or character in _SIGNS for character in word):
        return True
    parts = word.split("/")
    ratio = len(parts) == 2 and all(part.isdigit() or 0 < len(part) < 3 or part in _GREEK_NAMES for part in parts)
    return ratio or _LIKE_MATHS.search(word) is not None


def _adopt(found: list[tuple[str, bool]]) -> None:
    """Decide by the neighbours what is mathematics there only: numbers, signs, and letters that are words as well."""
    words = [i for i, (part, _) in enumerate(found) if part != " "]
    for here, i in enumerate(words):
        part = found[i][0]
        before = found[words[here - 1]] if here else ("", False)
        after = [*(found[j] for j in words[here + 1 : here + 3]), ("", False), ("", False)]
        operator = before[0] in _OPERATORS or after[0][0] in _OPERATORS
        if part.isdigit():
            found[i] = (part, before[1] or after[0][1] or operator)
        elif part in ("-", "/"):
            found[i] = (part, before[1] and (after[0][1] or after[0][0].isdigit()))
        elif part in ("a", "A"):
            found[i] = (part, operator or after[0][1] or (after[0][0] == "," and after[1][1]))
        elif part in _UNDECIDED:
            found[i] = (part, operator)


def _joined(found: list[tuple[str, bool]], known: Mapping[str, str]) -> str:
    out: list[str] = []
    run: list[str] = []
    for i, (part, maths) in enumerate(found):
        between = part == " " and run and i + 1 < len(found) and found[i + 1][1]
        if maths or between:
            run.append(part)
            continue
        if run:
            out.append(_maths("".join(run), known))
            run = []
        out.append(_plain(part))
    if run:
        out.append(_maths("".join(run), known))
    return "".join(out)


def _plain(part: str) -> str:
    if part == "-":
        return "--"
    return rf"\texttt{{{escape(part)}}}" if _IDENTIFIER.fullmatch(part) else escape(part)


def _maths(text: str, known: Mapping[str, str]) -> str:
    """Return plain-text mathematics in math mode; as text where its braces do not match."""
    out, roots, depth = "", [], 0
    tokens = _TOKEN.findall(text)
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        if token == "sqrt(":
            roots.append(depth)
            out += r"\sqrt{"
            depth += 1
        elif token == "(":
            depth += 1
            out += "("
        elif token == ")":
            depth -= 1
            closes = bool(roots) and roots[-1] == depth
            if closes:
                roots.pop()
            out += "}" if closes else ")"
        else:
            out += _RELATIONS.get(token) or (known[token] if token in known and following != "(" else _word(token))
    out = re.sub(r"\^(-?\d+|[A-Za-z]|\\mathrm\{\w+\}|\\[a-z]+)", r"^{\1}", re.sub(r"\s+", " ", out))
    out = re.sub(r"(?<![A-Za-z\\])E\[", r"\\mathrm{E}[", re.sub(r"(?<=\w) E\[", r"\\,E[", out))
    out = re.sub(r"\s+([,;)\]}^_])", r"\1", out).strip()
    return f"${out}$" if balanced(out) and "#" not in out else escape(text)


def _word(token: str) -> str:
    if token in _GREEK:
        return rf"\{_GREEK[token]} "
    if token in _SIGNS:
        return f"{_SIGNS[token]} "
    if not token[0].isalpha():
        return {"&": r"\&", "%": r"\%", "#": r"\#", "$": r"\$", "\\": r"\backslash "}.get(token, token)
    base, *below = token.split("_")
    letters, digits = re.fullmatch(r"([A-Za-z]+)(\d*)", base).groups()  # type: ignore[union-attr]
    under = [digits] if digits else []
    under += [part.strip("{}") for part in below]
    subscript = ", ".join(_subscript(part) for part in under)
    return _letters(letters) + (
        f"_{{{subscript}}}" if subscript else ("" if not _letters(letters).startswith("\\") else " ")
    )


def _subscript(part: str) -> str:
    return " ".join(
        _letters(piece) if piece.isalpha() else piece for piece in re.findall(r"[A-Za-z]+|[^A-Za-z]+", part)
    )


def _letters(letters: str) -> str:
    if letters == "epsilon":
        return r"\varepsilon"
    if letters == "infinity":
        return r"\infty"
    if letters in _GREEK_NAMES or letters in _FUNCTIONS:
        return rf"\{letters}"
    if len(letters) == 1 or (len(letters) == 2 and (letters.isupper() or letters[0] == "d" or letters == "ij")):
        return letters
    return rf"\mathrm{{{letters}}}"
