"""The shape of the code: sizes, complexity, directions of imports. `python -m` this for figures.

Complexity is McCabe's, as ruff reckons it, but the arms of a match count as one.
"""

import ast
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CORE_MAY_IMPORT = {
    *("proxy.core", "proxy.errors", "msgspec", "xxhash"),
    *("abc", "bisect", "collections", "dataclasses", "decimal", "difflib", "enum", "fnmatch"),
    *("functools", "hashlib", "hmac", "itertools", "json", "math", "re", "types", "typing"),
    *("string", "contextlib", "datetime", "urllib.parse", "base64", "zlib", "struct", "operator"),
    *("heapq",),
}
"""`datetime` is for the calendar: its clock is banned by ruff (TID251)."""
ALLOWED: Mapping[str, str] = {
    "proxy.metrics.__init__": "49 lines: one declaration a metric, no branch",
    "proxy.wire.answer._hand_over": "a callback's boundary: raised again where it is awaited",
    "proxy.wire.handling._step": "what a handler raises is its outcome, told to who started it",
    "proxy.admin.door._open": "calls go on though the admin port cannot be served; it is logged",
    "proxy.stores.sqlite_writer._results": "a thread's boundary: who waits must hear of anything",
    "proxy.stores.sqlite_writer.rest": "a thread's boundary: logged, and told to who writes next",
    "proxy.stores.sqlite_threads._result": "a thread's boundary: raised again where it is awaited",
    "proxy.stores.redis_lanes._run": "a task's boundary: who waits must hear of anything",
    "proxy.stores.spool._results": "a thread's boundary: who waits must hear of anything",
    "proxy.stores.open_on_failure.watch": "logged, and tried again: else budgets would stay open",
}
"""`module` or `module.function` -> why it may break a law."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
_BRANCHES = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.Match)
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


SOURCES = {_name(path): path.read_text() for path in sorted((ROOT / "proxy").rglob("*.py"))}
TREES = {name: ast.parse(source) for name, source in SOURCES.items()}


def functions() -> Iterator[tuple[str, Function]]:
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, Function):
                yield f"{module}.{node.name}", node


def complexity(function: Function) -> int:
    inner: list[ast.AST] = list(function.body)
    branches = 1
    while inner:
        node = inner.pop()
        branches += isinstance(node, _BRANCHES)
        inner += [] if isinstance(node, _SCOPES) else ast.iter_child_nodes(node)
    return branches


def length(function: Function) -> int:
    return (function.end_lineno or function.lineno) - function.lineno + 1


def imported(tree: ast.Module) -> Iterator[str]:
    """What a module imports, by its full name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in SOURCES else str(node.module)


IMPORTS = {name: {i for i in imported(tree) if i in SOURCES} for name, tree in TREES.items()}


def cycles() -> list[str]:
    """Modules that can be reached from themselves."""

    def reached(start: str) -> set[str]:
        seen: set[str] = set()
        todo = [start]
        while todo:
            new = IMPORTS[todo.pop()] - seen
            seen |= new
            todo += new
        return seen

    return [module for module in IMPORTS if module in reached(module)]


@cache
def depth(module: str) -> int:
    """The longest chain of imports from here; only where there is no cycle."""
    return 1 + max((depth(name) for name in IMPORTS[module]), default=0)


def broken(found: Mapping[str, object]) -> dict[str, object]:
    return {name: what for name, what in found.items() if name not in ALLOWED}


def test_modules_have_at_most_300_lines() -> None:
    sizes = {name: len(source.splitlines()) for name, source in SOURCES.items()}
    assert not broken({name: size for name, size in sizes.items() if size > 300})


def test_functions_have_at_most_40_lines() -> None:
    assert not broken({name: length(f) for name, f in functions() if length(f) > 40})


def test_functions_have_a_complexity_of_at_most_8() -> None:
    assert not broken({name: complexity(f) for name, f in functions() if complexity(f) > 8})


def test_the_core_imports_itself_and_what_is_harmless() -> None:
    """Decisions that read a clock or a file cannot be replayed."""
    core = {name: tree for name, tree in TREES.items() if name.startswith("proxy.core")}
    wrong = {
        name: bad
        for name, tree in core.items()
        if (bad := [i for i in imported(tree) if not _may_be_in_core(i)])
    }
    assert not broken(wrong)


def _may_be_in_core(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in CORE_MAY_IMPORT)


def test_what_catches_everything_raises_it_again() -> None:
    """Anything else would swallow a bug, or a cancellation."""
    found = {
        name: "swallows everything"
        for name, function in functions()
        for node in ast.walk(function)
        if isinstance(node, ast.ExceptHandler) and _swallows_everything(node)
    }
    assert not broken(found)


def _swallows_everything(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {getattr(kind, "id", None) for kind in caught}
    again = isinstance(handler.body[-1], ast.Raise) and handler.body[-1].exc is None
    everything = handler.type is None or not names.isdisjoint({"Exception", "BaseException"})
    return everything and not again


def test_nothing_happens_on_import() -> None:
    """A call that stands alone in a module registers something, or starts it."""
    found = {
        f"{name}:{node.lineno}": "a call on import"
        for name, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
    }
    assert not broken(found)


def test_there_are_no_cycles() -> None:
    assert not cycles()


def test_what_is_allowed_is_still_needed() -> None:
    known = {*SOURCES, *(name for name, _ in functions())}
    assert set(ALLOWED) <= known


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("def f(): pass", 1),
        ("def f():\n if a and b: pass\n elif c: pass\n else: pass", 3),
        ("def f():\n match x:\n  case 1: pass\n  case 2: pass", 2),
        ("def f():\n for x in y: pass\n try: pass\n except A: pass", 3),
        ("def f():\n def g():\n  if a: pass\n return g", 1),
    ],
)
def test_complexity_is_counted(source: str, expected: int) -> None:
    function = ast.parse(source).body[0]
    assert isinstance(function, Function)
    assert complexity(function) == expected


def report() -> str:
    """The figures, a line each."""
    sizes = {name: len(source.splitlines()) for name, source in SOURCES.items()}
    lengths = {name: length(f) for name, f in functions()}
    branches = {name: complexity(f) for name, f in functions()}
    rows: list[tuple[str, object]] = [
        ("modules", len(SOURCES)),
        ("lines", sum(sizes.values())),
        ("longest module", max((size, name) for name, size in sizes.items())),
        ("functions", sum(1 for _ in functions())),
        ("longest function", max((lines, name) for name, lines in lengths.items())),
        ("largest complexity", max((count, name) for name, count in branches.items())),
        ("modules in cycles", len(cycles())),
        ("import depth", "-" if cycles() else max((depth(name), name) for name in SOURCES)),
    ]
    return "\n".join(f"{name:<20} {value}" for name, value in rows)


if __name__ == "__main__":
    sys.stdout.write(report() + "\n")
