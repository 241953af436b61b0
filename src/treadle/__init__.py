"""treadle: a tracing JIT that turns eager Python functions into graphs, on NumPy and Numba."""
# ruff: noqa: F401  (the public names)

import importlib
from typing import TYPE_CHECKING, Any

from treadle import errors, nest
from treadle.config import config
from treadle.core.dim import Dim
from treadle.core.dtypes import (
    bool_,
    complex64,
    complex128,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    set_default_dtype,
    string,
    uint8,
    uint16,
    uint32,
    uint64,
)
from treadle.core.spec import TensorSpec
from treadle.core.tensor import Tensor
from treadle.core.variable import Variable
from treadle.errors import GradientWarning, RetraceWarning, TracingWarning, TreadleError
from treadle.function.decorator import function
from treadle.function.settings import no_retrace, run_eagerly, stats
from treadle.ops import methods as _methods  # installs the operators of tensors
from treadle.ops.arranging import (
    diag,
    diagonal,
    diff,
    meshgrid,
    pad,
    repeat,
    roll,
    shape,
    split,
    tile,
    tril,
    triu,
    unstack,
)
from treadle.ops.closeness import allclose, array_equal, isclose
from treadle.ops.creation import (
    arange,
    asarray,
    device,
    empty,
    empty_like,
    eye,
    from_dlpack,
    full,
    full_like,
    linspace,
    ones,
    ones_like,
    tensor,
    zeros,
    zeros_like,
)
from treadle.ops.cumulative import cumprod, cumsum, cumulative_prod, cumulative_sum
from treadle.ops.dtype_queries import __array_namespace_info__, can_cast, finfo, iinfo, is_traced, isdtype, result_type
from treadle.ops.dynamic import dynamic_slice, dynamic_update_slice
from treadle.ops.effects import print, py_function
from treadle.ops.einsum import einsum
from treadle.ops.elementwise import (
    abs,
    acos,
    acosh,
    add,
    asin,
    asinh,
    astype,
    atan,
    atan2,
    atanh,
    bitwise_and,
    bitwise_invert,
    bitwise_left_shift,
    bitwise_or,
    bitwise_right_shift,
    bitwise_xor,
    cast,
    ceil,
    clip,
    conj,
    copysign,
    cos,
    cosh,
    divide,
    equal,
    erf,
    erfc,
    exp,
    exp2,
    expm1,
    floor,
    floor_divide,
    greater,
    greater_equal,
    hypot,
    imag,
    isfinite,
    isinf,
    isnan,
    less,
    less_equal,
    log,
    log1p,
    log2,
    log10,
    logaddexp,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    nextafter,
    not_equal,
    positive,
    pow,
    real,
    reciprocal,
    remainder,
    round,
    rsqrt,
    sigmoid,
    sign,
    signbit,
    sin,
    sinh,
    sqrt,
    square,
    stop_gradient,
    subtract,
    tan,
    tanh,
    trunc,
    where,
)
from treadle.ops.linalg import dot, matmul, outer, tensordot, trace, vecdot
from treadle.ops.reductions import (
    all,
    any,
    argmax,
    argmin,
    count_nonzero,
    logsumexp,
    max,
    mean,
    min,
    prod,
    std,
    sum,
    var,
)
from treadle.ops.searching import (
    argsort,
    argwhere,
    isin,
    nonzero,
    one_hot,
    searchsorted,
    sort,
    take,
    take_along_axis,
    unique,
    unique_all,
    unique_counts,
    unique_inverse,
    unique_values,
)
from treadle.ops.shaping import (
    broadcast_arrays,
    broadcast_to,
    concat,
    expand_dims,
    flatten,
    flip,
    matrix_transpose,
    moveaxis,
    permute_dims,
    reshape,
    squeeze,
    stack,
    swapaxes,
    transpose,
)

bool = bool_  # the dtype, as `td.bool`
newaxis = None
pi, e, inf, nan = 3.141592653589793, 2.718281828459045, float("inf"), float("nan")

__version__ = "0.1.0"
__array_api_version__ = "2024.12"

# Names from other libraries, and what to say here.
_ELSEWHERE = {
    "reduce_sum": "sum",
    "reduce_mean": "mean",
    "reduce_max": "max",
    "reduce_min": "min",
    "reduce_prod": "prod",
    "reduce_any": "any",
    "reduce_all": "all",
    "reduce_logsumexp": "logsumexp",
    "constant": "asarray",
    "array": "asarray",
    "convert_to_tensor": "asarray",
    "from_numpy": "asarray",
    "as_tensor": "asarray",
    "placeholder": "Graph().placeholder",
    "mm": "matmul",
    "bmm": "matmul",
    "dot": "matmul",
    "clamp": "clip",
    "clip_by_value": "clip",
    "cat": "concat",
    "concatenate": "concat",
    "unsqueeze": "expand_dims",
    "permute": "permute_dims",
    "mul": "multiply",
    "sub": "subtract",
    "div": "divide",
    "truediv": "divide",
    "neg": "negative",
    "power": "pow",
    "absolute": "abs",
    "mod": "remainder",
    "arcsin": "asin",
    "arccos": "acos",
    "arctan": "atan",
    "arctan2": "atan2",
    "arcsinh": "asinh",
    "arccosh": "acosh",
    "arctanh": "atanh",
    "is_nan": "isnan",
    "range_like": "arange",
    "randn": "random.normal",
    "rand": "random.uniform",
    "gather": "take",
    "gather_nd": "take",
    "identity": "eye",
    "no_grad": "stop_gradient",
    "amax": "max",
    "amin": "min",
    "invert": "bitwise_invert",
    "Session": "function",
    "jit": "function",
    "float": "float32",
    "double": "float64",
    "int": "int32",
    "long": "int64",
}


if TYPE_CHECKING:
    from treadle import autograph, data, linalg, losses, metrics, nn, optim, random, strings, testing
    from treadle.autodiff.forward import ForwardAccumulator
    from treadle.autodiff.functional import grad, hessian, jacobian, jvp, value_and_grad, vjp
    from treadle.autodiff.gradient_tape import GradientTape
    from treadle.control.custom import custom_gradient, gradient_hook
    from treadle.control.functional import cond, scan, while_loop
    from treadle.control.staging import Range as range
    from treadle.function.function import Function
    from treadle.function.graph_builder import Graph
    from treadle.function.report import RetraceReport
    from treadle.function.trace import Trace
    from treadle.nn.module import Module

# Imported when first used, so that `import treadle` stays as light as NumPy: namespaces, and names with their modules.
_NAMESPACES = frozenset(
    {"autograph", "data", "linalg", "losses", "metrics", "nn", "optim", "random", "strings", "testing"}
)
_NAMES = {
    **dict.fromkeys(("grad", "hessian", "jacobian", "jvp", "value_and_grad", "vjp"), "autodiff.functional"),
    "ForwardAccumulator": "autodiff.forward",
    "GradientTape": "autodiff.gradient_tape",
    **dict.fromkeys(("custom_gradient", "gradient_hook"), "control.custom"),
    **dict.fromkeys(("cond", "scan", "while_loop"), "control.functional"),
    "range": "control.staging",
    "Function": "function.function",
    "Graph": "function.graph_builder",
    "RetraceReport": "function.report",
    "Trace": "function.trace",
    "Module": "nn.module",
}


def __dir__() -> list[str]:
    return sorted({*globals(), *_NAMESPACES, *_NAMES})


def __getattr__(name: str) -> Any:
    """What is imported on first use; for names that treadle does not have, which to use where that is known."""
    if name in _NAMESPACES:
        return importlib.import_module(f"treadle.{name}")
    if name in _NAMES:
        module = importlib.import_module(f"treadle.{_NAMES[name]}")
        found = globals()[name] = getattr(module, "Range" if name == "range" else name)
        return found
    instead = _ELSEWHERE.get(name)
    hint = f"; use td.{instead}" if instead else ""
    raise AttributeError(f"module 'treadle' has no attribute {name!r}{hint}")
