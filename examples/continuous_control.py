"""Continuous control: numbers as actions, from Python.

python examples/continuous_control.py
"""

import sys
from typing import Any

import distpg


def main(run_dir: str = "runs/pendulum", **options: Any) -> distpg.Result:
    """Train on the swing-up of a pendulum, then let the policy act once."""
    options = {"max_iterations": 300, **options}
    result = distpg.train(
        distpg.TrainConfig(
            env_id="Pendulum-v1",
            action_bounds="tanh",
            baseline="value",
            gae_lambda=0.95,
            gamma=0.95,
            episodes_per_iteration=16,
            max_kl=0.02,
            run_dir=run_dir,
            **options,
        )
    )
    torque = distpg.load_policy(result.run_dir).act([1.0, 0.0, 0.0])
    print(f"upright and at rest, the torque is {torque[0]:.2f}")
    return result


if __name__ == "__main__":
    main(*sys.argv[1:2])
