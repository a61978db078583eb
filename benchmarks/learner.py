"""What an update takes, against autograd over the whole batch at once; and what two threads help."""

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

import distpg  # before torch: it pins the arithmetic
from benchmarks.common import memory_mib
from distpg.config.train_config import TrainConfig
from distpg.core.episodes import EpisodeBatch
from distpg.core.policies import PolicySpec, preferences
from distpg.learning.baselines import baseline_values
from distpg.learning.learner import Learner
from distpg.learning.policy_gradient import policy_gradient_loss
from distpg.learning.scaling import scale_advantages

USUAL, WIDE = PolicySpec(4, (2,), TrainConfig().hidden_sizes), PolicySpec(4, (2,), (256, 256))
# Policy, episodes, and steps of each.
CASES = [(USUAL, 4, 20), (USUAL, 4, 100), (USUAL, 4, 500), (USUAL, 256, 500), (WIDE, 64, 500)]
# So small that the weights stay as they are: a policy that has become certain has other arithmetic.
LR = 1e-9


def make_batch(num_episodes: int, length: int) -> EpisodeBatch:
    rng = np.random.default_rng(0)
    steps = num_episodes * length
    return EpisodeBatch(
        observations=rng.normal(size=(steps, 4)).astype(np.float32),
        actions=rng.integers(2, size=steps).astype(np.uint8),
        returns=rng.normal(50, 10, size=steps).astype(np.float32),
        lengths=np.full(num_episodes, length, np.int32),
        episode_ids=np.arange(num_episodes),
        episode_returns=np.full(num_episodes, float(length)),
        terminated=np.ones(num_episodes, np.bool_),
        weights_seq_no=0,
    )


class AutogradLearner:
    """The same update as a textbook on torch has it."""

    def __init__(self, policy: PolicySpec) -> None:
        weights = policy.initial_weights(0)
        self._parameters = {name: torch.tensor(array, requires_grad=True) for name, array in weights.items()}
        self._adam = torch.optim.Adam(self._parameters.values(), lr=LR, foreach=False)

    def update(self, batch: EpisodeBatch) -> None:
        advantages = batch.returns - baseline_values("timestep", batch.returns, batch.lengths)
        scaled = scale_advantages(advantages, batch.returns, "rms")
        assert scaled is not None
        h = preferences(self._parameters, torch.tensor(batch.observations))
        log_pi = torch.log_softmax(h, dim=1)
        actions = torch.tensor(batch.actions.astype(np.int64))
        log_probs = log_pi.gather(1, actions[:, None])[:, 0]
        loss = policy_gradient_loss(log_probs, torch.tensor(scaled.astype(np.float32)), batch.num_episodes)
        self._adam.zero_grad()
        loss.backward()
        log_pi = log_pi.detach()
        measured = [float(loss.detach()), float(-(log_pi.exp() * log_pi).sum(dim=1).mean())]
        measured += [float(np.var(batch.returns)), float(np.var(advantages))]
        norm = torch.linalg.vector_norm(torch.cat([p.grad.flatten() for p in self._parameters.values()]))
        self._adam.step()
        assert np.isfinite([*measured, float(norm)]).all()
        assert all(bool(parameter.isfinite().all()) for parameter in self._parameters.values())


def learners(policy: PolicySpec) -> dict[str, Callable[[EpisodeBatch], object]]:
    found: dict[str, Callable[[EpisodeBatch], object]] = {"autograd": AutogradLearner(policy).update}
    for threads in (1, 2):
        found[f"{threads} thread" + "s" * (threads > 1)] = Learner(
            TrainConfig(lr=LR, learner_threads=threads), policy
        ).update
    return found


def milliseconds(policy: PolicySpec, batch: EpisodeBatch, repetitions: int) -> dict[str, list[float]]:
    """Of each learner's updates, some of each in turn: what disturbs the machine disturbs all."""
    updates = learners(policy)
    times: dict[str, list[float]] = {name: [] for name in updates}
    for _ in range(repetitions // 10):
        for name, update in updates.items():
            for repetition in range(12):
                start = time.perf_counter()
                update(batch)
                if repetition >= 2:  # the first ones warm up
                    times[name].append(1000 * (time.perf_counter() - start))
    return times


def peak_mib(name: str, policy: PolicySpec, num_episodes: int, length: int) -> float:
    """Memory that updates take beyond the batch, in a process of their own."""
    update = learners(policy)[name]
    update(make_batch(1, 2))  # what the libraries themselves take
    batch = make_batch(num_episodes, length)
    before = memory_mib("VmRSS")
    for _ in range(2):
        update(batch)
    return max(0.0, memory_mib("VmHWM") - before)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=300, help="of updates up to 2,000 steps")
    options = parser.parse_args()
    print(f"distpg {distpg.__version__}, torch {torch.__version__}")
    for policy, num_episodes, length in CASES:
        batch = make_batch(num_episodes, length)
        small = num_episodes * length <= 2000
        times = milliseconds(policy, batch, options.repetitions if small else options.repetitions // 10)
        size = sum(array.nbytes for array in batch.arrays.values())
        print(
            f"{num_episodes} episodes, {batch.num_steps:,} steps, {size / 2**20:.2f} MiB, "
            f"layers {policy.layer_sizes}:"
        )
        for name, values in times.items():
            low, median, high = statistics.quantiles(values, n=4)
            ratio = statistics.median(old / new for old, new in zip(times["autograd"], values, strict=True))
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                memory = pool.apply(peak_mib, (name, policy, num_episodes, length))
            print(
                f"  {name:9} {median:8.3f} ms (quartiles {low:.3f} and {high:.3f}), "
                f"{ratio:5.2f} times as fast as autograd, {memory:6.1f} MiB beyond the batch"
            )


if __name__ == "__main__":
    main()
