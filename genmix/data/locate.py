"""Where the files of a data set lie under the folder that the user named."""

from pathlib import Path


def file(data_dir: Path | None, folder: str, name: str, *, may_be_gzipped: bool = False) -> Path:
    """The file `name` of the data set that keeps its files in `folder`.

    `data_dir` is the folder that holds `folder`, or is that folder itself. IDX files may have a dot
    before "idx", as some archives unpack them.

    Raises:
        ValueError: if no `data_dir` was given.
        FileNotFoundError: if the file is in neither place.
    """
    expected = name + ("(.gz)" if may_be_gzipped else "")
    if data_dir is None:
        raise ValueError(
            f"this data set is read from files, {folder}/{expected} among them: pass the folder "
            f"that holds {folder}/ as data_dir (on a command line: --data-dir DIR)."
        )
    suffixes = ("", ".gz") if may_be_gzipped else ("",)
    for place in (data_dir / folder, data_dir):
        for spelt in (name, name.replace("-idx", ".idx")):
            for suffix in suffixes:
                if (found := place / (spelt + suffix)).is_file():
                    return found
    reason = "there is no such file" if data_dir.is_dir() else f"{data_dir} is not a folder"
    raise FileNotFoundError(
        f"expected {data_dir / folder / expected}, but {reason}: pass the folder that holds "
        f"{folder}/ as data_dir (on a command line: --data-dir DIR)."
    )


def archive(data_dir: Path, folder: str) -> Path | None:
    """An NPZ archive called as the folder is, in the folder or beside it; None if there is none."""
    places = (data_dir / folder, data_dir)
    return next((p for place in places if (p := place / f"{folder}.npz").is_file()), None)


def exists(data_dir: Path, folder: str, name: str) -> bool:
    """Whether there is such a file, in the folder or beside it."""
    return any((place / name).is_file() for place in (data_dir / folder, data_dir))
