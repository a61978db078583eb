"""The policy-gradient loss and its derivatives: pure functions of tensors."""

from collections.abc import Sequence

import torch
from torch import Tensor


def policy_gradient_loss(
    log_probs: Tensor, advantages: Tensor, num_episodes: int, entropy: Tensor | None = None
) -> Tensor:
    """REINFORCE's loss, whose gradient is minus the estimate of the gradient of J.

    Williams, "Simple statistical gradient-following algorithms for connectionist reinforcement learning"
    (1992), equation 11; article, REINFORCE: grad J = E[sum over t of grad log pi(a_t|s_t) * (G_t - b)]. The
    sum runs over all steps of the batch, the expectation is the mean over its *episodes*: dividing by the
    number of steps would weight a step of a short batch more than one of a long batch.

    Args:
        log_probs: float32[N], log pi(a_t|s_t).
        advantages: float32[N], without gradient.
        num_episodes: E, complete episodes in the batch.
        entropy: float32[N], what each step's entropy adds to its term: coefficient times entropy (Williams
            and Peng, "Function optimization using connectionist reinforcement learning algorithms", 1991).

    Returns:
        A scalar.
    """
    terms = log_probs * advantages
    if entropy is not None:
        terms = terms + entropy
    return -terms.sum() / num_episodes


def preference_gradient(
    log_pi: Tensor,
    rows: Tensor,
    advantages: Tensor,
    num_episodes: int,
    entropy_coef: float = 0.0,
    sizes: Sequence[int] = (),
) -> Tensor:
    """The gradient of :func:`policy_gradient_loss` by the action preferences h of a softmax policy.

    d log pi(a) / d h(k) = 1[k = a] - pi(k): Sutton and Barto, "Reinforcement Learning", 2nd edition,
    equation 13.9, each preference being a feature of its own. Of the entropy H,
    d H / d h(k) = -pi(k) (log pi(k) + H).

    Args:
        log_pi: float32[A, N], log pi(.|s_t): a column a step; so is the gradient.
        rows: int64[parts, N], those of ``log_pi`` that were chosen; ``advantages``: float32[N].
        sizes: Rows of each part of an action; default: there is one.
    """
    pi = log_pi.exp()
    weights = advantages / num_episodes
    gradient = (pi * weights).scatter_add_(0, rows, -weights.expand(rows.shape))
    if entropy_coef > 0:
        parts = torch.split(log_pi, list(sizes) or len(log_pi))
        by_part = torch.cat([part + entropies(part) for part in parts])
        gradient += entropy_coef / num_episodes * pi * by_part
    return gradient


def entropies(log_pi: Tensor) -> Tensor:
    """Entropy of the policy in each of N states, in nats, float32[N], from log pi float32[A, N].

    Source: Shannon, "A mathematical theory of communication" (1948), section 6.
    """
    return -(log_pi.exp() * log_pi).sum(dim=0)


def truncated_ratios(log_probs: Tensor, log_probs_then: Tensor, limit: float) -> Tensor:
    """min(limit, pi(a_t|s_t) / pi_then(a_t|s_t)), float32[N], from log-probabilities float32[N].

    What weights a step that older weights played: Espeholt et al., "IMPALA: scalable distributed deep-RL with
    importance weighted actor-learner architectures" (2018), section 4.1. Truncating bounds the variance, and
    is a bias. The loss is not differentiated by these weights.
    """
    return (log_probs - log_probs_then).exp_().clamp_(max=limit)


def clip_by_norm(gradient: Tensor, norm: float, limit: float | None) -> Tensor:
    """A gradient scaled down so that its Euclidean norm, given, is at most ``limit``.

    Source: Pascanu, Mikolov and Bengio, "On the difficulty of training recurrent neural networks" (2013).
    """
    return gradient if limit is None or norm <= limit else gradient * (limit / norm)
