"""Pictures of images and of training curves, as PNG files."""

import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import ArrayLike, Float, Int, Shaped, UInt8

_MIN_CELL = 56  # pixels: an 8x8 digit is drawn seven times as large
_LINE = 2  # pixels between two cells
_LINE_GREY = 110
# Okabe & Ito (2008): told apart by colour-blind readers too.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#F0E442")


def image_grid(
    images: Shaped[ArrayLike, "..."], columns: int
) -> UInt8[np.ndarray, "grid_height grid_width channels"]:
    """Images with values in [0, 1], row by row in a grid; small ones are enlarged.

    Values outside [0, 1] are drawn as the nearest end, since samples of a density may lie there.

    Raises:
        ValueError: if the images are not of shape [n, height, width, 1 or 3], hold levels such as
            0 .. 255, or columns < 1.
    """
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[-1] not in (1, 3) or not len(images):
        raise ValueError(f"images must be [n, height, width, 1 or 3], got shape {images.shape}.")
    top = images.max()
    if top > 1 and images.min() >= 0 and np.all(images == np.floor(images)):
        raise ValueError(
            f"images must have values in [0, 1], got levels up to {top}: divide them by the "
            "largest level that there can be, such as 255."
        )
    if columns < 1:
        raise ValueError(f"columns must be at least 1, got {columns}.")
    num_images, height, width, channels = images.shape
    zoom = max(1, -(-_MIN_CELL // max(height, width)))
    rows = -(-num_images // columns)
    cells = np.repeat(np.repeat(images, zoom, axis=1), zoom, axis=2)
    cells = np.round(255 * np.clip(cells, 0, 1)).astype(np.uint8)
    step_y, step_x = height * zoom + _LINE, width * zoom + _LINE
    shape = (rows * step_y + _LINE, columns * step_x + _LINE, channels)
    grid = np.full(shape, _LINE_GREY, np.uint8)
    for i, cell in enumerate(cells):
        y, x = _LINE + (i // columns) * step_y, _LINE + (i % columns) * step_x
        grid[y : y + height * zoom, x : x + width * zoom] = cell
    return grid


def save_png(path: str | Path, image: UInt8[np.ndarray, "height width channels"]) -> None:
    """Write an image; at any moment the file is the old one or the whole new one."""
    from PIL import Image

    buffer = io.BytesIO()
    pixels = image[..., 0] if image.shape[-1] == 1 else image
    Image.fromarray(pixels).save(buffer, format="PNG", optimize=True)
    _replace(Path(path), buffer.getvalue())


def save_samples(
    path: str | Path, samples: Shaped[ArrayLike, "n height width channels"], *, columns: int = 10
) -> None:
    """Draw samples, with values in [0, 1], in a grid."""
    save_png(path, image_grid(samples, columns))


def save_grid(
    path: str | Path, images: Shaped[ArrayLike, "rows columns height width channels"]
) -> None:
    """Draw images, with values in [0, 1], that are in rows and columns already."""
    images = np.asarray(images)
    save_samples(path, images.reshape(-1, *images.shape[2:]), columns=images.shape[1])


def save_reconstructions(
    path: str | Path,
    originals: Float[ArrayLike, "..."],
    reconstructions: Float[ArrayLike, "..."],
    *,
    columns: int = 10,
) -> None:
    """Draw rows of originals, each with the row of its reconstructions below it."""
    originals, reconstructions = np.asarray(originals), np.asarray(reconstructions)
    if originals.shape != reconstructions.shape:
        raise ValueError(
            f"originals and reconstructions differ in shape: {originals.shape} and "
            f"{reconstructions.shape}."
        )
    rows = []
    for start in range(0, len(originals), columns):
        for images in (originals, reconstructions):
            row = images[start : start + columns]
            blank = np.zeros((columns - len(row), *row.shape[1:]), row.dtype)
            rows.append(np.concatenate([row, blank]))
    save_png(path, image_grid(np.concatenate(rows), columns))


def save_curves(
    path: str | Path,
    curves: Mapping[str, tuple[np.ndarray, np.ndarray]],
    *,
    x_label: str,
    y_label: str,
    y_quantile: float = 0.05,
) -> None:
    """Draw curves {label: (x, y)} in one diagram.

    The vertical axis starts at the `y_quantile` of all values, so that the first steps of a
    training run do not press the rest into a line.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    are_many = len(curves) > 5
    figure = Figure(figsize=(10 if are_many else 7, 4.5), dpi=150, layout="constrained")
    axes = figure.add_subplot()
    values = []
    for i, (label, (x, y)) in enumerate(curves.items()):
        colour, dash = _COLOURS[i % len(_COLOURS)], ("-", "--", ":")[i // len(_COLOURS) % 3]
        axes.plot(x, y, dash, label=label, color=colour, linewidth=1.5)
        values.append(np.asarray(y)[np.isfinite(y)])
    flat = np.concatenate([*values, np.zeros(0)])
    if flat.size and (low := np.quantile(flat, y_quantile)) < flat.max():
        axes.set_ylim(bottom=low, top=flat.max() + 0.05 * (flat.max() - low))
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    if are_many:  # they leave no room among them
        place: Any = "outside right upper"  # matplotlib's types do not know it
        figure.legend(loc=place, frameon=False)
    elif curves:
        axes.legend(frameon=False)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    _replace(Path(path), buffer.getvalue())


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(content)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def save_panels(
    path: str | Path,
    panels: Mapping[str, Mapping[str, tuple[ArrayLike, ArrayLike]]],
    *,
    x_label: str,
) -> None:
    """Draw curves {title: {label: (x, y)}}, a panel for each title, on the same axes.

    The labels are those of the first panel.

    Raises:
        ValueError: if there are no panels.
    """
    from matplotlib.figure import Figure

    if not panels:
        raise ValueError("there is nothing to draw: panels is empty.")
    figure = Figure(figsize=(2.6 * len(panels) + 2, 2.8), dpi=130, layout="constrained")
    shared: Any = {"squeeze": False, "sharex": True, "sharey": True}
    every_axes = np.ravel(figure.subplots(1, len(panels), **shared))
    for axes, (title, curves) in zip(every_axes, panels.items(), strict=True):
        for i, (label, (x, y)) in enumerate(curves.items()):
            line: Any = ("-", "-", "-", "--")[i % 4]
            axes.plot(x, y, line, label=label, color=_COLOURS[i % len(_COLOURS)], linewidth=1.3)
        axes.set(title=title, xlabel=x_label)
        axes.grid(alpha=0.3)
    handles, _ = every_axes[0].get_legend_handles_labels()
    place: Any = "outside right"  # matplotlib's types do not know it
    figure.legend(handles=handles, loc=place, frameon=False)
    _save_figure(path, figure)


def save_log_panels(
    path: str | Path,
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    *,
    x_label: str,
    y_label: str,
    powers: Mapping[str, float] | None = None,
) -> None:
    """Draw curves {title: {label: (x, y)}} on logarithmic axes, a panel for each title.

    The labels are those of the first panel. Points that are not positive have no place on such axes
    and are left out.

    Args:
        powers: {label: exponent} of grey lines y = c x^exponent to compare slopes with; c puts them
            where the middle of the panel is.

    Raises:
        ValueError: if there are no panels.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    if not panels:
        raise ValueError("there is nothing to draw: panels is empty.")
    figure = Figure(figsize=(4.5 * len(panels) + 2, 4.5), dpi=130, layout="constrained")
    every_axes = np.ravel(figure.subplots(1, len(panels), squeeze=False))
    for axes, (title, curves) in zip(every_axes, panels.items(), strict=True):
        drawn = [np.zeros((2, 0))]
        for i, (label, (x, y)) in enumerate(curves.items()):
            x, y = np.asarray(x, float), np.asarray(y, float)
            shown = (x > 0) & (y > 0)
            # Open marks of different sizes, so that curves which coincide are all seen.
            axes.plot(x[shown], y[shown], "osD^v<>P"[i % 8] + "-", label=label, linewidth=1.5,
                      color=_COLOURS[i % len(_COLOURS)], markersize=4 + 2 * (i % 4),
                      markerfacecolor="none")  # fmt: skip
            drawn.append(np.log(np.stack([x[shown], y[shown]])))
        _draw_powers(axes, np.concatenate(drawn, axis=1), powers or {})
        axes.set(title=title, xlabel=x_label, ylabel=y_label, xscale="log", yscale="log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
    handles, _ = every_axes[0].get_legend_handles_labels()
    place: Any = "outside right"  # matplotlib's types do not know it
    figure.legend(handles=handles, loc=place, frameon=False)
    _save_figure(path, figure)


def save_scatter(
    path: str | Path,
    points: Float[ArrayLike, "n 2"],
    labels: Int[ArrayLike, " n"] | None = None,
    *,
    x_label: str,
    y_label: str,
) -> None:
    """Draw points in the plane, coloured by label; up to ten labels are written at their medians.

    Raises:
        ValueError: if the points are not of shape [n, 2], or there are not as many labels.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    points = np.asarray(points)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"points must be [n, 2], got shape {points.shape}.")
    labels = np.zeros(len(points), int) if labels is None else np.asarray(labels)
    if labels.shape != (len(points),):
        raise ValueError(f"{len(points)} points need as many labels, got shape {labels.shape}.")
    figure = Figure(figsize=(6, 6), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    names = np.unique(labels)
    few = len(names) <= 10
    colours = colormaps["tab10"] if few else colormaps["turbo"].resampled(len(names))
    size = float(np.clip(6000 / max(len(points), 1), 2, 25))
    for i, name in enumerate(names):
        cloud = points[labels == name]
        axes.scatter(cloud[:, 0], cloud[:, 1], s=size, color=colours(i), linewidths=0, alpha=0.7)
        if few and len(names) > 1:
            box = {"facecolor": colours(i), "edgecolor": "white", "boxstyle": "circle,pad=0.25"}
            x, y = np.median(cloud, axis=0)
            axes.text(x, y, str(name), bbox=box, color="white", ha="center", va="center")
    axes.set(xlabel=x_label, ylabel=y_label, aspect="equal")
    axes.grid(alpha=0.3)
    _save_figure(path, figure)


def save_scatters(
    path: str | Path,
    panels: Mapping[str, Float[ArrayLike, "n 2"]],
    labels: Int[ArrayLike, " n"],
    *,
    reach: float,
) -> None:
    """Draw points in the plane in panels side by side, coloured by label; up to ten labels.

    Args:
        panels: {title: points}, the same events in each.
        reach: panels show the square from -reach to reach.

    Raises:
        ValueError: if there are no panels, points are not of shape [n, 2], or there are not as many
            labels.
    """
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    labels, width = np.asarray(labels), len(panels)
    found = {title: np.asarray(points) for title, points in panels.items()}
    if not panels or any(points.shape != (len(labels), 2) for points in found.values()):
        shapes = [points.shape for points in found.values()]
        raise ValueError(f"panels must be points [{len(labels)}, 2], one a label, got {shapes}.")
    figure = Figure(figsize=(3.2 * width + 0.8, 3.4), dpi=130, layout="constrained")
    every_axes = figure.subplots(1, width, squeeze=False)[0]
    for axes, (title, points) in zip(every_axes, found.items(), strict=True):
        for i, name in enumerate(np.unique(labels)):
            cloud = points[labels == name]
            axes.scatter(*cloud.T, s=6, color=colormaps["tab10"](i % 10), linewidths=0, alpha=0.7,
                         label=str(name))  # fmt: skip
        axes.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title)
        axes.grid(alpha=0.3)
    handles, names = every_axes[0].get_legend_handles_labels()
    place: Any = "outside right center"
    figure.legend(handles, names, loc=place, frameon=False, markerscale=2)
    _save_figure(path, figure)


def save_sheet(
    path: str | Path, rows: Mapping[str, Float[ArrayLike, "n height width channels"]]
) -> None:
    """Draw images in [0, 1], a row of as many for each name, which stands at its left.

    Raises:
        ValueError: if there are no rows, or they differ in shape.
    """
    from matplotlib.figure import Figure

    shapes = {np.shape(images) for images in rows.values()}
    if len(shapes) != 1:
        raise ValueError(f"rows must all have one shape, got {sorted(shapes)}.")
    count = shapes.pop()[0]
    figure = Figure(figsize=(2.2 + 0.5 * count, 0.55 * len(rows)), dpi=130, layout="constrained")
    for axes, (name, images) in zip(
        figure.subplots(len(rows), 1, squeeze=False)[:, 0], rows.items(), strict=True
    ):
        grid = image_grid(np.asarray(images), columns=count)
        axes.imshow(
            grid.squeeze(-1) if grid.shape[-1] == 1 else grid, cmap="gray", vmin=0, vmax=255
        )
        axes.set(xticks=[], yticks=[], anchor="W")
        axes.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
        for spine in axes.spines.values():
            spine.set_visible(False)
    _save_figure(path, figure)


def save_named_points(
    path: str | Path, points: Mapping[str, tuple[float, float]], *, x_label: str, y_label: str
) -> None:
    """Draw points in the plane, each with a number, and the numbers' names at the side."""
    from matplotlib import colormaps
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 5.5), dpi=130, layout="constrained")
    axes = figure.add_subplot()
    colours = colormaps["turbo"].resampled(max(len(points), 2))
    for i, (name, (x, y)) in enumerate(points.items()):
        label = f"{i + 1}  {name}"
        axes.plot(x, y, "o", markersize=13, color=colours(i), alpha=0.6, label=label)
        axes.annotate(str(i + 1), (x, y), ha="center", va="center", fontsize=8)
    axes.set(xlabel=x_label, ylabel=y_label)
    axes.margins(0.1)
    axes.grid(alpha=0.3)
    handles, _ = axes.get_legend_handles_labels()
    place: Any = "outside right upper"  # matplotlib's types do not know it
    figure.legend(handles=handles, loc=place, frameon=False, fontsize=8)
    _save_figure(path, figure)


def save_fields(
    path: str | Path,
    rows: Mapping[str, Mapping[str, Float[ArrayLike, "height width"]]],
    extents: Mapping[str, tuple[float, float, float, float]],
) -> None:
    """Draw functions of the plane, such as densities, side by side: a row for each name.

    The panels of a row share their colours, from zero to the largest value of the first one.

    Args:
        rows: {row: {column: values}}; the first index of the values goes upwards.
        extents: (left, right, bottom, top) of the panels of each row.

    Raises:
        ValueError: if there is nothing to draw, or the rows differ in their columns.
    """
    from matplotlib.figure import Figure

    columns = [list(row) for row in rows.values()]
    if not columns or not columns[0] or any(names != columns[0] for names in columns):
        raise ValueError(f"every row needs the same columns, at least one, got {columns}.")
    height, width = len(rows), len(columns[0])
    figure = Figure(figsize=(1.6 * width + 0.4, 1.6 * height + 0.3), dpi=130, layout="constrained")
    every_axes = figure.subplots(height, width, squeeze=False)
    for i, (name, row) in enumerate(rows.items()):
        axes_row = every_axes[i]
        top = float(np.max(np.asarray(row[columns[0][0]])))
        for axes, (column, values) in zip(axes_row, row.items(), strict=True):
            axes.imshow(np.asarray(values), origin="lower", extent=extents[name], vmin=0, vmax=top,
                        cmap="magma", aspect="auto", interpolation="bilinear")  # fmt: skip
            axes.set(xticks=[], yticks=[])
            if i == 0:
                axes.set_title(column, fontsize=9)
        axes_row[0].set_ylabel(name.replace("_", " "), fontsize=9)
    _save_figure(path, figure)


def save_clouds(
    path: str | Path, rows: Mapping[str, Mapping[str, Float[ArrayLike, "n 2"]]], *, reach: float
) -> None:
    """Draw points in the plane side by side, such as a film of how they move: a row for each name.

    Args:
        rows: {row: {column: points}}.
        reach: panels show the square from -reach to reach.

    Raises:
        ValueError: if there is nothing to draw, or the rows differ in their columns.
    """
    from matplotlib.figure import Figure

    columns = [list(row) for row in rows.values()]
    if not columns or not columns[0] or any(names != columns[0] for names in columns):
        raise ValueError(f"every row needs the same columns, at least one, got {columns}.")
    height, width = len(rows), len(columns[0])
    figure = Figure(figsize=(1.6 * width + 0.4, 1.6 * height + 0.3), dpi=130, layout="constrained")
    every_axes = figure.subplots(height, width, squeeze=False)
    for (name, row), axes_row in zip(rows.items(), every_axes, strict=True):
        for axes, (column, points) in zip(axes_row, row.items(), strict=True):
            axes.scatter(*np.asarray(points).T, s=1, linewidths=0, alpha=0.6)
            limits = (-reach, reach)
            axes.set(xticks=[], yticks=[], xlim=limits, ylim=limits, aspect="equal")
            if name == next(iter(rows)):
                axes.set_title(column, fontsize=9)
        axes_row[0].set_ylabel(name, fontsize=9)
    _save_figure(path, figure)


def save_histograms(
    path: str | Path, rows: Mapping[str, Mapping[str, Float[ArrayLike, "n 2"]]], *, reach: float
) -> None:
    """Draw how many points lie where in the plane, side by side: a row for each name.

    Colours are of the square roots of counts, so that what is rare is seen.

    Args:
        rows: {row: {column: points}}.
        reach: panels show the square from -reach to reach.

    Raises:
        ValueError: if there is nothing to draw, or the rows differ in their columns.
    """
    square = [[-reach, reach]] * 2

    def counts(points: ArrayLike) -> np.ndarray:
        x, y = np.asarray(points).T
        return np.histogram2d(y, x, bins=60, range=square)[0] ** 0.5

    fields = {name: {label: counts(x) for label, x in row.items()} for name, row in rows.items()}
    save_fields(path, fields, dict.fromkeys(fields, (-reach, reach, -reach, reach)))


def _draw_powers(axes: Any, log_points: np.ndarray, powers: Mapping[str, float]) -> None:
    """Grey lines of given slopes through the middle of a panel with logarithmic axes."""
    if not log_points.size:
        return
    low, high = log_points.min(axis=1), log_points.max(axis=1)
    middle = (low + high) / 2
    for (label, exponent), dash in zip(powers.items(), ("--", ":", "-."), strict=False):
        log_x = np.array([low[0], high[0]])
        y = np.exp(middle[1] + exponent * (log_x - middle[0]))
        axes.plot(np.exp(log_x), y, dash, color="0.6", linewidth=1, label=label, zorder=1)


def _save_figure(path: str | Path, figure: Any) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)
    _replace(Path(path), buffer.getvalue())
