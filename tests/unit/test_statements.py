"""What is found in sources without a look at expressions; see `tests/statements.py`."""

from __future__ import annotations

import ast

from tests.statements import statements

EVERY_BLOCK = """
import a0
def function():
    import a1
    async def inner():
        async with x: import a2
        async for y in x: import a3
        else: import a4
class Kind:
    import a5
    if x: import a6
    elif y: import a7
    else: import a8
for y in x: import a9
else: import a10
while x: import a11
else: import a12
try: import a13
except E: import a14
else: import a15
finally: import a16
try: pass
except* E: import a17
with x: import a18
match x:
    case 1: import a19
f = lambda: (x if y else x)
"""


def test_imports_in_every_kind_of_block_are_found() -> None:
    found = [
        name.name for one in statements(ast.parse(EVERY_BLOCK)) if isinstance(one, ast.Import) for name in one.names
    ]
    assert sorted(found, key=lambda name: int(name[1:])) == [f"a{number}" for number in range(20)]


def test_expressions_are_not_looked_at() -> None:
    assert not any(isinstance(one, ast.expr) for one in statements(ast.parse(EVERY_BLOCK)))
