"""What the house asks of itself: sentences in tests, reasons for silenced checks, contracts between rooms."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parent.parent
TESTS = sorted((PROJECT / "tests").glob("test_*.py"))
ROOMS = ("banzuke", "storage", "tasks", "flows", "deployments")
SOURCES = sorted(path for room in ROOMS for path in (PROJECT / room).rglob("*.py"))


def functions(path: Path) -> list[ast.FunctionDef]:
    """Every test function of a file."""
    tree = ast.parse(path.read_text())
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_every_test_says_what_is_expected(path: Path) -> None:
    """Each test function begins with a sentence."""
    silent = [function.name for function in functions(path) if not (ast.get_docstring(function) or "").endswith(".")]

    assert [] == silent


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_no_test_sleeps_or_passes_whatever_happens(path: Path) -> None:
    """Tests wait for events; a test without any assertion cannot fail."""
    text = path.read_text()
    empty = [function.name for function in functions(path) if not _asserts(function, text)]

    assert [] == [ast.unparse(call) for call in ast.walk(ast.parse(text)) if _is_sleep(call)]
    assert [] == empty


def _is_sleep(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}


def _asserts(function: ast.FunctionDef, text: str) -> bool:
    source = ast.get_source_segment(text, function) or ""
    return any(word in source for word in ("assert", "raises(", "check_", "expect"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PROJECT)))
def test_every_silenced_check_has_its_reason(path: Path) -> None:
    """A noqa or type: ignore names the rule and says why."""
    lines = path.read_text().splitlines()
    bare = [line.strip() for line in lines if re.search(r"# (noqa|type: ignore)(?!.* - \w+)", line)]

    assert [] == bare


def test_no_flow_file_carries_the_name_of_a_package() -> None:
    """Prefect puts the folder of a flow file first on sys.path; a namesake there would hide the package."""
    installed = sys.stdlib_module_names | {"banzuke", "storage", "tasks", "flows", "deployments", "prefect", "torch"}

    assert set() == {path.stem for path in (PROJECT / "flows").glob("*.py")} & installed


def test_the_rooms_import_only_what_they_may() -> None:
    """import-linter holds the directions of the design."""
    done = subprocess.run(
        [str(Path(sys.executable).parent / "lint-imports")], cwd=PROJECT, capture_output=True, text=True, check=False
    )

    assert 0 == done.returncode, done.stdout


def test_every_dependency_has_its_reason() -> None:
    """docs/dependencies.md names every package that pyproject.toml asks for."""
    text = (PROJECT / "pyproject.toml").read_text()
    section = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    names = set(re.findall(r'^    "([a-z-]+)', section, re.MULTILINE))
    reasons = (PROJECT / "docs" / "dependencies.md").read_text()

    assert set() == {name for name in names if name.removesuffix("-stubs").removeprefix("types-") not in reasons}


def test_every_dependency_is_pinned() -> None:
    """constraints.txt has one exact version for each package, and nothing that names a machine."""
    lines = (PROJECT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]

    assert [] == [pin for pin in pins if not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.]+", pin)]


def test_every_key_of_the_spec_is_documented() -> None:
    """docs/spec.md names every field of every section and of every kind of agent."""
    from banzuke import specs  # noqa: PLC0415 - the models are all that is needed of it

    text = (PROJECT / "docs" / "spec.md").read_text()
    models = [*specs._SECTIONS.values(), *specs._KINDS.values(), specs.SearchLimit, specs._Top]
    keys = {name for model in models for name in model.model_fields} - {"directory"}

    assert set() == {key for key in keys if not re.search(rf"\b{key}\b", text)}
