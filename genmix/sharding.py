"""One mesh with named axes: "data" for examples, "particle" for particles, "chain" for chains.

Nothing here names devices inside the mathematics: what runs under `jax.set_mesh(mesh)` has its
batches, particles and chains laid out along the axes of that mesh, and the compiler places the
collectives, the logsumexp over sharded particles among them.
"""

import math
from collections.abc import Sequence

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import PyTree

AXES = ("data", "particle", "chain")


def make_mesh(*, data: int = 1, particle: int = 1, chain: int = 1) -> Mesh:
    """Mesh of data x particle x chain devices, all that there are on all hosts.

    Raises:
        ValueError: if the sizes are not positive or their product is not the number of devices.
    """
    num_devices = jax.device_count()
    sizes = (data, particle, chain)
    if min(sizes) < 1 or math.prod(sizes) != num_devices:
        names = f"data={data},particle={particle}" + (f",chain={chain}" if chain != 1 else "")
        raise ValueError(
            f"the mesh {names} needs {math.prod(sizes)} devices, but there are {num_devices}: "
            f"choose sizes whose product is {num_devices}."
        )
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def parse(text: str, axes: Sequence[str] = ("data", "particle")) -> Mesh:
    """Mesh from a description such as "data=4,particle=2"; an axis left out has size 1.

    Args:
        axes: those that may be named.

    Raises:
        ValueError: if the description is not of that form.
    """
    sizes: dict[str, int] = {}
    for item in text.split(","):
        name, _, size = (part.strip() for part in item.partition("="))
        if name not in axes or name in sizes or not size.isdecimal():
            form = ",".join(f"{axis}={axis[0].upper()}" for axis in axes)
            raise ValueError(f"a mesh is described as {form} with whole numbers, got {text!r}.")
        sizes[name] = int(size)
    return make_mesh(**sizes)


def axis_size(name: str) -> int:
    """Devices along an axis of the mesh in use; 1 without a mesh."""
    mesh = jax.sharding.get_abstract_mesh()
    return mesh.shape.get(name, 1) if not mesh.empty else 1


def rounded_up(length: int, axis: str) -> int:
    """The next multiple of an axis of the mesh in use."""
    size = axis_size(axis)
    return -(-length // size) * size


def along(x: PyTree, axis: str, what: str) -> PyTree:
    """Lay the first axis of each array out along an axis of the mesh in use, if it has one.

    Raises:
        ValueError: if the length is not a multiple of the axis; `what` names the length.
    """
    size = axis_size(axis)
    if size == 1:
        return x
    length = jax.tree.leaves(x)[0].shape[0]
    if length % size:
        raise ValueError(
            f"{what} must be a multiple of {size}, the devices along {axis!r}; got {length}."
        )
    return jax.tree.map(lambda a: jax.lax.with_sharding_constraint(a, P(axis)), x)


def spmd_axis(name: str) -> str | None:
    """What `jax.vmap(spmd_axis_name=...)` is told, for a mapped axis that lies along the mesh."""
    return name if axis_size(name) > 1 else None


def replicated(tree: PyTree) -> PyTree:
    """Put arrays on every device of the mesh in use; as they are without a mesh."""
    mesh = jax.sharding.get_mesh()
    return tree if mesh.empty else jax.device_put(tree, NamedSharding(mesh, P()))


def batches_along_data(blocks: PyTree) -> PyTree:
    """Put NumPy arrays [batches, examples, ...] on the devices, examples along "data".

    Of several hosts each gives its own part of every batch, in the order of the hosts.
    """
    mesh = jax.sharding.get_mesh()
    if mesh.empty:
        return jax.device_put(blocks)
    layout = NamedSharding(mesh, P(None, "data"))
    return jax.tree.map(lambda a: jax.make_array_from_process_local_data(layout, a), blocks)


def whole(tree: PyTree) -> PyTree:
    """Have every device of the mesh in use hold all of each array; for use inside `jit`."""
    if jax.sharding.get_abstract_mesh().empty:
        return tree
    return jax.tree.map(lambda a: jax.lax.with_sharding_constraint(a, P()), tree)


def scattered(tree: PyTree, *, min_size: int = 2**16) -> PyTree:
    """Split large arrays along "data", each by its longest axis that divides evenly.

    For parameters and optimizer states too large to be repeated on every device; arrays of fewer
    than `min_size` elements stay whole. Inside `jit` a constraint, outside a transfer.

    Source: Rajbhandari et al. (2020), arXiv:1910.02054, section 5 (ZeRO, stage 3).
    """
    size = axis_size("data")
    if size == 1:
        return whole(tree)

    def split(a: jax.Array) -> jax.Array:
        axes = [i for i, n in enumerate(a.shape) if n % size == 0]
        if a.size < min_size or not axes:
            return jax.lax.with_sharding_constraint(a, P())
        longest = max(axes, key=lambda i: a.shape[i])
        spec = P(*("data" if i == longest else None for i in range(a.ndim)))
        return jax.lax.with_sharding_constraint(a, spec)

    return jax.tree.map(split, tree)
