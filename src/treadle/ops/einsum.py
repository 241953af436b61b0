"""`einsum`: a sum of products named by letters, done as a chain of matrix products, transposes and sums."""

from __future__ import annotations

import itertools
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from treadle.core.dim import Size
from treadle.core.tensor import Tensor
from treadle.errors import ArgumentError, ShapeError
from treadle.ops.arithmetic import multiply
from treadle.ops.arranging import diagonal
from treadle.ops.convert import operands
from treadle.ops.linalg import matmul
from treadle.ops.reductions import sum as sum_
from treadle.ops.shaping import product, reshape, squeeze, transpose

Term = tuple[Tensor, str]  # a tensor and one letter an axis


def _parse(formula: str, shapes: Sequence[tuple[Size, ...]]) -> tuple[list[str], str]:
    """One letter an axis of each operand and of the result; `...` becomes letters that are not in use."""
    text = formula.replace(" ", "")
    left, arrow, right = text.partition("->")
    terms = left.split(",")
    if len(terms) != len(shapes):
        raise ShapeError(f"einsum: {formula!r} names {len(terms)} operands, {len(shapes)} were given")
    free = [letter for letter in string.ascii_letters if letter not in text]
    counts = [len(shape) - len(term.replace("...", "")) for term, shape in zip(terms, shapes, strict=True)]
    spread = max((count for count, term in zip(counts, terms, strict=True) if "..." in term), default=0)
    dots = "".join(free[:spread])
    found = []
    for term, shape, count in zip(terms, shapes, counts, strict=True):
        letters = term.replace("...", dots[spread - count :], 1) if "..." in term and count >= 0 else term
        if len(letters) != len(shape) or not (letters.isalpha() or not letters):
            raise ShapeError(f"einsum: {term!r} in {formula!r} does not fit shape {tuple(shape)}")
        found.append(letters)
    if not arrow:
        names = sorted(c for c in set(left) if c.isalpha() and sum(term.count(c) for term in terms) == 1)
        return found, dots + "".join(names)
    result = right.replace("...", dots, 1)
    if len(set(result)) != len(result) or not set(result) <= set("".join(found)):
        raise ShapeError(f"einsum: the result {right!r} of {formula!r} must name letters of the operands, each once")
    return found, result


def _sizes(terms: Sequence[Term], formula: str) -> dict[str, Size]:
    sizes: dict[str, Size] = {}
    for x, letters in terms:
        for letter, size in zip(letters, x.shape, strict=True):
            known = sizes.get(letter, 1)
            if isinstance(known, int) and isinstance(size, int) and known != size and 1 not in (known, size):
                raise ShapeError(f"einsum: {letter!r} in {formula!r} has sizes {known} and {size}")
            if isinstance(known, int) and (known == 1 or isinstance(size, int)):
                sizes[letter] = size if known == 1 else known
    return sizes


def _once(x: Tensor, letters: str) -> Term:
    """A letter that names two axes of one operand takes their diagonal."""
    for letter in letters:
        while letters.count(letter) > 1:
            first = letters.index(letter)
            second = letters.index(letter, first + 1)
            x = diagonal(x, axis1=first, axis2=second)
            letters = letters[:first] + letters[first + 1 : second] + letters[second + 1 :] + letter
    return x, letters


def _without(term: Term, keep: set[str], sizes: dict[str, Size]) -> Term:
    """The operand summed over letters that nothing else names, and without axes of size 1 that broadcast."""
    x, letters = term
    thin = [k for k, c in enumerate(letters) if _is_one(x.shape[k]) and not _is_one(sizes[c])]
    if thin:
        x, letters = squeeze(x, thin), "".join(c for k, c in enumerate(letters) if k not in thin)
    gone = tuple(k for k, c in enumerate(letters) if c not in keep)
    if gone:
        x, letters = sum_(x, axis=gone, dtype=x.dtype), "".join(c for c in letters if c in keep)
    return x, letters


def _is_one(size: Size) -> bool:
    return isinstance(size, int) and size == 1


def _ordered(term: Term, order: str) -> Tensor:
    x, letters = term
    return transpose(x, [letters.index(c) for c in order])


def _pair(a: Term, b: Term, keep: set[str], sizes: dict[str, Size]) -> Term:
    """Two operands as one: a matrix product over the letters that end here, else a product of elements."""
    both = set(a[1]) & set(b[1])
    inner = "".join(c for c in a[1] if c in both and c not in keep)
    batch = "".join(c for c in a[1] if c in both and c in keep)
    rows = "".join(c for c in a[1] if c not in both)
    columns = "".join(c for c in b[1] if c not in both)
    result = batch + rows + columns

    def size(letters: str) -> Size:
        return product([sizes[c] for c in letters])

    shape = tuple([sizes[c] for c in result])
    front = tuple([sizes[c] for c in batch])
    if not inner:
        left = reshape(_ordered(a, batch + rows), (*front, *[sizes[c] for c in rows], *[1] * len(columns)))
        right = reshape(_ordered(b, batch + columns), (*front, *[1] * len(rows), *[sizes[c] for c in columns]))
        return multiply(left, right), result
    left = reshape(_ordered(a, batch + rows + inner), (*front, size(rows), size(inner)))
    right = reshape(_ordered(b, batch + inner + columns), (*front, size(inner), size(columns)))
    return reshape(matmul(left, right), shape), result


def _path(terms: Sequence[Term], result: str, sizes: dict[str, Size]) -> list[tuple[int, int]]:
    """Which two operands to join next: NumPy's greedy order where sizes are known, else from left to right."""
    count = len(terms)
    if count > 2 and all(isinstance(size, int) for size in sizes.values()):
        formula = ",".join(letters for _, letters in terms) + "->" + result
        shapes = [np.empty([sizes[c] for c in letters], np.bool_) for _, letters in terms]
        steps = np.einsum_path(formula, *shapes, optimize="greedy")[0][1:]
        found: list[tuple[int, int]] = []
        for step in steps:
            if len(step) != 2:
                return [(0, 1)] * (count - 1)
            found.append((step[0], step[1]))
        return found
    return [(0, 1)] * (count - 1)


def einsum(subscripts: str, /, *xs: Any) -> Tensor:
    """The sum of products that the subscripts name, as NumPy's `einsum`: `"ij,jk->ik"` is the matrix product.

    Letters name axes; one that the result does not name is summed over. `...` stands for axes that broadcast, a
    letter twice in one operand for its diagonal. Raises ShapeError where sizes or letters do not fit.

    >>> import treadle as td
    >>> td.einsum("ij,j->i", td.asarray([[1, 2], [3, 4]]), td.asarray([1, 1])).tolist()
    [3, 7]
    """
    if not xs:
        raise ShapeError("einsum: needs one operand or more")
    if not isinstance(subscripts, str):
        raise ArgumentError(f'einsum: the subscripts must be text such as "ij,jk->ik", got {subscripts!r}')
    tensors = operands(xs, "numeric", "einsum")
    names, result = _parse(subscripts, [x.shape for x in tensors])
    terms = list(itertools.starmap(_once, zip(tensors, names, strict=True)))
    sizes = _sizes(terms, subscripts)
    terms = [
        _without(term, set(result).union(*[letters for j, (_, letters) in enumerate(terms) if j != k]), sizes)
        for k, term in enumerate(terms)
    ]
    for i, j in _path(terms, result, sizes):
        first, second = terms[min(i, j)], terms[max(i, j)]
        rest = [term for k, term in enumerate(terms) if k not in (i, j)]
        keep = set(result).union(*[letters for _, letters in rest])
        terms = [
            *rest,
            _pair(
                _without(first, keep | set(second[1]), sizes),
                _without(second, keep | set(first[1]), sizes),
                keep,
                sizes,
            ),
        ]
    return _ordered(_without(terms[0], set(result), sizes), result)


__all__ = ["einsum"]
