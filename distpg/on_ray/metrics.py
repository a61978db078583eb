"""A run's figures as Ray application metrics, so that whatever watches a cluster (Prometheus) sees them."""

import time
from collections.abc import Mapping
from typing import Any

from ray.util.metrics import Gauge

_EVERY_S = 1.0
# Our name of a figure, and what Prometheus shows beside it.
_FIGURES = {
    "training_iteration": "Iterations done.",
    "env_steps_per_s": "Environment steps a second in the last iteration.",
    "episodes_per_s": "Episodes a second in the last iteration.",
    "episode_return_mean_100": "Mean return of the last 100 episodes.",
    "num_env_steps_sampled_lifetime": "Environment steps so far.",
    "num_healthy_env_runners": "Runners that can take a task.",
    "num_env_runner_restarts": "Runners replaced.",
}


class RayMetrics:
    """Publishes a run's figures as ``ray_distpg_<figure>{run="..."}``, about once a second."""

    def __init__(self, run: str) -> None:
        self._next, self._gauges = 0.0, {}
        for name, description in _FIGURES.items():
            self._gauges[name] = Gauge(f"distpg_{name}", description=description, tag_keys=("run",))
            self._gauges[name].set_default_tags({"run": run})

    def publish(self, metrics: Mapping[str, Any]) -> None:
        """Tell the cluster of an iteration, unless it was told a moment ago."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EVERY_S
        for name, gauge in self._gauges.items():
            gauge.set(metrics[name])
