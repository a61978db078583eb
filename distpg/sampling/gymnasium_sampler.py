"""Plays any Gymnasium environment: one plain environment per episode of a task, stepped side by side."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from distpg.core.policies import PolicySpec, Weights
from distpg.core.seeding import Stream, environment_seed
from distpg.environments.envs import RUNAWAY_STEPS, close_all, info_of, make_env, without_wrappers
from distpg.environments.making import Env, EnvSpec
from distpg.environments.spaces import masks_of
from distpg.errors import DistpgError, EnvironmentIdError
from distpg.sampling.compiled_policy import reset_seeds
from distpg.sampling.failures import StoppedError, failure, first_not_finite, runaway
from distpg.sampling.module_policy import new_policy
from distpg.sampling.record import Record, Shapes
from distpg.sampling.sampler import TRAINING, Play, Trajectories, joined
from distpg.system.generators import generators_kept, seed_generators
from distpg.system.interrupts import Interrupted
from distpg.system.surroundings import theirs

_NO_LIMIT = 2**62
_Lane = tuple[int, Callable[[Any], Any], list[float]]


class GymnasiumSampler:
    """One compiled call a tick for the policy, then one step of each environment that still plays.

    Which episodes share a tick depends on the task alone, and none changes what another plays. Gymnasium's
    own vector environments share one random generator between slots and restart a slot by themselves, so what
    an episode plays there depends on the episodes beside it.

    Args:
        play: Which random numbers the episodes use, and whether the policy does.
        make: Makes the environment of a lane, the place of an episode in its task; default: a plain one.
        env_reuse: ``always`` keeps a lane's environment for the next task; ``episode`` makes it anew;
            ``seeded`` keeps one, in which episodes are played one by one.
        log_probs: Whether trajectories hold the log-probabilities of their actions.
        keeps_steps: Whether they hold observations and actions.
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
        keeps_steps: bool = True,
    ) -> None:
        self._env_spec = env_spec
        self._policy_spec = policy_spec
        self._policy = new_policy(policy_spec, seed)
        self._seed = seed
        self._play = play
        self._make = make or (lambda lane: make_env(env_spec))
        self._keeps_envs = env_reuse != "episode"
        self._seeds_globals = env_reuse == "seeded"
        self._log_probs = log_probs
        self._keeps_steps = keeps_steps
        self._envs: list[Env] = []
        self._limit, self._has_limit = _NO_LIMIT, True
        self._mask_of = masks_of(env_spec.action_mask, policy_spec.action_sizes)
        self._record: Record | None = None
        self._steps_before = 0
        self.is_to_stop = False
        """Another thread may set it: the episodes that are being played end in a StoppedError."""

    @property
    def steps(self) -> int:
        """Environment steps and resets so far, and environments made; another thread may ask."""
        record = self._record
        return self._steps_before + (0 if record is None else record.num_steps)

    def load(self, weights: Weights) -> None:
        """Play with these weights from now on; changing them in place afterwards changes nothing."""
        self._policy.load(weights)

    def sample(
        self,
        first_episode: int,
        num_episodes: int,
        weights: Weights | None = None,
        play: Play | None = None,
        keeps_steps: bool | None = None,
    ) -> Trajectories:
        """Play episodes to their ends, with weights loaded before or these (EpisodeError: one failed).

        ``play`` and ``keeps_steps`` are those of the sampler from now on, where they are given.
        """
        if weights is not None:
            self.load(weights)
        self._play = play or self._play
        self._keeps_steps = self._keeps_steps if keeps_steps is None else keeps_steps
        with theirs():
            if not self._seeds_globals:
                return self._sample(first_episode, num_episodes)
            with generators_kept():
                return joined([self._sample_seeded(first_episode + k) for k in range(num_episodes)])

    def _sample_seeded(self, episode: int) -> Trajectories:
        seed_generators(self._seed)
        self._make_envs(1)
        seed_generators(self._seed, episode, self._play.globals_stream)
        return self._sample(episode, 1)

    def _sample(self, first_episode: int, num_episodes: int) -> Trajectories:
        if not self._keeps_envs:
            self.close()
        self._make_envs(num_episodes)
        record = self._record = Record(num_episodes, self._shapes, self._log_probs, self._keeps_steps)
        try:
            # A number that is not finite is an error of the environment, found below: no warning on the way.
            with np.errstate(over="ignore", invalid="ignore"):
                self._reset(record, first_episode)
                self._play_all(record, first_episode)
            self._check_observations(record, first_episode)
            played = record.trajectories(self._policy_spec)
            self._check_rewards(played, first_episode)
        except BaseException:
            # Left in the middle of episodes, these environments must not play the next task.
            self.close()
            raise
        finally:
            self._record, self._steps_before = None, self.steps
        return played

    def _make_envs(self, number: int) -> None:
        while len(self._envs) < number:
            made = self._make(len(self._envs))
            env, limit = without_wrappers(made)
            self._envs.append(env)
            self._steps_before += 1
            if limit is not None:  # the same for all; some may be in wrappers that keep theirs to themselves
                self._limit = limit
            if len(self._envs) == 1:
                self._read(made)

    def _read(self, env: Env) -> None:
        """How this and all like it are read and told what to do."""
        info, policy = info_of(self._env_spec, env), self._policy_spec
        if info.observations.size != policy.observation_size:
            raise EnvironmentIdError(
                f"{self._env_spec.env_id} has observations of {info.observations.size:,} numbers, and the "
                f"policy takes {policy.observation_size:,}",
                "Check --env-kwargs, --wrappers and --drop-observations.",
            )
        self._has_limit = info.max_episode_steps is not None
        self._encode, self._dtype = info.observations.encode, info.observations.dtype
        self._shape, self._decode = info.observations.shape, info.actions.decode
        self._shapes = Shapes(
            info.observations,
            len(policy.action_sizes),
            np.int64 if policy.is_categorical else np.float32,
            0 if self._mask_of is None else sum(policy.action_sizes),
        )

    def _reset(self, record: Record, first_episode: int) -> None:
        seeds = reset_seeds(self._seed, self._play.seed_stream, first_episode, len(record.rewards))
        for lane, (env, seed) in enumerate(zip(self._envs, seeds, strict=False)):
            try:
                observation, *info = env.reset(seed=seed, options=None)
                if self._mask_of is not None:
                    record.steps.masks[lane, 0] = self._mask_of(observation, *info)
                record.observations[lane, 0] = self._checked(observation)
            except Interrupted:
                raise
            except BaseException as error:  # whatever an environment raises, to end the process too
                raise self._failure(error, first_episode + lane, 0) from error
            self._steps_before += 1

    def _play_all(self, record: Record, first_episode: int) -> None:
        steps = [env.step for env in self._envs[: len(record.rewards)]]
        numbers = np.array(
            [self._seed, self._play.action_stream, first_episode, self._play.greedy], np.uint64
        )
        playing: list[_Lane] = list(zip(range(len(steps)), steps, record.rewards, strict=True))
        ended = True
        for t in itertools.count():
            if self.is_to_stop:
                raise StoppedError
            if record.is_full:
                self._check_observations(record, first_episode)
                record.next_stretch()
            if ended:
                playing = [one for one in playing if not record.has_ended[one[0]]]
                if not playing:
                    return
                lanes = np.array([one[0] for one in playing], np.int64)
                choices = np.empty((len(playing), self._shapes.parts), self._shapes.actions)
            if t >= RUNAWAY_STEPS and not self._has_limit:
                is_evaluation = self._play.seed_stream != Stream.ENVIRONMENT_SEED
                raise runaway(self._env_spec.env_id, first_episode + playing[0][0], is_evaluation)
            self._policy.act(record.steps, choices, record.words, lanes, record.at, t, numbers)
            ended = self._step(record, t, playing, self._decode(choices), first_episode)
            record.at += 1

    def _step(
        self, record: Record, t: int, playing: list[_Lane], actions: list[Any], first_episode: int
    ) -> bool:
        """Step each environment once; whether any episode ended."""
        shape, encode, mask_of, is_last = self._shape, self._encode, self._mask_of, t + 1 >= self._limit
        following, any_ended, lane = record.observations[:, record.at + 1], False, 0
        try:
            for (lane, step, rewards), action in zip(playing, actions, strict=True):
                seen, reward, terminated, truncated, info = step(action)
                observation = seen if encode is None else encode(seen)
                if type(observation) is not np.ndarray or observation.shape != shape:
                    observation = self._checked(seen)
                following[lane] = observation
                rewards.append(float(reward))
                if terminated or truncated or is_last:
                    record.terminated[lane] = bool(terminated)
                    record.final_observations[lane] = observation
                    record.has_ended[lane] = any_ended = True
                elif mask_of is not None:
                    record.steps.masks[lane, record.at + 1] = mask_of(seen, info)
        except Interrupted:
            raise
        except BaseException as error:
            raise self._failure(error, first_episode + lane, t) from error
        return any_ended

    def _checked(self, observation: Any) -> NDArray[Any]:
        encoded = observation if self._encode is None else self._encode(observation)
        array = np.asarray(encoded, self._dtype)
        if array.shape != self._shape:
            raise ValueError(f"an observation of shape {array.shape} instead of {self._shape}")
        return array

    def _check_observations(self, record: Record, first_episode: int) -> None:
        """One look at many steps costs a thousandth of one at each."""
        if (found := record.not_finite()) is not None:
            lane, t, observation = found
            error = ValueError(f"its observation is {observation.tolist()}")
            raise self._failure(error, first_episode + lane, t)

    def _check_rewards(self, played: Trajectories, first_episode: int) -> None:
        if (found := first_not_finite(played.rewards, played.lengths)) is not None:
            lane, t, reward = found
            raise self._failure(ValueError(f"its reward is {reward}"), first_episode + lane, t)

    def _failure(self, error: BaseException, episode: int, t: int) -> DistpgError:
        seed = environment_seed(self._seed, episode, self._play.seed_stream)
        is_evaluation = self._play.seed_stream != Stream.ENVIRONMENT_SEED
        return failure(self._env_spec.env_id, error, episode, t, seed, is_evaluation)

    def close(self) -> str | None:
        """Release the environments, in a few seconds; what went wrong with the first that did."""
        with theirs():
            return close_all(self._envs)
