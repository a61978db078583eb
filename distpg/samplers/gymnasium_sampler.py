"""Plays any Gymnasium environment: one plain environment per episode of a task, stepped side by side."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium
import numpy as np
from numpy.typing import NDArray

from distpg.envs import Env, EnvSpec, first_action, make_env
from distpg.episodes import episode_starts
from distpg.errors import DistpgError, EnvironmentIdError, EpisodeError
from distpg.policies import PolicySpec, Weights, choose, features, preferences, softmax
from distpg.samplers import TRAINING, Play, Trajectories
from distpg.seeding import environment_seed, uniform, words

# Steps whose random numbers are computed in one go; a multiple of 4, the words in a Philox block.
_RANDOM_BLOCK = 128


class GymnasiumSampler:
    """One batched forward pass a tick; an episode that ends leaves the batch.

    Which episodes share a batch, and in which order, depends on the task alone. Gymnasium's own vector
    environments share one random generator between slots and restart a slot by themselves, so what an episode
    plays there depends on the episodes beside it.

    Args:
        play: Which random numbers the episodes use, and whether the policy does.
        make: Makes the environment of a lane, the place of an episode in its task; default: a plain one.
        env_reuse: ``always`` keeps a lane's environment for the next task. ``task`` and ``episode`` are one
            here, since a lane plays one episode of a task: each task has environments of its own.
    """

    def __init__(
        self,
        env_spec: EnvSpec,
        policy_spec: PolicySpec,
        seed: int,
        play: Play = TRAINING,
        make: Callable[[int], Env] | None = None,
        env_reuse: str = "always",
        log_probs: bool = False,
    ) -> None:
        self._env_spec = env_spec
        self._policy_spec = policy_spec
        self._seed = seed
        self._play = play
        self._make = make or (lambda lane: make_env(env_spec))
        self._keeps_envs = env_reuse not in ("task", "episode")
        self._envs: list[Env] = []
        self._first_action = 0
        self._action_dtype = np.min_scalar_type(policy_spec.num_actions - 1)
        self._shape: tuple[int, ...] = ()
        self.steps = 0

    def sample(self, first_episode: int, num_episodes: int, weights: Weights) -> Trajectories:
        """As :class:`distpg.samplers.Sampler`."""
        if not self._keeps_envs:
            self.close()
        while len(self._envs) < num_episodes:
            self._envs.append(self._make(len(self._envs)))
            self._first_action = first_action(self._envs[-1])
            self._shape = self._envs[-1].observation_space.shape or ()
        episodes = np.arange(first_episode, first_episode + num_episodes, dtype=np.int64)
        record = _Record(num_episodes, self._policy_spec.observation_size, self._action_dtype)
        try:
            # A number that is not finite is an error of the environment, found below: no warning on the way.
            with np.errstate(over="ignore", invalid="ignore"):
                self._play_all(record, episodes, weights)
            played = record.trajectories()
            self._check_finite(played, first_episode)
        except BaseException:
            # Left in the middle of episodes, these environments must not play the next task.
            self.close()
            raise
        return played

    def _play_all(self, record: _Record, episodes: NDArray[np.int64], weights: Weights) -> None:
        observations = self._reset(episodes)
        playing = np.arange(len(episodes))
        t = 0
        while len(playing):
            if t % _RANDOM_BLOCK == 0:
                block = words(self._seed, self._play.action_stream, episodes[playing], t, _RANDOM_BLOCK)
                u = uniform(block)
                rows = np.arange(len(playing))
            h = preferences(weights, features(observations, self._policy_spec.degree))
            if self._play.greedy:
                actions = h.argmax(axis=1)
            else:
                actions = choose(softmax(h), u[rows, t % _RANDOM_BLOCK])
            record.actions_at(t, playing, observations, actions)
            observations, ended = self._step(record, t, playing, episodes, actions)
            if ended:
                going = np.array([lane not in ended for lane in playing.tolist()])
                playing, observations, rows = playing[going], observations[going], rows[going]
            t += 1

    def _reset(self, episodes: NDArray[np.int64]) -> NDArray[np.float32]:
        observations = []
        for env, episode in zip(self._envs, episodes.tolist(), strict=False):
            seed = environment_seed(self._seed, episode, self._play.seed_stream)
            try:
                observations.append(self._flat(env.reset(seed=seed)[0]))
                self.steps += 1
            except Exception as error:
                raise self._failure(error, episode, 0) from error
        return np.stack(observations)

    def _step(
        self,
        record: _Record,
        t: int,
        playing: NDArray[np.int64],
        episodes: NDArray[np.int64],
        actions: NDArray[np.int64],
    ) -> tuple[NDArray[np.float32], set[int]]:
        observations = np.empty((len(playing), self._policy_spec.observation_size), np.float32)
        ended = set()
        for row, (lane, action) in enumerate(zip(playing.tolist(), actions.tolist(), strict=True)):
            try:
                observation, reward, terminated, truncated, _ = self._envs[lane].step(
                    action + self._first_action
                )
                observations[row] = self._flat(observation)
                record.rewards[t, lane] = reward
            except Exception as error:
                raise self._failure(error, int(episodes[lane]), t) from error
            self.steps += 1
            if terminated or truncated:
                record.end(lane, t + 1, bool(terminated))
                ended.add(lane)
        return observations, ended

    def _flat(self, observation: object) -> NDArray[np.float32]:
        array = np.asarray(observation, np.float32)
        if array.shape != self._shape:
            raise ValueError(f"an observation of shape {array.shape} instead of {self._shape}")
        return array.reshape(-1)

    def _check_finite(self, played: Trajectories, first_episode: int) -> None:
        """One look at everything costs a thousandth of one at each step.

        Raises:
            EpisodeError: An observation or a reward is NaN or infinite, or too large for float32.
        """
        for name, values in (("observation", played.observations), ("reward", played.rewards)):
            if not np.isfinite(values).all():
                row = int(np.nonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))[0][0])
                lane = int(np.searchsorted(episode_starts(played.lengths), row, side="right")) - 1
                t = row - int(episode_starts(played.lengths)[lane])
                value = values[row].tolist()
                raise self._failure(ValueError(f"its {name} is {value}"), first_episode + lane, t)

    def _failure(self, error: Exception, episode: int, t: int) -> DistpgError:
        if isinstance(error, gymnasium.error.DependencyNotInstalled):
            # Environments import what draws them when they are first drawn.
            return EnvironmentIdError(
                f"{self._env_spec.env_id} lacks a package: {error}", "Install it, then try again."
            )
        cause = f"{type(error).__name__}: {error}"
        seed = environment_seed(self._seed, episode, self._play.seed_stream)
        return EpisodeError(
            f"{self._env_spec.env_id} failed in episode {episode}, step {t}: {cause}",
            f"The episode's reset seed is {seed}: it fails the same way wherever it is played.",
            episode,
        )

    def close(self) -> None:
        """As :class:`distpg.samplers.Sampler`."""
        while self._envs:
            self._envs.pop().close()


class _Record:
    """What happened at each tick [T, E, ...], until it is laid out episode by episode."""

    def __init__(self, num_episodes: int, observation_size: int, action_dtype: np.dtype) -> None:
        self.observations = np.empty((_RANDOM_BLOCK, num_episodes, observation_size), np.float32)
        self.actions = np.empty((_RANDOM_BLOCK, num_episodes), action_dtype)
        self.rewards = np.empty((_RANDOM_BLOCK, num_episodes), np.float64)
        self.lengths = np.zeros(num_episodes, np.int32)
        self.terminated = np.zeros(num_episodes, np.bool_)

    def actions_at(
        self,
        t: int,
        playing: NDArray[np.int64],
        observations: NDArray[np.float32],
        actions: NDArray[np.int64],
    ) -> None:
        if t == len(self.actions):
            self.observations = np.concatenate([self.observations, np.empty_like(self.observations)])
            self.actions = np.concatenate([self.actions, np.empty_like(self.actions)])
            self.rewards = np.concatenate([self.rewards, np.empty_like(self.rewards)])
        self.observations[t, playing] = observations
        self.actions[t, playing] = actions

    def end(self, lane: int, length: int, terminated: bool) -> None:
        self.lengths[lane] = length
        self.terminated[lane] = terminated

    def trajectories(self) -> Trajectories:
        lanes = list(enumerate(self.lengths.tolist()))
        return Trajectories(
            observations=np.concatenate([self.observations[:length, lane] for lane, length in lanes]),
            actions=np.concatenate([self.actions[:length, lane] for lane, length in lanes]),
            rewards=np.concatenate([self.rewards[:length, lane] for lane, length in lanes]),
            lengths=self.lengths,
            terminated=self.terminated,
        )
