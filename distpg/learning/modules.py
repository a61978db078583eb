"""Policies that are torch modules: made from a seed, and differentiated a few rows at a time."""

from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor

from distpg.config.given import Given, is_of_a_program
from distpg.core.arithmetic import float_sum
from distpg.core.policies import MODULE, PolicySpec, Weights
from distpg.core.seeding import Stream, words
from distpg.errors import ConfigError, in_words
from distpg.learning.network import Differentiable, Inputs, Loss, Sums
from distpg.learning.settings import own_settings
from distpg.system.generators import generators_kept, seed_generators
from distpg.system.named import named

# Numbers of observations that go through a module at once while it is differentiated.
_CHUNK = 2**22
_ROWS = 4


def new_module(spec: PolicySpec, seed: int) -> torch.nn.Module:
    """The factory's module for these spaces, in evaluation mode, seeded for this run.

    Raises:
        ConfigError: There is no such factory, or what it makes is no policy.
    """
    if is_of_a_program(spec.module):
        raise ConfigError(
            f"{spec.module} is of the program that started the run",
            "Go on from there: distpg.resume(run, policy=...), and so evaluate and replay.",
        )
    observations = gymnasium.spaces.Box(-np.inf, np.inf, spec.observation_shape, np.float32)
    try:
        with torch.random.fork_rng(devices=[]), generators_kept():
            torch.manual_seed(int(words(seed, Stream.INITIAL_WEIGHTS, [0], 0, 1)[0, 0]))
            seed_generators(seed)
            module = _factory(spec.module)(observations, _action_space(spec))
            if isinstance(module, torch.nn.Module) and _is_lazy(module):
                module.eval()(torch.zeros(1, *spec.observation_shape))
    except (Exception, SystemExit) as error:
        raise ConfigError(
            f"--policy {spec.module} makes no policy: {in_words(error)}",
            "It is module:factory, a function of the two spaces that gives a torch.nn.Module.",
        ) from error
    if not isinstance(module, torch.nn.Module):
        raise ConfigError(
            f"--policy {spec.module} gives {type(module).__name__}, not a torch.nn.Module",
            "Return a module from float32[B, *observation shape] to float32[B, outputs].",
        )
    return module.eval()


def _is_lazy(module: torch.nn.Module) -> bool:
    """Whether it takes its parameters' shapes from the first rows that it sees."""
    return any(isinstance(one, torch.nn.parameter.UninitializedParameter) for one in module.parameters())


def _factory(name: str) -> Any:
    if isinstance(name, Given):
        return name.value
    return named(name, torch.nn.Module)


def _action_space(spec: PolicySpec) -> gymnasium.Space[Any]:
    if not spec.is_categorical:
        return gymnasium.spaces.Box(-1, 1, (len(spec.action_sizes),), np.float32)
    if spec.has_single_actions:
        return gymnasium.spaces.Discrete(spec.action_sizes[0])
    return gymnasium.spaces.MultiDiscrete(list(spec.action_sizes))


def parameter_shapes(module: torch.nn.Module) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Of all parameters by name, in their order."""
    return tuple((MODULE + name, tuple(one.shape)) for name, one in module.named_parameters())


def module_weights(spec: PolicySpec, seed: int) -> Weights:
    """What a run with this seed begins with; as :meth:`PolicySpec.initial_weights` of built-in policies."""
    with own_settings():
        learnt = new_module(spec, seed).named_parameters()
    found = {MODULE + name: one.detach().numpy().astype(np.float32) for name, one in learnt}
    return found | spec.other_weights()


def check_module(spec: PolicySpec, module: torch.nn.Module) -> None:
    """Whether it is a policy that is the same wherever it plays (ConfigError: it is not).

    What depends on the rows beside one, as BatchNorm does, would play differently with other runners.
    """

    def refuse(what: str, cure: str) -> ConfigError:
        return ConfigError(f"--policy {spec.module} {what}", cure)

    for one in module.modules():
        if isinstance(one, torch.nn.modules.batchnorm._BatchNorm):
            cure = "LayerNorm or GroupNorm look at one row alone."
            raise refuse("has BatchNorm, which depends on the rows beside one", cure)
    if any(one.dtype != torch.float32 for one in module.parameters()):
        raise refuse("has parameters that are not float32", "Make it with module.float().")
    if not all(one.requires_grad for one in module.parameters()):
        raise refuse("has parameters that are not to be learnt", "Keep such numbers in buffers.")
    before = {name: one.clone() for name, one in module.named_buffers()}
    rows = torch.linspace(-1, 1, _ROWS * spec.observation_size).reshape(_ROWS, *spec.observation_shape)
    try:
        # Copies: what changes its input changes it for others.
        together = module(rows.clone())
        again = module(rows.clone())
        alone = torch.cat([module(row[None].clone()) for row in rows])
    except Exception as error:
        raise refuse(f"fails: {in_words(error)}", "It gets float32[B, *observation shape].") from error
    outputs = sum(spec.action_sizes)
    if not isinstance(together, Tensor) or together.shape != (_ROWS, outputs):
        shape = getattr(together, "shape", type(together).__name__)
        what = "preferences of all actions" if spec.is_categorical else "means of an action's numbers"
        raise refuse(f"gives {shape} for {_ROWS} rows", f"Return float32[B, {outputs}], {what}.")
    if together.dtype != torch.float32:
        raise refuse(f"gives {together.dtype}", "Return float32.")
    if not torch.isfinite(together).all():
        raise refuse("gives numbers that are not finite", "Look at its weights, and for divisions by 0.")
    if not torch.equal(together, again):
        raise refuse("is random in evaluation mode", "Actions are drawn from what it gives, not in it.")
    changed = [name for name, one in module.named_buffers() if not torch.equal(one, before[name])]
    if changed or not torch.allclose(together, alone, rtol=1e-3, atol=1e-4):
        raise refuse("gives a row other outputs beside other rows", "Its outputs must be of one row alone.")
    if not any(True for _ in module.parameters()):
        raise refuse("has no parameters", "There is nothing to learn in it.")
    if not together.requires_grad:
        raise refuse("gives what no gradient comes from", "Do without no_grad and detach in forward.")


class ModuleNetwork(Differentiable):
    """A module's parameters as one flat array, and the gradient of a loss by them: as :class:`Network`."""

    def __init__(self, spec: PolicySpec, weights: Weights, seed: int) -> None:
        super().__init__(weights)
        self._module = new_module(spec, seed)
        self._shape = spec.observation_shape
        for name, parameter in self._module.named_parameters():
            parameter.data = self._weights[MODULE + name]
        self._free = [one for name, one in self._weights.items() if not name.startswith(MODULE)]
        self._rows = max(1, min(2048, _CHUNK // spec.observation_size))

    def differentiate(self, num_rows: int, inputs: Inputs, loss: Loss) -> tuple[Tensor, Sums]:
        """As :meth:`Network.differentiate`; chunks are added in their order, in float64."""
        total = torch.zeros_like(self.flat, dtype=torch.float64)
        sums: list[Sums] = []
        parameters = list(self._module.parameters())
        for start in range(0, num_rows, self._rows):
            rows = slice(start, min(start + self._rows, num_rows))
            # A copy, in torch's own alignment.
            means = self._module(torch.tensor(inputs(rows)).reshape(-1, *self._shape)).T
            free = [one[:, None].expand(-1, means.shape[1]) for one in self._free]
            by_outputs, numbers = loss(torch.cat([means.detach(), *free]), rows)
            sums.append(numbers)
            if by_outputs is not None:
                by_means, by_free = by_outputs[: len(means)], by_outputs[len(means) :]
                gradients = torch.autograd.grad(means, parameters, by_means, materialize_grads=True)
                flat = [*gradients, *([by_free.sum(dim=1)] if self._free else [])]
                total.add_(torch.cat([one.flatten() for one in flat]))
        return total.float(), tuple(map(float_sum, zip(*sums, strict=True)))
