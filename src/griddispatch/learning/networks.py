"""K small networks as one: every parameter has a leading dimension for the agent.

Training five seeds one after the other spends most of its time starting tiny operations. Stacked,
the five networks share each operation (`torch.baddbmm`), and a step costs little more than one
network's. Nothing flows between agents: gradients, optimiser moments and random numbers are
separate along the leading dimension, so a seed's result does not depend on its neighbours.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import silu


class Streams:
    """One private random generator per agent.

    `Streams(seeds, name)` gives agent k a stream that depends on its own seed and on `name` only.
    Numbers are drawn on the CPU and handed to `device`, so they are the same on every device.
    """

    def __init__(
        self, seeds: Sequence[int], name: str = "", device: torch.device | str = "cpu"
    ) -> None:
        salt = sum((i + 1) * ord(c) for i, c in enumerate(name))
        self.device = torch.device(device)
        self.generators = [torch.Generator("cpu").manual_seed(1_000_003 * s + salt) for s in seeds]

    def __len__(self) -> int:
        return len(self.generators)

    def normal(self, *shape: int) -> Tensor:
        """[K, *shape] standard normal."""
        return self._stack(torch.randn(*shape, generator=g, device="cpu") for g in self.generators)

    def uniform(self, *shape: int) -> Tensor:
        """[K, *shape] uniform in [0, 1)."""
        return self._stack(torch.rand(*shape, generator=g, device="cpu") for g in self.generators)

    def integers(self, high: int, *shape: int) -> Tensor:
        """[K, *shape] uniform in 0 .. high - 1."""
        return self._stack(
            torch.randint(high, shape, generator=g, device="cpu") for g in self.generators
        )

    def _stack(self, drawn: Iterable[Tensor]) -> Tensor:
        return torch.stack(list(drawn)).to(self.device)


class HeldNoise:
    """Standard normal noise that keeps its values for some steps."""

    def __init__(self, streams: Streams, hold: int) -> None:
        self.streams, self.hold = streams, hold
        self._held = torch.empty(0, device=streams.device)

    def at(self, t: int, *shape: int) -> Tensor:
        """[K, *shape] the noise of step t; new values at every `hold`-th."""
        if t % self.hold == 0:
            self._held = self.streams.normal(*shape)
        return self._held


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "silu": silu,
}


class StackedMLP(nn.Module):
    """K multilayer perceptrons of one shape: [K, B, n_in] -> [K, B, n_out].

    Parameters
    ----------
    sizes
        Widths (n_in, hidden, ..., n_out).
    streams
        Initial weights, uniform in +-1/sqrt(fan-in) as in `torch.nn.Linear`, and their device.
    activation
        Between the layers: a name of `ACTIVATIONS`.
    output
        After the last layer, such as `torch.tanh`; nothing by default.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        streams: Streams,
        activation: str = "relu",
        output: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.activation, self.output = activation, output
        self.weights = nn.ParameterList()
        self.biases = nn.ParameterList()
        for n_in, n_out in pairwise(sizes):
            bound = n_in**-0.5
            self.weights.append(nn.Parameter((2 * streams.uniform(n_in, n_out) - 1) * bound))
            self.biases.append(nn.Parameter((2 * streams.uniform(1, n_out) - 1) * bound))

    def forward(self, x: Tensor) -> Tensor:
        """[K, B, n_out] for inputs [K, B, n_in]."""
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            if weight.shape[2] == 1:  # many times faster than a product with one column
                x = (x * weight.mT).sum(2, keepdim=True) + bias
            else:
                x = torch.baddbmm(bias, x, weight)
            if i < last:
                x = ACTIVATIONS[self.activation](x)
        return x if self.output is None else self.output(x)

    def head(self, outputs: int, output: Callable[[Tensor], Tensor] | None) -> "StackedMLP":
        """The network that gives the first `outputs` numbers of the last layer only (a copy).

        A stochastic policy gives a mean and a spread; its greedy policy needs the mean alone.
        """
        sizes = [w.shape[1] for w in self.weights] + [outputs]
        streams = Streams([0] * len(self.weights[0]), device=self.weights[0].device)
        made = StackedMLP(sizes, streams, self.activation, output)
        cut = {name: p[..., : made.state_dict()[name].shape[-1]] for name, p in self._state()}
        made.load_state_dict(cut)
        return made

    def _state(self) -> Iterable[tuple[str, Tensor]]:
        return ((name, p.detach()) for name, p in self.state_dict().items())

    def agent(self, k: int) -> dict[str, Tensor]:
        """Parameters of agent k alone, [1, ...] each; the shape that `StackedMLP` of one has."""
        return {name: p[k : k + 1].clone() for name, p in self._state()}


class Snapshot(NamedTuple):
    """Best parameters per agent so far, and the score [K] that made them best."""

    score: Tensor
    parameters: dict[str, Tensor]


def keep_best(best: Snapshot | None, score: Tensor, network: nn.Module) -> Snapshot:
    """Replace, agent by agent, the parameters whose score [K] is higher than before."""
    now = {name: p.detach().clone() for name, p in network.state_dict().items()}
    if best is None:
        return Snapshot(score.clone(), now)
    better = score > best.score
    merged = {
        name: torch.where(better.view(-1, *[1] * (p.ndim - 1)), p, best.parameters[name])
        for name, p in now.items()
    }
    return Snapshot(torch.where(better, score, best.score), merged)


def clip_per_agent(parameters: Sequence[Tensor], largest: float | None) -> None:
    """Scale each agent's gradient to a norm of at most `largest`; None leaves all as they are."""
    if largest is None:
        return
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = sum(g.flatten(1).square().sum(1) for g in grads)
    factor = (largest / torch.as_tensor(norm).sqrt().clamp(min=1e-12)).clamp(max=1)
    for g in grads:
        g.mul_(factor.view(-1, *[1] * (g.ndim - 1)))


@torch.no_grad()
def soft_update(target: nn.Module, source: nn.Module, tau: float) -> None:
    """Let the target follow: (1 - tau) target + tau source."""
    torch._foreach_lerp_(list(target.parameters()), list(source.parameters()), tau)
