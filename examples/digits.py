"""Learn handwritten digits: a two-layer network, trained by a step that treadle traces and compiles.

Run it twice: the second run finds its kernels on disk, compiles none and never imports Numba.

    python examples/digits.py
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from sklearn.datasets import load_digits

import treadle as td

BATCH = 64


def load(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The 1,797 images of 8 x 8 pixels, scaled to [0, 1]; a fifth is held out for the test."""
    digits = load_digits()
    order = np.random.default_rng(seed).permutation(len(digits.target))
    x, y = (digits.data[order] / 16).astype(np.float32), digits.target[order].astype(np.int64)
    held_out = len(x) // 5
    return x[held_out:], y[held_out:], x[:held_out], y[:held_out]


class Trainer:
    """A model, its optimizer, and one step of training."""

    def __init__(self) -> None:
        self.model = td.nn.Sequential([td.nn.Dense(128, activation="relu"), td.nn.Dense(10)])
        self.optimizer = td.optim.Adam(learning_rate=2e-3)
        self.loss = td.losses.SparseCategoricalCrossentropy(from_logits=True)

    # Called with two shapes of batches, so it is traced twice. The kernels of the first trace serve both.
    @td.function
    def train_step(self, x: td.Tensor, y: td.Tensor) -> tuple[td.Tensor, td.Tensor]:
        with td.GradientTape() as tape:
            logits = self.model(x)
            loss = self.loss(y, logits)
        weights = self.model.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, weights), weights))
        accuracy = td.mean(td.astype(td.argmax(logits, axis=-1) == y, td.float32))
        return loss, accuracy

    def test_accuracy(self, x: np.ndarray, y: np.ndarray) -> float:
        return float(td.mean(td.astype(td.argmax(self.model(x), axis=-1) == td.asarray(y), td.float32)))


def train(trainer: Trainer, batches: td.data.Dataset, epochs: int) -> None:
    """Run the epochs under a progress bar, and check what the smaller last batch costs."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[news]}"))
    with Progress(*columns) as progress:
        task = progress.add_task("training", total=epochs * len(batches), news="")
        for epoch in range(epochs):
            for x, y in batches:
                before = td.stats()
                loss, accuracy = trainer.train_step(x, y)
                if epoch == 0 and len(x) < BATCH:
                    check_retrace(before, td.stats())
                progress.update(task, advance=1, news=f"loss {float(loss):.4f}  accuracy {float(accuracy):.3f}")


def check_retrace(before: dict[str, int], after: dict[str, int]) -> None:
    """The smaller batch has a shape of its own: one more trace, and not one kernel more."""
    assert after["traces"] - before["traces"] == 1, (before, after)
    assert after["kernels_compiled"] == before["kernels_compiled"], (before, after)


def numpy_step(x: np.ndarray, y: np.ndarray, seed: int) -> Callable[[], None]:
    """The same step written by hand in plain NumPy: forward, backward, Adam."""
    rng = np.random.default_rng(seed)
    shapes = ((64, 128), (128,), (128, 10), (10,))
    w = [(rng.standard_normal(s) * 0.1).astype(np.float32) for s in shapes]
    m, v = [np.zeros_like(p) for p in w], [np.zeros_like(p) for p in w]
    rows, t = np.arange(len(x)), [0]

    def step() -> None:
        hidden = np.maximum(x @ w[0] + w[1], 0)
        logits = hidden @ w[2] + w[3]
        shifted = logits - logits.max(axis=1, keepdims=True)
        exp = np.exp(shifted)
        total = exp.sum(axis=1, keepdims=True)
        (np.log(total[:, 0]) - shifted[rows, y]).mean()  # the loss
        (logits.argmax(axis=1) == y).mean()  # the accuracy
        g = exp / total
        g[rows, y] -= 1
        g /= np.float32(len(x))
        back = (g @ w[2].T) * (hidden > 0)
        t[0] += 1
        rate, correction = 2e-3 / (1 - 0.9 ** t[0]), (1 - 0.999 ** t[0]) ** -0.5
        for k, grad in enumerate((x.T @ back, back.sum(axis=0), hidden.T @ g, g.sum(axis=0))):
            m[k] += (grad - m[k]) * np.float32(0.1)
            v[k] += (grad * grad - v[k]) * np.float32(0.001)
            w[k] -= np.float32(rate) * m[k] / (np.sqrt(v[k]) * np.float32(correction) + np.float32(1e-7))

    return step


def median_us(step: Callable[[], object], repeats: int) -> float:
    """Median time of a call in microseconds, after one call to warm up; slow calls are repeated less often."""
    step()
    times: list[float] = []
    while len(times) < 5 or (len(times) < repeats and sum(times) < 0.5):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times) * 1e6


def compare(trainer: Trainer, x: np.ndarray, y: np.ndarray, repeats: int, seed: int) -> None:
    """Time one step of a full batch: eager, traced, and by hand in NumPy."""
    batch = td.asarray(x[:BATCH]), td.asarray(y[:BATCH])
    with td.run_eagerly(True):
        eager = median_us(lambda: trainer.train_step(*batch), repeats)
    traced = median_us(lambda: trainer.train_step(*batch), repeats)
    by_hand = median_us(numpy_step(x[:BATCH], y[:BATCH], seed), repeats)
    print(f"\ntime per step of {BATCH} images, median of up to {repeats}:")
    for label, time_us in (("eager", eager), ("NumPy by hand", by_hand), ("traced", traced)):
        print(f"  {label:<14}{time_us:8.0f} us   {time_us / traced:5.1f} x the traced step")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--repeats", type=int, default=200, help="steps timed for each median")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    td.random.seed(args.seed)
    x_train, y_train, x_test, y_test = load(args.seed)
    trainer = Trainer()
    batches = td.data.Dataset.from_tensor_slices((x_train, y_train)).shuffle(len(x_train), args.seed).batch(BATCH)
    start = time.perf_counter()
    train(trainer, batches, args.epochs)
    seconds = time.perf_counter() - start
    accuracy = trainer.test_accuracy(x_test, y_test)
    print(
        f"{args.epochs * len(batches)} steps in {seconds:.2f} s; test accuracy ({len(x_test)} images): {accuracy:.4f}"
    )

    print(f"\n{trainer.train_step.explain()}")
    assert trainer.train_step.trace_count == 2
    stats = td.stats()
    print(
        f"\nkernels: {stats['kernels_compiled']} compiled, {stats['kernels_loaded']} loaded from disk in this process"
    )
    print("the second trace, for the smaller last batch, compiled none")
    print(f"Numba was {'imported' if 'numba' in sys.modules else 'not imported'}")
    compare(trainer, x_train, y_train, args.repeats, args.seed)
    if accuracy < 0.97:
        print(f"the accuracy {accuracy:.4f} is below 0.97")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
