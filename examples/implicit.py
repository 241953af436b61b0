"""Implicit differentiation: the gradient of a solver's answer without the gradient of its steps.

The solver finds z with z = tanh(W z + x), by iterating until nothing changes. At the answer the equation itself gives
the derivative (the implicit function theorem): with f(z, W, x) = tanh(W z + x), a cotangent g of z passes to W and x
through the vector u that solves u = g + (df/dz)^T u - the same kind of fixed point. So the backward pass stores the
answer alone, however many steps it took to find, and need not even be told how it was found.

python examples/implicit.py
"""

from __future__ import annotations

import numpy as np

import treadle as td

TOLERANCE = 1e-13


def layer(z, w, x):
    """One application of the map whose fixed point is sought."""
    return td.tanh(w @ z + x)


def iterate(step, start):
    """Apply `step` until the largest change is below the tolerance; gives the fixed point and the number of steps."""
    value, change, count = start, td.asarray(np.float64(np.inf)), 0
    while change > TOLERANCE:
        new = step(value)
        value, change, count = new, td.max(td.abs(new - value)), count + 1
    return value, count


@td.custom_gradient
def fixed_point(w, x):
    """The z with z = layer(z, w, x), and how its gradient passes to w and x."""
    z, _ = iterate(lambda z: layer(z, w, x), td.zeros_like(x))

    def gradient(g):
        _, back_z = td.vjp(lambda z: layer(z, w, x), z)
        u, _ = iterate(lambda u: g + back_z(u)[0], g)
        _, back = td.vjp(lambda w, x: layer(z, w, x), w, x)
        return back(u)

    return z, gradient


def through_the_steps(w, x):
    """The same answer as `fixed_point`, for the usual gradient, which runs back through every step."""
    return iterate(lambda z: layer(z, w, x), td.zeros_like(x))[0]


def make_loss(solve, target):
    """How far the fixed point is from a target, as a compiled function with its gradients."""
    return td.function(td.value_and_grad(lambda w, x: td.sum((solve(w, x) - target) ** 2), argnums=(0, 1)))


def stored(f, *args):
    """Elements that a compiled gradient keeps for each step of its loops."""
    loops = [node for node in f.trace(*args).graph.walk() if node.op == "while"]
    return sum(int(np.prod(s.shape[1:])) for node in loops for s in node.outputs[node.attrs["layout"].carry :])


def main() -> None:
    rng = np.random.default_rng(0)
    size = 30
    w = td.asarray(rng.normal(0, 0.5 / np.sqrt(size), (size, size)))
    x, target = td.asarray(rng.normal(size=size)), td.asarray(np.tanh(rng.normal(size=size)))

    z, steps = td.function(lambda w, x: iterate(lambda z: layer(z, w, x), td.zeros_like(x)))(w, x)
    print(f"fixed point after {steps.item()} steps, residual {td.max(td.abs(z - layer(z, w, x))).item():.1e}")

    implicit, unrolled = make_loss(fixed_point, target), make_loss(through_the_steps, target)
    loss, grads = implicit(w, x)
    _, wanted = unrolled(w, x)
    apart = max(td.max(td.abs(a - b)).item() for a, b in zip(grads, wanted))
    print(f"loss {loss.item():.6f}; gradients by the theorem and through the steps differ by {apart:.1e}")
    print(f"stored for each step: {stored(implicit, w, x)} elements, and {stored(unrolled, w, x)} through the steps")

    rate = 0.02
    for _ in range(200):
        _, (by_w, by_x) = implicit(w, x)
        w, x = w - rate * by_w, x - rate * by_x
    print(f"loss after 200 steps of gradient descent: {implicit(w, x)[0].item():.2e}; traces: {implicit.trace_count}")


if __name__ == "__main__":
    main()
