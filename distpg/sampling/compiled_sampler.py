"""Plays environments whose steps are compiled: tens of millions of steps a second on one core."""

from __future__ import annotations

from typing import Any

import numpy as np

from distpg.core.episodes import episode_starts
from distpg.core.policies import OBSERVATION_ARRAYS, PolicySpec, Weights, flat_products, num_layers
from distpg.core.returns import Returns
from distpg.core.seeding import Stream, environment_seed
from distpg.environments.compiled import compiled_environment
from distpg.environments.envs import RUNAWAY_STEPS
from distpg.environments.making import EnvSpec
from distpg.kernels import workspace
from distpg.kernels.compile_cache import compile_cache
from distpg.sampling.failures import StoppedError, failure, runaway
from distpg.sampling.sampler import TRAINING, Play, Trajectories

# Episodes side by side, and of how many the number of lanes is a multiple: vectors are of up to 16 float32.
LANES, _VECTOR = 112, 16
# Ticks that there is room for at first.
_TICKS = 1024


def _doubled(history: Any) -> Any:
    """Room for twice as many ticks, with what is there."""
    wider = [np.empty((2 * len(array), *array.shape[1:]), array.dtype) for array in history]
    for room, array in zip(wider, history, strict=True):
        room[: len(array)] = array
    return type(history)(*wider)


def why_not_compiled(env_spec: EnvSpec, policy_spec: PolicySpec) -> str | None:
    """Why the compiled sampler cannot play this, in words; None: it can."""
    if compiled_environment(env_spec) is None:
        return f"{env_spec.env_id} has no compiled form, or none with these arguments and wrappers"
    if policy_spec.module or not policy_spec.has_single_actions or len(policy_spec.layer_sizes) > 4:
        return "it takes linear and polynomial policies, and mlp of one or two hidden layers"
    return None


def has_to_compile(env_spec: EnvSpec, policy_spec: PolicySpec) -> bool:
    """Whether the compiled sampler of this is not there yet, and takes seconds to be."""
    cache = None if (key := _key(env_spec, policy_spec)) is None else compile_cache(key)
    gradient = compile_cache()
    return (
        cache is None
        or gradient is None
        or not any(cache.glob("*/rollout.play-*.nbi"))
        or not any(gradient.glob("*/gradient.differentiate-*.nbi"))
    )


def _key(env_spec: EnvSpec, policy_spec: PolicySpec) -> str | None:
    """Under which it is kept; None: nowhere."""
    compiled = compiled_environment(env_spec)
    assert compiled is not None
    return compiled.key and f"{compiled.key} {_Layout(policy_spec).is_between_two}"


class CompiledSampler:
    """One compiled call for all episodes: policy, choice, environment and returns.

    Args:
        log_probs, rewards, finals: Whether trajectories hold log-probabilities, rewards, last observations.
    """

    def __init__(
        self,
        env_spec: EnvSpec,
        policy_spec: PolicySpec,
        seed: int,
        gamma: float,
        returns: Returns,
        log_probs: bool = False,
        rewards: bool = False,
        finals: bool = False,
    ) -> None:
        from distpg.kernels import rollout

        compiled = compiled_environment(env_spec)
        assert compiled is not None

        self._rollout = rollout
        self._layout = _Layout(policy_spec)
        key = _key(env_spec, policy_spec)
        functions = (compiled.reset, compiled.step, compiled.observe)
        self._play_all = rollout.of_environment(*functions, self._layout.is_between_two, key)
        self._env_id = env_spec.env_id
        self._compiled = compiled
        self._spec = policy_spec
        self._seed = seed
        self._limit = env_spec.max_episode_steps or compiled.max_episode_steps
        self._gamma, self._returns = gamma, returns
        self._log_probs, self._rewards, self._finals = log_probs, rewards, finals
        self._columns = tuple(range(policy_spec.observation_size))
        self._play = TRAINING
        self._keeps_steps = True
        self._history: Any = None
        self._progress = np.zeros(5, np.int64)
        self._steps_before = 0

    @property
    def steps(self) -> int:
        """Environment steps so far; another thread may ask."""
        return self._steps_before + int(self._progress[1])

    @property
    def is_to_stop(self) -> bool:
        """Another thread may set it: the episodes that are being played end in a StoppedError."""
        return bool(self._progress[2])

    @is_to_stop.setter
    def is_to_stop(self, value: bool) -> None:
        self._progress[2] = value

    def load(self, weights: Weights) -> None:
        """Play with these weights from now on; changing them in place afterwards changes nothing."""
        self._layout.load(weights)

    def sample(
        self,
        first_episode: int,
        num_episodes: int,
        weights: Weights | None = None,
        play: Play | None = None,
        keeps_steps: bool | None = None,
    ) -> Trajectories:
        """As :meth:`GymnasiumSampler.sample`."""
        if weights is not None:
            self.load(weights)
        self._play = play or self._play
        self._keeps_steps = self._keeps_steps if keeps_steps is None else keeps_steps
        num_lanes = min(LANES, -(-num_episodes // _VECTOR) * _VECTOR)
        lanes, episodes = self._lanes(num_lanes), self._episodes(num_episodes)
        history = self._room(num_lanes)
        numbers = workspace.Numbers(
            np.uint64(self._seed),
            np.uint64(self._play.seed_stream),
            np.uint64(self._play.action_stream),
            np.uint64(first_episode),
            self._limit or RUNAWAY_STEPS,
            self._gamma,
            self._returns == "total",
            self._play.greedy,
        )
        room = workspace.Room(
            np.empty(self._compiled.num_uniforms), np.empty(4, np.uint32), np.empty(4, np.uint64)
        )
        policy = self._layout.policy(num_lanes)
        self._progress[0] = 0
        while True:
            came = self._play_all(policy, lanes, history, episodes, numbers, self._progress, room)
            if came == self._rollout.FINISHED:
                break
            if came == self._rollout.STOPPED:
                raise StoppedError
            if came == self._rollout.FULL:
                history = self._history = _doubled(history)
        self._steps_before += int(self._progress[1])
        self._progress[1] = 0
        return self._trajectories(first_episode, history, episodes, numbers)

    def _lanes(self, count: int) -> Any:
        return workspace.Lanes(
            np.zeros((self._compiled.state_size, count)),
            np.zeros((sum(self._spec.action_sizes), count), np.float32),
            np.zeros(count, np.int64),
            np.zeros(count),
            np.zeros(count, np.bool_),
            np.zeros(count),
            np.zeros((8, count), np.uint32),
            np.zeros(count, np.float32),
            np.zeros(count, np.uint64),
            *(np.zeros(count, np.int64) for _ in range(4)),
        )

    def _room(self, count: int) -> Any:
        """Kept from call to call: new memory costs as much as what is played into it."""
        if self._history is None or self._history.rewards.shape[1] != count:
            room = (_TICKS, count)
            self._history = workspace.History(
                np.empty((_TICKS, self._spec.observation_size, count), np.float32),
                np.empty(room, self._spec.action_dtype),
                np.empty(room, np.float32),
                np.empty(room if self._log_probs else (0, count), np.float32),
            )
        return self._history

    def _episodes(self, count: int) -> Any:
        return workspace.Episodes(
            np.zeros(count, np.int64),
            np.zeros(count, np.int64),
            np.zeros(count, np.int64),
            np.zeros(count),
            np.zeros(count, np.bool_),
            np.zeros((count if self._finals else 0, self._spec.observation_size), np.float32),
        )

    def _trajectories(self, first_episode: int, history: Any, episodes: Any, numbers: Any) -> Trajectories:
        self._check(first_episode, episodes)
        total = int(episodes.length.sum()) if self._keeps_steps else 0
        gathered = workspace.Steps(
            np.empty((total, self._spec.observation_size), np.float32),
            np.empty(total, self._spec.action_dtype),
            np.empty(total, np.float32),
            np.empty(total if self._rewards else 0, np.float32),
            np.empty(total if self._log_probs else 0, np.float32),
        )
        if self._keeps_steps:
            order = np.lexsort((episodes.start, episodes.lane))
            places = episode_starts(episodes.length)
            counts = np.bincount(episodes.lane, minlength=history.rewards.shape[1])
            next_of = episode_starts(counts)
            ends, played = next_of + counts, int(self._progress[3])
            self._rollout.gather(
                history, played, episodes, order, places, ends, next_of, self._columns, numbers, gathered
            )
        return Trajectories(
            observations=gathered.observations,
            actions=gathered.actions,
            rewards=gathered.rewards.astype(np.float64),
            lengths=episodes.length.astype(np.int32),
            terminated=episodes.terminated,
            final_observations=episodes.finals,
            log_probs=gathered.log_probs if self._log_probs else None,
            returns=gathered.returns,
            sums=episodes.total,
        )

    def _check(self, first_episode: int, episodes: Any) -> None:
        """Raise EpisodeError where one ran away, or gave what is not a number."""
        is_evaluation = self._play.seed_stream != Stream.ENVIRONMENT_SEED
        if self._limit is None and (away := ~episodes.terminated).any():
            raise runaway(self._env_id, first_episode + int(away.argmax()), is_evaluation)
        if not (finite := np.isfinite(episodes.total)).all():
            episode = first_episode + int((~finite).argmax())
            error = ValueError("its state or its rewards are not finite")
            seed = environment_seed(self._seed, episode, self._play.seed_stream)
            raise failure(self._env_id, error, episode, 0, seed, is_evaluation)

    def close(self) -> str | None:
        """Let the memory go."""
        self._history = None
        return None


class _Layout:
    """A policy's weights as the compiled call takes them."""

    def __init__(self, spec: PolicySpec) -> None:
        self._spec = spec
        sizes = list(spec.layer_sizes)
        self.is_between_two = len(sizes) == 3 and sizes[-1] == 2
        if self.is_between_two:
            sizes[1] += sizes[1] % 2  # units go in pairs; one of nothing but zeros changes nothing
        self._sizes = np.array(sizes, np.int64)
        self._shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
        self._parameters = np.zeros(sum(units * (inputs + 1) for units, inputs in self._shapes), np.float32)
        self._last = np.zeros(sizes[1] + 1 if self.is_between_two else 0, np.float32)
        normal = spec.observation_size if spec.normalisation != "none" else 0
        self._mean, self._scale = np.zeros((2, normal), np.float32)
        self._products = flat_products(spec.observation_size, spec.degree)

    def load(self, weights: Weights) -> None:
        end = 0
        for layer, (units, inputs) in enumerate(self._shapes[: num_layers(weights)]):
            weight, bias = weights[f"layers.{layer}.weight"], weights[f"layers.{layer}.bias"]
            start, end = end, end + units * inputs
            self._parameters[start : start + weight.size] = weight.reshape(-1)
            self._parameters[end : end + len(bias)] = bias
            end += units
        if self.is_between_two:
            weight, bias = weights["layers.1.weight"], weights["layers.1.bias"]
            self._last[: weight.shape[1]] = weight[1] - weight[0]
            self._last[-1] = bias[1] - bias[0]
        for name, room in zip(OBSERVATION_ARRAYS, (self._mean, self._scale), strict=True):
            if name in weights:
                room[:] = weights[name]

    def policy(self, num_lanes: int) -> Any:
        """As numba gets it, with room for so many lanes."""
        columns = tuple(range(int(self._sizes[0]))) if self.is_between_two else (0,)
        room = np.zeros((2, int(self._sizes.max()), num_lanes), np.float32)
        fields = (self._parameters, self._sizes, self._last, columns, self._products)
        return workspace.Policy(*fields, self._mean, self._scale, room)
