"""Why an environment cannot be made or drawn, and what to do about it, in words."""

import re
from difflib import get_close_matches

import gymnasium

from distpg.environments.making import EnvSpec
from distpg.errors import EnvironmentIdError, RenderError, in_words

# How ids begin that packages register only once they are imported: the module, and what pip calls it.
_PACKAGES = {
    "MiniGrid-": ("minigrid", "minigrid"),
    "BabyAI-": ("minigrid", "minigrid"),
    "ALE/": ("ale_py", "ale-py"),
    "highway-": ("highway_env", "highway-env"),
    "FlappyBird-": ("flappy_bird_gymnasium", "flappy-bird-gymnasium"),
    "MinAtar/": ("minatar", "minatar"),
    "stocks-": ("gym_anytrading", "gym-anytrading"),
    "forex-": ("gym_anytrading", "gym-anytrading"),
    "dm_control/": ("shimmy", "'shimmy[dm-control]'"),
    "popgym-": ("popgym", "popgym"),
    "SimpleGrid-": ("gym_simplegrid", "gym-simplegrid"),
    "jss-": ("JSSEnv", "JSSEnv"),
    "mo-": ("mo_gymnasium", "mo-gymnasium"),
}


def cannot_make(spec: EnvSpec, error: BaseException) -> EnvironmentIdError:
    """Why there is no such environment: a wrong id, a package that is missing, or what its code raised."""
    env_id = spec.env_id
    is_outdated = isinstance(error, gymnasium.error.DeprecatedEnv)
    if not isinstance(error, gymnasium.error.UnregisteredEnv) and not is_outdated:
        if (install := _install_line(env_id, error)) is not None:
            advice = install
        elif spec.env_kwargs or (isinstance(error, TypeError) and "argument" in in_words(error)):
            advice = "Check --env-kwargs, the environment's own code and the packages it needs."
        else:
            advice = "Check the environment's own code and the packages it needs."
        return EnvironmentIdError(f"{env_id} cannot be made: {in_words(error)}", advice)
    _, colon, name = env_id.rpartition(":")
    same = re.escape(re.sub(r"-v\d+$", "", name))
    versions = [
        int(known[1]) for one in gymnasium.registry if (known := re.fullmatch(rf"{same}-v(\d+)", one))
    ]
    if versions:
        advice = f"Did you mean {re.sub(r'-v[0-9]+$', '', env_id)}-v{max(versions)}?"
    elif (package := _package_of(name)) is not None:
        module, distribution = package
        advice = f"Install it, if it is not: pip install {distribution}. Then: {module}:{name}."
    elif colon:
        advice = "module:EnvId needs a module that can be imported from here and registers EnvId."
    elif close := get_close_matches(name, gymnasium.registry, n=3):
        advice = f"Did you mean {' or '.join(close)}?"
    else:
        advice = "See gymnasium.farama.org for ids; your own is module:EnvId."
    return EnvironmentIdError(f"there is no environment {env_id!r}", advice)


def _package_of(name: str) -> tuple[str, str] | None:
    """The module and the distribution of a package that registers ids which begin so."""
    return next((package for prefix, package in _PACKAGES.items() if name.startswith(prefix)), None)


def _install_line(env_id: str, error: BaseException) -> str | None:
    """The exact command for a package that is missing; None where none is."""
    words = in_words(error)
    if isinstance(error, gymnasium.error.DependencyNotInstalled):
        commands = re.findall(r"`(pip install [^`]+)`", words)
        return f"{' && '.join(commands)}." if commands else "Install it, then try again."
    missing = re.search(r"No module named '([\w.]+)'", words)
    if missing is None:
        return None
    module = missing[1].split(".")[0]
    distributions = dict(_PACKAGES.values())
    if module in distributions:
        return f"pip install {distributions[module]}."
    if env_id.startswith(f"{module}:"):
        return f"{module} is neither in the working directory nor installed."
    return f"pip install {module}, if that is the package's name."


def cannot_draw(env_id: str, error: BaseException) -> RenderError:
    """Why there is no picture of an environment, which plays all the same."""
    words = in_words(error)
    if isinstance(error, (gymnasium.error.DependencyNotInstalled, ImportError)):
        advice = _install_line(env_id, error) or "Install it, then try again."
        if "pygame" in words or "classic" in words or "toy" in words:
            advice = "pip install 'distpg[render]' has what Gymnasium's own need; then try again."
    elif isinstance(error, NotImplementedError):
        advice = "Its class needs a method render, and rgb_array among its render modes."
    elif "'render_mode'" in words:
        advice = "Its constructor needs an argument render_mode, which it keeps as self.render_mode."
    elif re.search(r"GL\b|GLX|EGL|OSMesa|DISPLAY|X11|display|video device", words):
        advice = "It needs a display or OpenGL: try MUJOCO_GL=egl, SDL_VIDEODRIVER=dummy, or xvfb-run."
    else:
        advice = "Its own code that draws failed; all else does without it."
    return RenderError(f"{env_id} cannot be drawn: {words}", advice)
