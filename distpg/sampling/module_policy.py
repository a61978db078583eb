"""A torch module as a policy that plays: row by row, so that no row depends on how many are beside it."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import MODULE, PolicySpec, Weights, normalised
from distpg.sampling.compiled_policy import CompiledPolicy, Steps


def new_policy(spec: PolicySpec, seed: int) -> "CompiledPolicy | ModulePolicy":
    """What plays a policy, before its weights are loaded; ``seed`` is the run's."""
    return ModulePolicy(spec, seed) if spec.module else CompiledPolicy(spec)


def first_weights(spec: PolicySpec, seed: int) -> Weights:
    """What a run with this seed begins with, float32."""
    if not spec.module:
        return spec.initial_weights(seed)
    from distpg.learning.modules import module_weights

    return module_weights(spec, seed)


class ModulePolicy:
    """As :class:`CompiledPolicy`; runners of built-in policies never make one, and so import no torch."""

    def __init__(self, spec: PolicySpec, seed: int) -> None:
        from distpg.kernels import choice
        from distpg.learning.modules import new_module
        from distpg.learning.settings import own_settings

        self._own_settings = own_settings
        with own_settings():
            self._module = new_module(spec, seed)
        self._spec = spec
        self._weights: Weights = {}
        self._categories = choice.choose_all_categories
        self._numbers = choice.choose_all_numbers
        self._parts = np.array(spec.action_sizes, np.int64)
        self._squashes = spec.distribution == "tanh-normal"

    def load(self, weights: Weights) -> None:
        """Play with these weights from now on, the module's own to the last (ValueError: they are not)."""
        import torch

        parameters = dict(self._module.named_parameters())
        given = {
            name.removeprefix(MODULE): array for name, array in weights.items() if name.startswith(MODULE)
        }
        if {name: tuple(one.shape) for name, one in parameters.items()} != {
            name: array.shape for name, array in given.items()
        }:
            raise ValueError("these are no weights of this module")
        with torch.no_grad():
            for name, array in given.items():
                parameters[name].copy_(torch.tensor(array))
        self._weights = {name: array.copy() for name, array in weights.items() if not name.startswith(MODULE)}

    def act(
        self,
        steps: Steps,
        choices: NDArray[Any],
        words: NDArray[np.uint32],
        lanes: NDArray[np.int64],
        at: int,
        t: int,
        numbers: NDArray[np.uint64],
    ) -> None:
        """As :meth:`CompiledPolicy.act`."""
        outputs = self.outputs(steps.observations[lanes, at])
        actions = (steps.actions, steps.log_probs, steps.masks)
        rest = (*actions, choices, words, lanes, at, t, numbers)
        if self._spec.is_categorical:
            self._categories(outputs, self._parts, *rest)
        else:
            self._numbers(outputs, self._squashes, *rest)

    def outputs(self, observations: NDArray[Any]) -> NDArray[np.float32]:
        """From observations [B, size] to float32[B, outputs]; of numbers with their log deviations."""
        import torch

        rows = torch.tensor(normalised(observations, self._weights))
        free = self._weights.get("log_deviations", np.empty(0, np.float32))
        end = sum(self._spec.action_sizes)
        found = np.empty((len(rows), end + len(free)), np.float32)
        found[:, end:] = free
        with self._own_settings(), torch.no_grad():
            for row, into in zip(rows, found, strict=True):
                into[:end] = self._module(row.clone().reshape(1, *self._spec.observation_shape))[0].numpy()
        return found
