"""The package's source, as data: who imports whom, and how long functions are."""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]


def plain(text: str) -> str:
    """Without addresses and backslashes."""
    return re.sub(r"https?://[^\s)]+", "", text).replace("\\", "")


def without_code(text: str) -> str:
    """Markdown without blocks and spans of code."""
    return re.sub(r"`[^`\n]*`", "", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S))


def modules(package: str = "sam_mlx") -> dict[str, Path]:
    """Files by module name; a package's file is its __init__."""
    files = sorted((ROOT / package).rglob("*.py"))
    names = (f.relative_to(ROOT).with_suffix("").parts for f in files)
    return {".".join(n for n in parts if n != "__init__"): f for parts, f in zip(names, files)}


def imports(name: str, path: Path, known: dict[str, Path]) -> set[str]:
    """The ``known`` modules that a module imports, also in functions and for types."""
    found = set()
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            start = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*start, *([node.module] if node.module else [])])
            base = base if node.level else node.module
            found |= {m for a in node.names if (m := f"{base}.{a.name}") in known} or {base}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known.keys()


def top_level_packages(path: Path) -> set[str]:
    """The top-level packages that a file imports from elsewhere."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
    return found


def private_names(path: Path) -> set[str]:
    """The names with an underscore that a file takes from the package."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    ours: set[str] = set()  # what the file calls the package and its parts
    found: list[str] = []
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "sam_mlx":
            ours |= {alias.asname or alias.name for alias in node.names}
            found += [*node.module.split("."), *(alias.name for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias for alias in node.names if alias.name.split(".")[0] == "sam_mlx"]
            ours |= {alias.asname or "sam_mlx" for alias in names}
            found += [part for alias in names for part in alias.name.split(".")]
    for node in nodes:
        if isinstance(node, ast.Attribute):
            first, *rest = ast.unparse(node).split(".")
            found += rest if first in ours else []
    return {name for name in found if name.startswith("_") and not name.endswith("__")}


def function_lengths(path: Path) -> Iterator[tuple[int, str]]:
    """Lines of code of every function, without docstrings, comments and blank lines."""
    source = path.read_text()
    tree = ast.parse(source)
    code: set[int] = set()
    silent = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in silent:
            code.update(range(token.start[0], token.end[0] + 1))
    functions = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    for node in functions:
        if ast.get_docstring(node) is not None:
            code -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    for node in functions:
        lines = set(range(node.lineno, node.end_lineno + 1))
        yield len(code & lines), f"{path.relative_to(ROOT)}:{node.lineno} {node.name}"
