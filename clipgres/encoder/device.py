"""What can go wrong with the device that a model runs on: it has too little memory, or it is lost to this process."""

from __future__ import annotations

from collections.abc import Callable

import torch

from clipgres.encoder.api import Vectors
from clipgres.errors import DeviceLost

# CUDA fails whatever a process does after one of these, until the process has ended.
FOR_GOOD = (
    "device-side assert",
    "illegal memory access",
    "illegal instruction",
    "illegal address",
    "misaligned address",
    "unspecified launch failure",
    "launch timed out",
    "hardware stack error",
    "uncorrectable ECC",
    "context is destroyed",
)


def on_device(run: Callable[[], Vectors]) -> Vectors:
    """Run the model once.

    Raises:
        MemoryError: the device has too little memory for so much at once; what the run had taken is free again.
        DeviceLost: nothing runs on the device any more, in this process.
    """
    try:
        return run()
    except torch.OutOfMemoryError as error:
        words = str(error)
    except RuntimeError as error:
        if any(words in str(error) for words in FOR_GOOD):
            raise DeviceLost(f"the device of the model is lost to this process: {_first_line(error)}") from error
        raise
    # Not before the error is gone: it holds the frames of the run, and they hold what was computed so far.
    torch.cuda.empty_cache()
    raise MemoryError(words)


def _first_line(error: RuntimeError) -> str:
    return str(error).partition("\n")[0]
