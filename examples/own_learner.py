"""A learner of one's own on distpg's runners: several clipped epochs an iteration, in the manner of PPO.

Schulman et al., "Proximal policy optimization algorithms" (2017), equation 7, with whole episodes and a mean
over the other episodes at the same step for a baseline. ``python examples/own_learner.py --help``.
"""

import distpg  # first: it pins the arithmetic of those that follow
import argparse

import numpy as np
import torch
from torch import nn

EPOCHS, CLIP, LR = 8, 0.2, 0.005


def network(weights: distpg.Weights) -> nn.Sequential:
    """The runners' policy, a layer of ReLU units between two linear ones, with these weights."""
    hidden, inputs = weights["layers.0.weight"].shape
    made = nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(), nn.Linear(hidden, len(weights["layers.1.bias"]))
    )
    with torch.no_grad():
        for parameter, array in zip(made.parameters(), weights.values(), strict=True):
            parameter.copy_(torch.tensor(array))
    return made


def advantages(batch: distpg.EpisodeBatch) -> torch.Tensor:
    """Returns minus the mean of the other episodes' at the same step, divided by their root mean square."""
    t = np.concatenate([np.arange(length) for length in batch.lengths])
    returns = batch.returns.astype(np.float64)
    others = (np.bincount(t, weights=returns)[t] - returns) / max(1, batch.num_episodes - 1)
    found = returns - others
    return torch.tensor((found / max(1e-8, np.sqrt(np.square(found).mean()))).astype(np.float32))


def improve(policy: nn.Sequential, optimiser: torch.optim.Optimizer, batch: distpg.EpisodeBatch) -> None:
    """Some steps along the clipped objective, over the whole batch."""
    observations, actions = torch.tensor(batch.observations), torch.tensor(batch.actions.astype(np.int64))
    before, advantage = torch.tensor(batch.log_probs), advantages(batch)
    for _ in range(EPOCHS):
        log_probs = policy(observations).log_softmax(1).gather(1, actions[:, None])[:, 0]
        ratio = (log_probs - before).exp()
        objective = torch.minimum(ratio * advantage, ratio.clamp(1 - CLIP, 1 + CLIP) * advantage)
        optimiser.zero_grad()
        (-objective.mean()).backward()
        optimiser.step()


def main() -> None:
    """Train on CartPole until the last 100 episodes average 475."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--num-env-runners", type=int, default=2)
    parser.add_argument("--max-iterations", type=int, default=150)
    options = parser.parse_args()
    torch.set_num_threads(1)
    config = distpg.TrainConfig(
        num_env_runners=options.num_env_runners, episodes_per_iteration=16, hidden_sizes=(64,)
    )
    recent: list[float] = []
    with distpg.rollouts(config, log_probs=True) as runners:
        weights = runners.initial_weights
        policy = network(weights)
        optimiser = torch.optim.Adam(policy.parameters(), LR)
        for iteration in range(options.max_iterations):
            batch = runners.collect(iteration, weights)
            improve(policy, optimiser, batch)
            arrays = (parameter.detach().numpy().copy() for parameter in policy.parameters())
            weights = dict(zip(weights, arrays, strict=True))
            recent = [*recent, *batch.episode_returns.tolist()][-100:]
            print(f"iteration {iteration + 1:>3}: return {np.mean(recent):.1f}", flush=True)
            if len(recent) == 100 and np.mean(recent) >= 475:
                break
    print(f"weights {distpg.weights_digest(weights)}")


if __name__ == "__main__":
    main()
