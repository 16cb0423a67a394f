"""Plain English: no docstring, comment, message, test name or page uses the patterns that readers stumble over.

The list grows when a reader stumbles. `PENDING` names what is not rewritten yet, and only shrinks.
"""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

PENDING = frozenset(
    [
        "deployer/scaffold/templates.py",  # quotes the MIT licence
        "examples/bookshelf/bookshelf/tasks.py",  # its bytes are part of a golden digest
    ]
)
"""Files and folders, relative to the root."""

PATTERNS = {
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\btold\b": "name who reports or shows what",
    r"\blest\b": "so that … not",
    r"\banew\b": "again",
    r"\b(who|what|which)(so)?ever\b": "anyone who, any, the one that",
    r"\bof (no )?use\b": "useful, works",
    r"\b(be|is|are|was|were) had\b": "available",
    r"(?<!there )(?<!There )\b(is|are|was|were) no (?!longer\b|more\b|fewer\b|less\b|such\b)": "is not a",
    r"\b(lies?|lying|lay) (in|at|on|under|beside|there|outside|inside|below|above|between|behind|within)\b": "is",
    r"\b(stands?|stood|standing)\b(?! for\b|-)": "is",
    r"\b(None|False|True|nothing|empty|else|and|or|but|except) where\b": "if",
    r"(?:^|[.:;] )Where (?![^.]*\?)": "if",
    r"\b([Rr]aises \w+|also) where\b": "if",
    r"(?:^|\. )(What|Which|Whether|Whose|Who|Word|Words) (?![^.]*\?)": "say what it does or is; the subject first",
    r"\bone (could|can|may|might|would|has|does|wants)\b": "name the actor",
    r"\b(speaks?|spoken|spoke) (for|of)\b": "describes",
    r"\bfor (want|lack) of\b": "because there is no",
    r"\b(thereof|wherein|hereby|thereby|whereby|therein|thereon|hitherto|herein|whence|hence)\b": "so, there",
    r"\b(meets?|met) (an?|the) (engine|registry|base|index)\b": "connects to, checks",
    r"\b(takes?|trusts?|at) (its|their|his) words?\b": "trusts",
}


def prose(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each paragraph, docstring, comment, string and test name of a file."""
    text = path.read_text()
    if path.suffix == ".md":
        text = re.sub(r"^```.*?^```", lambda match: "\n" * match[0].count("\n"), text, flags=re.DOTALL | re.MULTILINE)
        line = 1
        for paragraph in re.split(r"(\n\s*\n)", text):
            yield line, paragraph
            line += paragraph.count("\n")
        return
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string.lstrip("#: ")
        elif token.type == tokenize.STRING:
            yield token.start[0], token.string.lstrip("rbfuRBFU").strip("\"'")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            yield node.lineno, node.name.replace("_", " ")


def complaints(path: Path) -> Iterator[str]:
    """Yield a line for each pattern found in a file."""
    for line, text in prose(path):
        # Code and commands are quoted, and a paragraph is one text however its lines break.
        plain = re.sub(r"\s+", " ", re.sub(r"`[^`]*`", "`x`", text)).strip()
        for pattern, better in PATTERNS.items():
            for match in re.finditer(pattern, plain):
                near = plain[max(0, match.start() - 30) : match.end() + 30]
                yield f"{path.relative_to(ROOT)}:{line}: {match[0].strip()!r} in {near!r}; better: {better}"


def pages(top: str) -> Iterator[Path]:
    found = [ROOT / top] if (ROOT / top).is_file() else [*(ROOT / top).rglob("*.py"), *(ROOT / top).rglob("*.md")]
    for path in found:
        name = str(path.relative_to(ROOT))
        # The tiny apps are users' code, and some are broken on purpose; this file quotes the patterns.
        if "/apps/" in name or path == Path(__file__) or any(part.startswith(".") for part in Path(name).parts):
            continue
        if not any(name == pending or name.startswith(f"{pending}/") for pending in PENDING):
            yield path


@pytest.mark.parametrize(
    "top",
    ["buildpack", "deployer", "tests", "docs", "examples", "benchmarks", "README.md", "CONTRIBUTING.md", "SECURITY.md"],
)
def test_prose_is_plain(top):
    found = [line for path in sorted(pages(top)) for line in complaints(path)]
    assert not found, f"{len(found)} places\n" + "\n".join(found)


def test_the_lint_finds_what_it_looks_for(tmp_path):
    sample = '"""What is told."""\n\n# Lest it be had\nx = f"{y} is no tag"\n\n\ndef test_it_lies_in_a_folder(): ...\n'
    (tmp_path / "sample.py").write_text(sample)
    lines = [line for line, text in prose(tmp_path / "sample.py") if any(re.search(p, text) for p in PATTERNS)]
    assert lines == [1, 3, 4, 7]
