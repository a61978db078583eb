"""Which sampler plays the episodes of a runner."""

from distpg.sampling.compiled_sampler import CompiledSampler
from distpg.sampling.gymnasium_sampler import GymnasiumSampler
from distpg.sampling.runner_spec import EnvRunnerSpec


def new_sampler(spec: EnvRunnerSpec) -> GymnasiumSampler | CompiledSampler:
    """The sampler of such runners; its first call may have to compile."""
    if spec.sampler == "compiled":
        wanted = (spec.log_probs, spec.rewards, spec.finals)
        return CompiledSampler(spec.env, spec.policy, spec.seed, spec.gamma, spec.returns, *wanted)
    return GymnasiumSampler(
        spec.env, spec.policy, spec.seed, env_reuse=spec.env_reuse, log_probs=spec.log_probs
    )
