"""Several processes that run the same program on one mesh of all their devices.

All call the same functions in the same order, since every computation is a joint one; what is not
joint, files above all, is the business of the first process.
"""

import re
from collections.abc import Callable

import jax
import numpy as np
from jax.experimental import multihost_utils

_BY_HAND = re.compile(r"(\S+:\d+),(\d+)/(\d+)", re.ASCII)


def join(text: str) -> None:
    """Join the processes of a run, before this one does anything else with devices.

    Args:
        text: "auto" where what starts the processes tells them of one another (SLURM, Open MPI, TPU
            pods, Kubernetes); otherwise "HOST:PORT,I/N": a free port of process 0's host under a
            name that the others know, and which of how many processes this one is.

    Raises:
        ValueError: if the text is not of that form, or nothing tells of other processes.
    """
    if text == "auto":
        try:
            jax.distributed.initialize()
        except ValueError as error:
            raise ValueError(
                f"nothing here tells of other processes ({error}): describe them as HOST:PORT,I/N."
            ) from error
        return
    by_hand = _BY_HAND.fullmatch(text)
    port = 0 if by_hand is None else int(by_hand[1].rpartition(":")[2])
    if by_hand is None or int(by_hand[2]) >= int(by_hand[3]) or not 1 <= port <= 65535:
        raise ValueError(
            f"processes are described as auto or HOST:PORT,I/N with I from 0 to N - 1 and "
            f"PORT from 1 to 65535, such as 10.0.0.1:1234,0/2; got {text!r}."
        )
    jax.distributed.initialize(
        by_hand[1], int(by_hand[3]), int(by_hand[2]), cluster_detection_method="deactivate"
    )


def first_does(work: Callable[[], object]) -> None:
    """Have the first process do what one must do, while the others wait.

    What it raises it raises; the others raise an OSError then, so that none is waited for in vain.
    """
    error = None
    if jax.process_index() == 0:
        try:
            work()
        except Exception as raised:
            error = raised
    has_failed = multihost_utils.broadcast_one_to_all(np.array(error is not None))
    if error is not None:
        raise error
    if has_failed:
        raise OSError("process 0 has stopped; its message says why.")


def largest(value: int) -> int:
    """The largest of the values that the processes give; all call it."""
    if jax.process_count() == 1:
        return value
    return int(np.max(multihost_utils.process_allgather(np.array(value, np.int32))))
