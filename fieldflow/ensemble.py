"""What do real networks do? An ensemble of finite networks, drawn, trained and coarse-grained member by member."""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fieldflow import inputs
from fieldflow.errors import BadInput
from fieldflow.flow import METHODS, checked_steps
from fieldflow.inputs import Array
from fieldflow.member import Member, drawn
from fieldflow.member_statistics import Statistics, collect, digest
from fieldflow.network import MLP
from fieldflow.numeric import rng
from fieldflow.numeric import training as dual
from fieldflow.numeric.coarsegrain import fisher_diagonal
from fieldflow.numeric.ensemble import (
    BlockSample,
    Shell,
    Training,
    empty_sample,
    moments_block,
    outputs_block,
    simulate_block,
)
from fieldflow.shell import checked_mode
from fieldflow.shell_kernel import FisherLaw, fisher_law, gaussian_fisher
from fieldflow.workers import BLOCK, checked_threads, in_blocks

R = TypeVar("R")


@dataclass(frozen=True)
class Trained:
    """Training set and rule of an ensemble; ``y`` is (n, d_out)."""

    x: Array
    y: Array
    learning_rate: float
    steps: float
    method: str

    def compiled(self) -> Training:
        """Return the training as the compiled code takes it (η or γ in front of K, time in steps)."""
        n, d_out = self.y.shape
        rate = 2.0 * self.learning_rate / (d_out if self.method == "sgd" else n * d_out)
        return Training(np.ascontiguousarray(self.x.T), self.y, rate, dual.METHODS[self.method], float(self.steps))


@dataclass(frozen=True)
class CoarseGrained:
    """Cut-offs (increasing), Fisher law and what happens to sloppy weights."""

    cutoffs: Array
    law: FisherLaw
    mode: str
    scalar: bool = False

    def compiled(self, d_in: int) -> Shell:
        """Return the shell as the compiled code takes it."""
        seen = np.empty((d_in, 0)) if self.law.points is None else np.ascontiguousarray(self.law.points.T)
        return Shell(self.cutoffs, seen, self.law.noise_variance, self.mode == "resample")


@dataclass(frozen=True)
class Ensemble:
    """Finite networks with independent weights; immutable, each step returns a new ensemble.

    Member m is a pure function of (seed, m): more members or threads change no earlier result, to the bit.  More cut-offs
    change no random number, but they cut the sum over neurons differently (last bits).

    Parameters
    ----------
    net : MLP
        With finite ``widths``.
    members : int
    seed : int
        0 <= seed < 2**64.

    Raises
    ------
    BadInput

    >>> net = MLP(2, widths=(50,), activation="relu")
    >>> ens = Ensemble(net, members=3, seed=1)
    >>> ens.sample([[1.0, 0.0], [0.0, 1.0]]).shape
    (3, 2)
    """

    net: MLP
    members: int
    seed: int = 0
    trained: Trained | None = None
    shell: CoarseGrained | None = None
    threads: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.net, MLP):
            raise BadInput(f"net: expected a fieldflow.MLP, got {type(self.net).__name__}")
        if self.net.finite_widths is None:
            raise BadInput("net: expected finite widths")
        inputs.integer("members", self.members, minimum=1)
        inputs.integer("seed", self.seed, maximum=2**64 - 1)
        checked_threads(self.threads)

    def train(self, x: Any, y: Any, *, learning_rate: float, steps: Any, method: str = "gd") -> "Ensemble":
        """Return the ensemble after training the read-out (and its bias) on (x, y).

        Parameters
        ----------
        x : array_like (n, d_in)
        y : array_like (n,) or (n, d_out)
        learning_rate : float
            NTK parameterisation; for raw weights with step lr, learning_rate = lr / (prior variance of a weight).
        steps : int (float for gradient flow)
        method : {"gd", "sgd", "gradient_flow"}
        """
        if self.trained is not None:
            raise BadInput("train: this ensemble is trained already")
        x = inputs.points("x", x, self.net.d_in)
        y = inputs.targets("y", y, len(x), self.net.d_out)
        method = inputs.choice("method", method, METHODS)
        duration = checked_steps(steps, method)
        if math.isinf(duration):
            raise BadInput("steps: samples are trained for finitely many steps; math.inf is for TrainingFlow")
        rate = inputs.real("learning_rate", learning_rate, minimum=0.0, strict=True)
        return replace(self, trained=Trained(x, y.reshape(len(x), -1), rate, duration, method))

    def coarse_grain(
        self,
        cutoff: Any,
        *,
        fisher: Any,
        noise_variance: float = 1.0,
        mode: str = "resample",
        input_mean: Any = 0.0,
        input_std: Any = 1.0,
    ) -> "Ensemble":
        """Return the ensemble with its sloppy read-out weights (λ < Λ) redrawn or removed.

        An array of cut-offs gives ``sample`` a leading axis; the redraw of a member is shared by all of them.  ``fisher``
        is an array (n, d_in) of inputs or "gaussian" (one hidden layer).
        """
        grid, scalar = inputs.cutoffs(cutoff)
        mode = checked_mode(mode)
        law = fisher_law(self.net, fisher, input_mean, input_std, noise_variance)
        return replace(self, shell=CoarseGrained(grid, law, mode, scalar))

    def sample(self, x: Any) -> Array:
        """Return f(x) of every member, shape ([cutoffs,] members, n[, d_out])."""
        parts = self.simulate(inputs.points("x", x, self.net.d_in), lambda block: block.outputs)
        outputs = np.concatenate(parts)
        if self.net.d_out == 1:
            outputs = outputs[..., 0]
        if self.shell is None or self.shell.scalar:
            return np.ascontiguousarray(outputs[:, 0])
        return np.ascontiguousarray(np.moveaxis(outputs, 1, 0))

    def statistics(self, x: Any, *, first: Any = 0, count: Any = None, progress: bool = True) -> Statistics:
        """Return how f(x) is distributed over the members: means, covariances, moments, quantiles, in constant memory.

        Members whose training diverged are left out and counted.

        Parameters
        ----------
        x : array_like (n, d_in)
        first, count : int
            Members first … first + count - 1, all by default; ``first`` is a multiple of 64.  Statistics of several ranges of one
            ensemble ``merge``.
        progress : bool
            Draw a bar on a terminal when it takes more than two seconds.

        Raises
        ------
        BadInput

        >>> ens = Ensemble(MLP(1, widths=(20,), activation="relu"), members=256, seed=1)
        >>> parts = [ens.statistics([[1.0]], first=start, count=128) for start in (0, 128)]
        >>> bool(parts[0].merge(parts[1]).quantile(0.5) == ens.statistics([[1.0]]).quantile(0.5))
        True
        """
        points = inputs.points("x", x, self.net.d_in)
        start = inputs.integer("first", first, maximum=self.members - 1)
        if start % BLOCK:
            raise BadInput(f"first: expected a multiple of {BLOCK}, got {start}")
        left = self.members - start
        number = left if count is None else inputs.integer("count", count, minimum=1, maximum=left)
        shell, cutoffs = self.shell, 1 if self.shell is None else len(self.shell.cutoffs)
        return collect(
            self.block_work(points, lambda block: (block.outputs, block.diverged)),
            start,
            number,
            layout=(cutoffs, len(points), self.net.d_out),
            scalar=shell is None or shell.scalar,
            identity=digest([*self._described(), points]),
            threads=checked_threads(self.threads),
            progress=inputs.flag("progress", progress),
        )

    def _described(self) -> list[Any]:
        """Return everything on which the numbers depend, but not how many members there are."""
        described: list[Any] = [self.net, self.seed, rng.RNG_VERSION]
        if self.trained is not None:
            rule = self.trained
            described += [rule.x, rule.y, rule.learning_rate, rule.steps, rule.method]
        if self.shell is not None:
            law = self.shell.law
            described += [
                self.shell.cutoffs,
                self.shell.mode,
                law.points,
                law.input_mean,
                law.input_std,
                law.noise_variance,
            ]
        return described

    def diverged(self) -> NDArray[np.bool_]:
        """Return per member whether training from zero initialisation grew the residual a thousandfold."""
        origin = np.zeros((1, self.net.d_in))
        return np.concatenate(self.simulate(origin, lambda block: block.diverged))

    def fisher_diagonal(self, x: Any, *, noise_variance: float = 1.0) -> Array:
        """Return λ_i = E_x[h_i²]/noise_variance of the raw read-out weights, (members, width[+1 for a read-out bias]).

        ``x`` (n, d_in) are the inputs of the average.
        """
        x = inputs.points("x", x, self.net.d_in)
        noise = inputs.real("noise_variance", noise_variance, minimum=0.0, strict=True)
        columns = np.ascontiguousarray(x.T)
        net, activations = self.net.architecture(), self.net.compiled_activations()
        seed = np.uint64(self.seed)

        def work(first: int, count: int, _: NDArray[np.uint8]) -> Array:
            hidden = outputs_block(net, activations, seed, first, count, rng.HIDDEN, columns)
            return np.array([fisher_diagonal(member, noise) for member in hidden])

        values = np.concatenate(in_blocks(work, self.members, threads=checked_threads(self.threads)))
        if self.net.sigma_b[-1] == 0.0:
            return values
        return np.column_stack([values, np.full(self.members, 1.0 / noise)])

    def member(self, index: int) -> Member:
        """Return one network with all its raw parameters, its read-out trained if the ensemble is."""
        index = inputs.integer("index", index, maximum=self.members - 1)
        if self.shell is not None:
            raise BadInput("member: a coarse-grained ensemble has one network per cut-off; ask before coarse_grain")
        return drawn(self.net, self.seed, index, self.trained.compiled() if self.trained else None)

    def simulate(
        self, x: Array, reduce: Callable[[BlockSample], R], progress: Callable[[int], None] | None = None
    ) -> list[R]:
        """Run every block at the points x (n, d_in) and return ``reduce`` of each, in order of members."""
        work = self.block_work(x, reduce)
        return in_blocks(work, self.members, threads=checked_threads(self.threads), progress=progress)

    def block_work(self, x: Array, reduce: Callable[[BlockSample], R]) -> Callable[[int, int, NDArray[np.uint8]], R]:
        """Return the function of (first member, count, stop) that runs one block at the points x (n, d_in)."""
        net, activations = self.net.architecture(), self.net.compiled_activations()
        shell = self.shell or CoarseGrained(np.zeros(1), _no_law(self.net.d_in), "prune")
        compiled_shell = shell.compiled(self.net.d_in)
        training = self.compiled_training()
        columns = np.ascontiguousarray(x.T)
        seed = np.uint64(self.seed)

        def work(first: int, count: int, stop: NDArray[np.uint8]) -> R:
            given = np.empty((0, 0))
            if shell.law.points is None:
                given = self.gaussian_law(shell.law, first, count)
            out = empty_sample(count, len(shell.cutoffs), len(x), training.x.shape[1], self.net.d_out)
            simulate_block(net, activations, seed, first, columns, training, compiled_shell, given, out, stop)
            return reduce(out)

        return work

    def compiled_training(self) -> Training:
        """Return the training as the compiled code takes it; none leaves the read-out as drawn."""
        return self.trained.compiled() if self.trained else _untrained(self.net)

    def gaussian_law(self, law: FisherLaw, first: int, count: int, stream: int = rng.HIDDEN) -> Array:
        """Return λ (count, width) of consecutive members under Gaussian inputs (one hidden layer)."""
        net, seed = self.net.architecture(), np.uint64(self.seed)
        mean, deviation = moments_block(
            net, seed, first, count, stream, np.ascontiguousarray(law.input_mean), np.ascontiguousarray(law.input_std)
        )
        return gaussian_fisher(self.net, mean, deviation, law.noise_variance)


def _no_law(d_in: int) -> FisherLaw:
    """Return a Fisher law for Λ = 0, where nothing is removed whatever λ is."""
    return FisherLaw(np.zeros((1, d_in)), np.zeros(d_in), np.ones(d_in), 1.0)


def _untrained(net: MLP) -> Training:
    return Training(np.empty((net.d_in, 0)), np.empty((0, net.d_out)), 0.0, dual.GD, 0.0)
