"""Memory that cannot be had is refused with its size, before it is asked for."""

import math
import os
from pathlib import Path

import jax
from jaxtyping import PyTree

_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def available() -> int:
    """Bytes of the first device; of a CPU all of the machine's memory, what it swaps to included.

    A number beyond all machines where nothing tells.
    """
    device = jax.devices()[0]
    if device.platform != "cpu":
        return int((device.memory_stats() or {}).get("bytes_limit", 2**62))
    try:
        pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # no POSIX
        return 2**62
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        lines = []
    swap = [int(line.split()[1]) for line in lines if line.startswith("SwapTotal:")]
    return pages + 1024 * sum(swap)


def size(arrays: PyTree) -> int:
    """Bytes of arrays, or of shapes of such."""
    leaves = [leaf for leaf in jax.tree.leaves(arrays) if hasattr(leaf, "dtype")]
    return sum(math.prod(leaf.shape) * leaf.dtype.itemsize for leaf in leaves)


def require(num_bytes: int, what: str) -> None:
    """Refuse what would take more memory than there is.

    Raises:
        MemoryError: naming what, how much it would take, and how much there is.
    """
    if num_bytes > (there := available()):
        raise MemoryError(
            f"{what} would take {words(num_bytes)} of memory, and there are {words(there)}: use "
            "smaller networks, batches or numbers of particles."
        )


def require_program(program: jax.stages.Compiled, what: str) -> None:
    """Refuse a compiled program whose arguments, results and temporaries do not fit together.

    Raises:
        MemoryError: as `require`.
    """
    if (needs := program.memory_analysis()) is not None:
        kept = needs.argument_size_in_bytes + needs.output_size_in_bytes
        require(kept + needs.temp_size_in_bytes - needs.alias_size_in_bytes, what)


def words(num_bytes: int) -> str:
    """A number of bytes as people write it, such as 1.6 TB."""
    power = min((len(str(num_bytes)) - 1) // 3, len(_UNITS) - 1)
    return f"{num_bytes / 1000**power:.3g} {_UNITS[power]}"
