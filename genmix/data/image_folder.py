"""A user's own folder of images."""

from pathlib import Path

import numpy as np
from jaxtyping import Float

_ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
_MOST_PIXELS = 2**26  # of one file, by its header


def load(
    folder: str | Path, *, side: int, channels: int = 3
) -> Float[np.ndarray, "n side side channels"]:
    """Every image of a folder, float32 in [0, 1], in the order of their names.

    The middle square is cut out and resized; with one channel the image is made grey. Folders
    inside are not looked into.

    Raises:
        ValueError: if channels is neither 1 nor 3, side < 1, or a file is damaged or too large.
        FileNotFoundError: if there is no such folder, or no image in it.
    """
    folder = Path(folder)
    if channels not in (1, 3) or side < 1:
        raise ValueError(
            f"channels must be 1 or 3 and side at least 1, got channels {channels}, side {side}."
        )
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder.")
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _ENDINGS)
    if not paths:
        raise FileNotFoundError(f"{folder} holds no images ({', '.join(_ENDINGS)}).")
    return np.stack([_read(path, side, channels) for path in paths])


def _read(path: Path, side: int, channels: int) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            if image.width * image.height > _MOST_PIXELS:
                raise ValueError(
                    f"{path} has {image.width} x {image.height} pixels, more than {_MOST_PIXELS}: "
                    "make it smaller."
                )
            square = ImageOps.fit(
                image.convert("L" if channels == 1 else "RGB"), (side, side), Image.Resampling.BOX
            )
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error
    return np.asarray(square, np.float32).reshape(side, side, channels) / 255
