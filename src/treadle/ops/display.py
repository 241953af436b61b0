"""How tensors look: repr, str, format, HTML."""

from __future__ import annotations

from typing import Any

import numpy as np

from treadle.core.dtypes import dtype_name
from treadle.core.tensor import Symbol, Tensor
from treadle.core.text import mark

_LINE = 72  # values that fit are shown on one line, whatever the number of axes


def values_text(array: np.ndarray[Any, Any], prefix: str = "") -> str:
    """The values with commas; on one line where they fit."""
    text = np.array2string(array, separator=", ", prefix=prefix)
    joined = " ".join(line.strip() for line in text.splitlines())
    return joined if len(joined) <= _LINE else text


def tensor_repr(x: Tensor) -> str:
    """`Tensor([1., 2.], shape=(2,), dtype=float32)`."""
    return f"Tensor({values_text(x.array, 'Tensor(')}, shape={x.shape}, dtype={dtype_name(x.dtype)})"


def tensor_str(x: Tensor) -> str:
    """The values as NumPy shows them; a 0-d string as it is."""
    return (mark(x) or repr(x)) if isinstance(x, Symbol) else str(x.array)


def tensor_format(x: Tensor, spec: str) -> str:
    """One element as Python formats its number; of more, each element so."""
    if isinstance(x, Symbol):
        return mark(x, spec) or repr(x)
    if not spec:
        return tensor_str(x)
    if x.array.size == 1:
        return format(x.array.item(), spec)
    return np.array2string(x.array, separator=" ", formatter={"all": lambda v: format(v, spec)})


def tensor_html(x: Tensor) -> str:
    """For notebooks: a matrix (or a vector) of moderate size as a table, anything else as text."""
    import html

    if isinstance(x, Symbol):
        return f"<pre>{html.escape(repr(x))}</pre>"
    head = f"<code>Tensor shape={x.shape}, dtype={dtype_name(x.dtype)}</code>"
    rows, columns = (x.array.shape if x.ndim == 2 else (1, x.array.size)) if x.ndim in (1, 2) else (0, 0)
    if not 0 < rows * columns <= 400:
        return f"{head}<pre>{html.escape(str(x.array))}</pre>"
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row) + "</tr>"
        for row in x.array.reshape(rows, columns)
    )
    return f"{head}<table>{body}</table>"
