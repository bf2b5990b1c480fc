"""What is wrong with a file, in one line? Validation errors as "key: expected …, got …"."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

ONE, FRACTION, LIST = TAGS = ("<one>", "<fraction>", "<list>")
"""Tags by which a schema tells the forms of a value apart; they are no keys."""

_EXPECTED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "finite_number": lambda _: "a finite number",
    "float_type": lambda _: "a number",
    "greater_than": lambda limit: f"a number > {limit['gt']:g}",
    "greater_than_equal": lambda limit: f"a number >= {limit['ge']:g}",
    "int_type": lambda _: "an integer",
    "less_than": lambda limit: f"a number < {limit['lt']}",
    "less_than_equal": lambda limit: f"a number <= {limit['le']}",
    "list_type": lambda _: "a list",
    "literal_error": lambda limit: str(limit["expected"]),
    "model_type": lambda _: "a table of keys",
    "string_pattern_mismatch": lambda _: "a short name of letters, digits and _ . -",
    "string_type": lambda _: "text",
    "too_long": lambda limit: f"at most {limit['max_length']} entries",
    "too_short": lambda limit: f"at least {limit['min_length']} entries",
}


def first_complaint(error: ValidationError, accepted_keys: Callable[[Sequence[str]], Sequence[str]]) -> str:
    """Return one validation error as one line that names the key.

    Parameters
    ----------
    error : ValidationError
    accepted_keys : callable
        From the names of the enclosing tables, outermost first, to the keys accepted there.
    """
    # A misspelt key is also a missing one; the misspelling says more.
    found = sorted(error.errors(include_url=False), key=lambda entry: entry["type"] != "extra_forbidden")[0]
    location = [part for part in found["loc"] if part not in TAGS]
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    kind, context = found["type"], found.get("ctx", {})
    if kind == "extra_forbidden":
        accepted = accepted_keys([part for part in location[:-1] if isinstance(part, str)])
        near = difflib.get_close_matches(str(location[-1]), accepted, n=1)
        hint = f"; nearest: {near[0]}" if near else ""
        return f"{key}: unknown key{hint}; accepted: {', '.join(accepted)}"
    if kind == "missing":
        return f"{key}: this key is required"
    if kind == "value_error":
        # Raised by the schema itself; the message begins with the rest of the key.
        return f"{key}.{context['error']}" if key else str(context["error"])
    expected = _EXPECTED[kind](context) if kind in _EXPECTED else str(found["msg"])
    return f"{key}: expected {expected}, got {_short(found['input'])}"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
