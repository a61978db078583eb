"""Settings of torch and NumPy that decide the learner's bits, whatever an environment here sets."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

_CPU = torch.device("cpu")


def _flushes_denormals() -> bool:
    return sys.float_info.min / 2 == 0


def _set_default_device(device: torch.device) -> None:
    # Naming the CPU would send every call through Python; None is the CPU too.
    torch.set_default_device(None if device == _CPU else device)


# How each is asked for and set, and what the learner needs.
_SETTINGS: tuple[tuple[Callable[[], Any], Callable[[Any], object], Any], ...] = (
    # Sums within one operation would depend on its threads. The configuration's go to whole chunks.
    (torch.get_num_threads, torch.set_num_threads, 1),
    (torch.get_default_dtype, torch.set_default_dtype, torch.float32),
    (torch.get_default_device, _set_default_device, _CPU),
    (torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, 0),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest"),
    (lambda: torch.is_autocast_enabled("cpu"), lambda on: torch.set_autocast_enabled("cpu", on), False),
    (torch.is_grad_enabled, torch.set_grad_enabled, True),
    (_flushes_denormals, torch.set_flush_denormal, False),
)


@contextlib.contextmanager
def own_settings() -> Iterator[None]:
    """The learner's settings meanwhile, then those that were found; what is right already is not touched.

    NumPy says nothing of overflows: the learner itself checks that its numbers are finite.
    """
    with contextlib.ExitStack() as back:
        for ask, change, needed in _SETTINGS:
            if (found := ask()) != needed:
                back.callback(change, found)
                change(needed)
        if torch.is_inference_mode_enabled():
            back.enter_context(torch.inference_mode(False))
        back.enter_context(np.errstate(all="ignore"))
        yield
