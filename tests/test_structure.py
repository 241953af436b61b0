"""The house's rules, read off the source: a package imports only those above it, and importing treadle stays light."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import treadle

ROOT = Path(treadle.__file__).parent

# From the ground up: each may import those before it.
ORDER = [
    *("records", "errors", "nest", "config", "core", "vector", "ops", "autodiff", "control", "autograph", "optimize"),
    "compile",
    *("function", "random", "strings", "linalg", "nn", "optim", "losses", "metrics", "data", "testing", "debug"),
    *("__init__", "__main__"),
]


def package(module: str) -> str:
    """The part of treadle that a dotted name stands in; the public namespace itself is `__init__`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


@cache
def parsed(path: Path) -> tuple[str | None, list[ast.Import | ast.ImportFrom]]:
    """A file's docstring, and all its import statements, late ones too; each file is parsed once for all tests."""
    tree = ast.parse(path.read_text())
    return ast.get_docstring(tree), [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Dotted names of treadle's modules that a file imports, with line numbers; late imports too."""
    name = ["treadle", *path.relative_to(ROOT).with_suffix("").parts]
    for node in parsed(path)[1]:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names if alias.name.split(".")[0] == "treadle")
        else:
            base = (
                ".".join([*name[: -node.level], *([node.module] if node.module else [])]) if node.level else node.module
            )
            if base == "treadle" or (node.level and not node.module):
                yield from ((f"{base}.{alias.name}", node.lineno) for alias in node.names)
            elif base is not None and base.split(".")[0] == "treadle":
                yield base, node.lineno


def test_every_part_has_its_place() -> None:
    parts = {
        p.stem if p.is_file() else p.name for p in ROOT.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()
    }
    assert parts <= set(ORDER), f"say where {parts - set(ORDER)} belongs"


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_upwards(path: Path) -> None:
    relative = path.relative_to(ROOT)
    own = relative.parts[0] if len(relative.parts) > 1 else relative.stem
    for module, line in imports(path):
        other = package(module)
        # The namespace itself may be asked for: by `__array_namespace__`, and where NumPy's names are looked up in it.
        if other != own and not (module == "treadle" and own == "ops"):
            assert ORDER.index(other) < ORDER.index(own), f"{relative}:{line} imports {module}, which stands below it"


def test_only_the_compiler_imports_numba() -> None:
    for path in ROOT.rglob("*.py"):
        if "compile" in path.relative_to(ROOT).parts:
            continue
        for node in parsed(path)[1]:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            assert not any(name.split(".")[0] in ("numba", "llvmlite") for name in names), path


def test_importing_treadle_imports_numpy_and_nothing_heavy() -> None:
    heavy = ("numba", "llvmlite", "scipy", "rich", "hypothesis")
    code = f"import sys, treadle; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_are_there_and_known_to_type_checkers() -> None:
    tree = ast.parse((ROOT / "__init__.py").read_text())
    imported = {a.asname or a.name for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) for a in n.names}
    targets = [t for n in tree.body if isinstance(n, ast.Assign) for t in n.targets]
    targets += [n.target for n in tree.body if isinstance(n, ast.AnnAssign)]
    assigned = {t.id for target in targets for t in ast.walk(target) if isinstance(t, ast.Name)}
    for name in treadle.__all__:
        assert hasattr(treadle, name)
        assert name in imported | assigned, name
    assert set(treadle._NAMES) | treadle._NAMESPACES <= set(treadle.__all__) & set(dir(treadle))


def test_files_say_what_they_are_for() -> None:
    for path in ROOT.rglob("*.py"):
        assert parsed(path)[0], f"{path} begins with no docstring"
