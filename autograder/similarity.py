"""Which answers are alike: fingerprints of tokens, so that renamed variables and new comments hide nothing.

A tool for questions, not for verdicts: short exercises have few right answers, and they look alike.
"""

import ast
import io
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from copydetect import CodeFingerprint, compare_files

from autograder.cells import Unparsable, parse

TOKENS = 25  # matches shorter than this mean nothing
LONGEST = 10_000  # characters read of one answer, without comments and texts


@dataclass(frozen=True)
class Pair:
    """Two students and the share of the shorter answer that stands in the other one too."""

    one: str
    other: str
    share: float


class _Bare(ast.NodeTransformer):
    """Take texts out of code: what a string says is no work, and can be as long as one likes."""

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:  # noqa: N802 (ast's own name)
        return ast.Constant("") if isinstance(node.value, str | bytes) else node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:  # noqa: N802
        return None if isinstance(node.value, ast.Constant) else self.generic_visit(node)


def bare(code: str) -> str:
    """Return an answer without comments and texts, cut to what is compared of it."""
    try:
        tree = parse(code)
        for block in ast.walk(tree):
            if isinstance(block, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                block.body.append(ast.Pass())  # a body may be nothing but a text
        code = ast.unparse(_Bare().visit(tree))
    except (Unparsable, RecursionError):
        pass  # compared as it was typed
    return code[:LONGEST]


def similar(answers: Mapping[str, str], given: str, at_least: float) -> list[Pair]:
    """Compare all students' code, each answer `bare`, without what was `given` to all; most similar pairs first."""
    common = list(CodeFingerprint("given.py", TOKENS, TOKENS, fp=io.StringIO(given)).hashes)
    prints = {
        student: CodeFingerprint(f"{student}.py", TOKENS, TOKENS, common, fp=io.StringIO(code))
        for student, code in answers.items()
    }
    pairs = [
        Pair(one, other, round(float(max(compare_files(prints[one], prints[other])[1])), 3))
        for one, other in combinations(sorted(prints), 2)
    ]
    return sorted((pair for pair in pairs if pair.share >= at_least), key=lambda pair: -pair.share)
