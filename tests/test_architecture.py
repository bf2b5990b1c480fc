"""The house rules, read off the source with the standard library; each rule first shows that it can fail."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "fieldflow": ROOT / "fieldflow",
    "fieldflow.symbolic": ROOT / "symbolic",
    "fieldflow.numeric": ROOT / "numeric",
}
MODULES = {
    ".".join([package, *path.relative_to(folder).with_suffix("").parts]).removesuffix(".__init__"): path
    for package, folder in FOLDERS.items()
    for path in sorted(folder.rglob("*.py"))
}
ALLOWED = {
    "fieldflow.symbolic": {"sympy", "mpmath"},
    "fieldflow.numeric": {"numpy", "scipy", "numba", "llvmlite"},
}
OURS = ("fieldflow",)


def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(name: str) -> str:
    return next((part for part in ("fieldflow.symbolic", "fieldflow.numeric") if name.startswith(part)), "fieldflow")


def foreign_imports(tree: ast.AST, own: str) -> list[str]:
    """Imports that the layer ``own`` must not have."""
    if own == "fieldflow":
        return []
    third_party = {"sympy", "mpmath", "numpy", "scipy", "numba", "llvmlite", "matplotlib", "rich", "typer", "pydantic"}
    third_party |= {"psutil", "threadpoolctl"}
    bad = []
    for name in imports(tree):
        top = name.split(".")[0]
        if top == "fieldflow" and not name.startswith(own):
            bad.append(name)
        if top in third_party - ALLOWED[own]:
            bad.append(name)
    return bad


def test_symbolic_and_numeric_see_neither_each_other_nor_the_facade():
    assert foreign_imports(ast.parse("from fieldflow.numeric import rng"), "fieldflow.symbolic")
    assert foreign_imports(ast.parse("import sympy"), "fieldflow.numeric")
    assert {name: bad for name in MODULES if (bad := foreign_imports(tree_of(name), layer(name)))} == {}


def cycle(graph: dict[str, set[str]]) -> list[str]:
    """Return one import cycle, or nothing."""
    done: set[str] = set()

    def visit(name: str, path: list[str]) -> list[str]:
        if name in path:
            return [*path[path.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := visit(other, [*path, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


def test_no_import_cycles():
    assert cycle({"a": {"b"}, "b": {"a"}}) == ["a", "b", "a"]
    graph = {
        name: {other for other in imports(tree_of(name)) if other in MODULES and other != name} for name in MODULES
    }
    for package in FOLDERS:
        graph.pop(package, None)  # import-free by another test, and reached by every import below it
    assert cycle(graph) == []


def nested_imports(tree: ast.AST) -> list[int]:
    return [
        node.lineno
        for function in ast.walk(tree)
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef))
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    ]


def test_imports_stand_at_the_top():
    assert nested_imports(ast.parse("def f():\n    import os"))
    assert [name for name in MODULES if name != "fieldflow.cli" and nested_imports(tree_of(name))] == []


def test_packages_of_the_layers_are_import_free():
    for name in ("fieldflow.symbolic", "fieldflow.numeric"):
        assert list(imports(tree_of(name))) == []


def long_functions(tree: ast.AST, limit: int = 60) -> list[str]:
    return [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and (node.end_lineno or 0) - node.lineno + 1 > limit
    ]


def test_size_budgets():
    assert long_functions(ast.parse("def f():\n" + "    x = 1\n" * 60))
    assert {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()
            if len(path.read_text(encoding="utf-8").splitlines()) > 500} == {}  # fmt: skip
    assert {name: bad for name in MODULES if (bad := long_functions(tree_of(name)))} == {}


def calls(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func)


def forbidden_calls(tree: ast.AST) -> list[str]:
    names = ("eval", "exec", "sympify", "sp.sympify", "parse_expr", "sp.parse_expr")
    random = [name for name in calls(tree) if name.startswith("np.random.") and name.split(".")[2].islower()]
    return [name for name in calls(tree) if name in names[:2] or name in names[4:]] + random


def test_no_eval_and_no_global_random_state():
    assert forbidden_calls(ast.parse("eval('1'); np.random.normal()")) == ["eval", "np.random.normal"]
    assert not forbidden_calls(ast.parse("np.random.Generator(np.random.Philox(1))"))
    assert {name: bad for name in MODULES if (bad := forbidden_calls(tree_of(name)))} == {}


def test_user_text_never_reaches_sympify():
    for name in ("fieldflow.expression", "fieldflow.experiment", "fieldflow.data", "fieldflow.schema", "fieldflow.cli"):
        assert not [call for call in calls(tree_of(name)) if "sympify" in call or "parse_expr" in call]


def bare(tree: ast.AST) -> list[int]:
    handlers = [node for node in ast.walk(tree) if isinstance(node, ast.ExceptHandler)]
    return [node.lineno for node in handlers if node.type is None]


def asserts(tree: ast.AST) -> list[int]:
    return [node.lineno for node in ast.walk(tree) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize(
    ("rule", "bad_source"), [(bare, "try:\n    pass\nexcept:\n    pass"), (asserts, "assert x > 0")]
)
def test_no_bare_except_and_no_assert(rule, bad_source):
    assert rule(ast.parse(bad_source))
    assert {name: bad for name in MODULES if (bad := rule(tree_of(name)))} == {}


def numba_uses(tree: ast.AST) -> list[str]:
    decorated = [
        ast.unparse(d) for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) for d in node.decorator_list
    ]
    names = [*decorated, *calls(tree)]
    return [name for name in names if name.startswith(("numba.", "njit", "vectorize")) and "types" not in name]


def test_numba_is_applied_in_two_places_only():
    assert numba_uses(ast.parse("@numba.njit\ndef f(): pass"))
    allowed = {"fieldflow.numeric.jit", "fieldflow.compile"}
    assert {name: bad for name in MODULES if name not in allowed and (bad := numba_uses(tree_of(name)))} == {}


def test_no_module_has_the_name_of_a_public_function():
    table = next(
        node.value
        for node in tree_of("fieldflow").body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_PUBLIC"
    )
    public = {
        ast.literal_eval(key): ast.literal_eval(value) for key, value in zip(table.keys, table.values, strict=True)
    }
    clashes = {name for name, module in public.items() if f"fieldflow.{name}" in MODULES and name != module}
    assert clashes == set()


def test_every_module_says_which_question_it_answers():
    assert [name for name in MODULES if not ast.get_docstring(tree_of(name))] == []
