"""Several reads that belong together see one moment, or a payment could be shown with the disputes of a moment later."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

SERVICES = Path(__file__).parents[2] / "services" / "careforall"


def lent(tree: ast.AST) -> Iterator[tuple[ast.AsyncWith, str]]:
    """Yield the blocks that borrow a connection outside a transaction, and how they call it."""
    for block in ast.walk(tree):
        if isinstance(block, ast.AsyncWith) and len(block.items) == 1:
            item = block.items[0]
            if isinstance(item.optional_vars, ast.Name) and ast.unparse(item.context_expr).endswith("database.connection()"):
                yield block, item.optional_vars.id


def reads(block: ast.AsyncWith, name: str) -> int:
    awaited = [node for node in ast.walk(block) if isinstance(node, ast.Await)]
    return sum(any(isinstance(part, ast.Name) and part.id == name for part in ast.walk(one)) for one in awaited)


def test_a_connection_without_a_transaction_is_lent_for_one_read() -> None:
    seen, torn = 0, []
    for path in sorted(SERVICES.rglob("*.py")):
        for block, name in lent(ast.parse(path.read_text())):
            seen += 1
            if reads(block, name) > 1:
                torn.append(f"{path.relative_to(SERVICES)}:{block.lineno}: use database.snapshot()")
    assert seen > 50
    assert torn == []
