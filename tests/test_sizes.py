"""The sizes that docs/decisions/0013-size-with-access.md sets."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parent.parent / "packages"
CORE = PACKAGES / "core" / "src" / "longshore"
MODULES = sorted(PACKAGES.glob("*/src/**/*.py"))
NOT_COUNTED = ("backends/local", "storages", "workers", "testing")
LONGEST_MODULE = 400
MOST_CODE = 8000
_EMPTY = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGES)))
def test_no_module_is_longer_than_a_reader_can_hold(module: Path) -> None:
    assert len(module.read_text("utf-8").splitlines()) <= LONGEST_MODULE


def test_the_core_stays_small() -> None:
    counted = [
        path
        for path in CORE.rglob("*.py")
        if not str(path.relative_to(CORE)).startswith(NOT_COUNTED)
    ]

    assert sum(lines_of_code(path.read_text("utf-8")) for path in counted) <= MOST_CODE


def test_only_code_is_counted() -> None:
    assert lines_of_code('"""Text\n\nof two."""\n\n# why\nx = (\n    1,\n)\n') == 3


def lines_of_code(source: str) -> int:
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and ast.get_docstring(node) is not None
        ):
            text = node.body[0]
            documented.update(range(text.lineno, (text.end_lineno or text.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _EMPTY:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - documented)
