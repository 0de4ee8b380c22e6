"""The arrows of the design: who may import whom, read from the source itself."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OURS = ("clipgres", "worker", "webapp", "migrations", "demo", "bench")
HEAVY = {"torch", "transformers"}
MAY_IMPORT_TORCH = ("clipgres.encoder.", "demo.", "bench.")


def modules(package: str) -> Iterator[tuple[str, ast.Module]]:
    """Every module of a package, by dotted name, with its syntax tree."""
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        name = ".".join(part for part in parts if part != "__init__")
        yield name, ast.parse(path.read_text(encoding="utf-8"), str(path))


def imports(tree: ast.Module) -> set[str]:
    """Every module name that is imported anywhere in a tree, inside functions too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def top(names: set[str]) -> set[str]:
    """The first part of each dotted name."""
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("worker", {"webapp", "flask", "flask_wtf", "demo"}),
        ("webapp", {"worker", "celery", "torch", "transformers", "demo"}),
        ("migrations", {"worker", "webapp", "celery", "flask", "demo"}),
        ("demo", {"worker", "webapp"}),
    ],
)
def test_a_package_stays_on_its_side(package: str, forbidden: set[str]) -> None:
    crossing = {name: top(imports(tree)) & forbidden for name, tree in modules(package)}
    assert {name: found for name, found in crossing.items() if found} == {}


def test_the_shared_package_imports_neither_side() -> None:
    crossing = {
        name: top(imports(tree)) & {"worker", "webapp", "flask", "demo"}
        for name, tree in modules("clipgres")
        if not name.startswith(("clipgres.cli", "clipgres.servers"))
    }
    assert {name: found for name, found in crossing.items() if found} == {}


@pytest.mark.parametrize("leaf", ["clipgres.errors", "clipgres.reasons", "clipgres.schema"])
def test_leaves_import_only_leaves(leaf: str) -> None:
    trees = [tree for name, tree in modules("clipgres") if name == leaf or name.startswith(f"{leaf}.")]
    ours = {name for tree in trees for name in imports(tree) if name.startswith("clipgres.")}
    assert trees
    assert {name for name in ours if not name.startswith(("clipgres.errors", "clipgres.reasons", leaf))} == set()


def test_only_the_encoder_imports_torch() -> None:
    importers = {
        name
        for package in OURS
        for name, tree in modules(package)
        if top(imports(tree)) & HEAVY and not name.startswith(MAY_IMPORT_TORCH)
    }
    assert importers == set()


@pytest.mark.parametrize("module", ["clipgres", "clipgres.cli", "webapp", "worker.tasks", "clipgres.client"])
def test_importing_it_does_not_load_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_the_page_loads_no_celery() -> None:
    code = "import sys, webapp; sys.exit('celery' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0


def test_the_worker_runs_without_flask() -> None:
    code = "import sys; sys.modules['flask'] = None; sys.modules['webapp'] = None; import worker.app, worker.tasks"
    done = subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
