"""Under which names shall symbols be printed? A small TOML file of calling names and their LaTeX."""

import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fieldflow.errors import BadInput
from fieldflow.symbolic.formula import Formula
from fieldflow.symbolic.printing import KNOWN_NAMES, check_names

TABLE = "symbols"


def read_symbols(path: str | Path) -> dict[str, str]:
    r"""Return the table ``[symbols]`` of a TOML file; which names it may hold is checked where they are used.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "names.toml"
    ...     _ = file.write_text('[symbols]\nq11 = "K(x,x)"\n', encoding="utf-8")
    ...     read_symbols(file)
    {'q11': 'K(x,x)'}

    Raises
    ------
    BadInput
        If the file cannot be read, is no TOML or holds anything but that table.
    """
    try:
        values: dict[str, Any] = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"symbols: cannot read {path}: {error.strerror or error}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"symbols: {path} is not a TOML file: {error}") from error
    for key, value in values.items():
        if key != TABLE:
            raise BadInput(f"{key}: unknown key in {path}; accepted: a table [{TABLE}]")
        if not isinstance(value, dict):
            raise BadInput(f"{TABLE}: expected a table of names in {path}, got {value!r}")
    return dict(values.get(TABLE, {}))


def check_symbols(symbols: Mapping[str, str], formulas: Iterable[Formula]) -> None:
    """Raise BadInput, naming the key and the accepted names, unless the formulas together know every name.

    >>> check_symbols({"q11": "K"}, [])
    """
    check_names(symbols, KNOWN_NAMES.union(*(formula.symbol_names for formula in formulas)))


def chosen(symbols: Mapping[str, str], formula: Formula) -> dict[str, str]:
    """Return those names that one formula knows."""
    return {name: value for name, value in symbols.items() if name in formula.symbol_names}
