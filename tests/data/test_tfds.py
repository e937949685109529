import io
import subprocess
import sys

import numpy as np
import PIL.Image
import pytest
import tensorflow_datasets as tfds
from tensorflow_datasets.core import splits
from tensorflow_datasets.core.dataset_info import DatasetIdentity

from genmix import data
from genmix.data import binarize_once, tfds_source
from genmix.data.stream import Stream

GREY = tfds.features.Image(shape=(6, 5, 1))
SIZES = {"train": 30, "validation": 10, "test": 12}


def grey_images(split):
    rng = np.random.default_rng(SIZES[split])
    return rng.integers(0, 256, (SIZES[split], 6, 5, 1), dtype=np.uint8)


def labels(split):
    return np.arange(SIZES[split]) % 3


def png(image):
    """Encoded here, because TFDS itself encodes with TensorFlow."""
    file = io.BytesIO()
    PIL.Image.fromarray(image.squeeze()).save(file, "PNG")
    file.seek(0)
    return file


def write(folder, name, features, examples, version="1.0.0"):
    """Write a set as TFDS prepares it, in shards of 20 examples."""
    place = folder / name / version
    place.mkdir(parents=True)
    identity = DatasetIdentity(
        name=name, version=tfds.core.Version(version), data_dir=str(place), module_name=""
    )
    features = tfds.features.FeaturesDict(features)
    info = tfds.core.DatasetInfo(builder=identity, features=features)
    writer = tfds.core.SequentialWriter(info, 20, file_format="array_record")
    writer.initialize_splits(list(examples))
    writer.add_examples(examples)
    writer.close_all()
    return place


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the set "toy": grey images, labels and text, in three splits."""
    folder = tmp_path_factory.mktemp("tfds")
    features = {
        "image": GREY,
        "label": tfds.features.ClassLabel(num_classes=3),
        "id": tfds.features.Text(),
    }
    examples = {
        split: [
            {"image": png(image), "label": int(label), "id": f"{split} {label}"}
            for image, label in zip(grey_images(split), labels(split), strict=True)
        ]
        for split in SIZES
    }
    write(folder, "toy", features, examples)
    return folder


def test_a_source_has_the_examples_in_their_order_without_text(folder):
    source = tfds_source.open_source("toy", "train", folder)
    assert len(source) == 30
    assert set(source.features) == {"image", "label"}
    many = source.__getitems__([25, 3])
    for example, index in [(source[25], 25), (source[3], 3), (many[0], 25), (many[1], 3)]:
        assert set(example) == {"image", "label"}
        np.testing.assert_array_equal(example["image"], grey_images("train")[index])
        assert example["image"].dtype == np.uint8
        assert example["label"] == labels("train")[index]


def test_parts_of_splits_and_versions_have_names(folder):
    assert len(tfds_source.open_source("toy:1.0.0", "train[:50%]", folder)) == 15


def test_the_newest_version_is_read(tmp_path):
    for version, size in [("1.2.0", 1), ("1.10.0", 2), ("1.9.0", 3)]:
        examples = [{"x": 0.0}] * size
        write(
            tmp_path, "toy", {"x": tfds.features.Scalar(np.float32)}, {"train": examples}, version
        )
    assert len(tfds_source.open_source("toy", "train", tmp_path)) == 2


def test_a_stream_reads_a_source(folder):
    stream = Stream(tfds_source.open_source("toy", "train", folder), batch_size=10, seed=0)
    block = next(stream.blocks(3))
    assert block["image"].shape == (3, 10, 6, 5, 1)
    by_sum = lambda images: np.sort(images.reshape(30, -1).astype(int).sum(-1))
    np.testing.assert_array_equal(by_sum(block["image"]), by_sum(grey_images("train")))


@pytest.mark.slow
def test_worker_processes_read_a_source(folder):
    source = tfds_source.open_source("toy", "train", folder)
    block = next(Stream(source, batch_size=10, seed=0).blocks(3))
    workers = Stream(source, batch_size=10, seed=0, num_workers=1)
    np.testing.assert_array_equal(next(workers.blocks(3))["image"], block["image"])


def test_grey_images_are_binarized_dynamically(folder):
    dataset = data.load("tfds:toy", folder)
    assert (dataset.name, dataset.num_levels) == ("tfds:toy", 2)
    assert dataset.binarization == "dynamic"
    grey = {split: grey_images(split) / np.float32(255) for split in SIZES}
    np.testing.assert_array_equal(dataset.train, grey["train"])
    np.testing.assert_array_equal(dataset.valid, binarize_once(grey["validation"], 1))
    np.testing.assert_array_equal(dataset.test, binarize_once(grey["test"], 0))
    for found, split in zip(dataset[4:7], SIZES, strict=True):
        assert found is not None
        np.testing.assert_array_equal(found, labels(split))
        assert found.dtype == np.int32


def test_grey_levels_are_as_stored(folder, monkeypatch):
    monkeypatch.setattr(tfds_source, "_CHUNK", 7)
    dataset = tfds_source.load_levels("toy", folder)
    assert (dataset.num_levels, dataset.binarization) == (256, "none")
    for found, split in zip(dataset[1:4], SIZES, strict=True):
        np.testing.assert_array_equal(found, grey_images(split))
        assert found.dtype == np.float32


def test_colour_images_are_levels(tmp_path):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    examples = {s: [{"picture": png(image)} for _ in range(3)] for s in ("train", "test")}
    write(tmp_path, "toy", {"picture": tfds.features.Image(shape=(4, 4, 3))}, examples)
    dataset = data.load("tfds:toy", tmp_path)
    assert (dataset.num_levels, dataset.binarization) == (256, "none")
    np.testing.assert_array_equal(dataset.train, [image] * 3)
    assert dataset.valid.shape == (0, 4, 4, 3)
    assert dataset[4:7] == (None, None, None)


def test_images_of_zeros_and_ones_are_binary(tmp_path):
    image = (grey_images("train")[0] > 99).astype(np.uint8)
    examples = {s: [{"image": png(image)} for _ in range(2)] for s in ("train", "test")}
    write(tmp_path, "toy", {"image": GREY}, examples)
    dataset = data.load("tfds:toy", tmp_path)
    assert (dataset.num_levels, dataset.binarization) == (2, "static")
    np.testing.assert_array_equal(dataset.test, [image] * 2)


def test_reading_does_not_import_tensorflow(folder):
    program = (
        "import sys; from genmix.data import tfds_source;"
        f"print(tfds_source.open_source('toy', 'test', {str(folder)!r})[11]['label']);"
        "print('tensorflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout == "2\nFalse\n", done.stderr


def test_unknown_names_are_refused_with_close_ones(folder):
    message = r"TFDS knows no data set 'fashion_minst' \(did you mean fashion_mnist"
    with pytest.raises(ValueError, match=message):
        tfds_source.open_source("fashion_minst:3.0.1", "train", folder)
    with pytest.raises(ValueError, match=r"TFDS knows no data set 'qqqq'\.$"):
        data.load("tfds:qqqq", folder)
    for name in ("no such name", ""):
        with pytest.raises(ValueError, match=f"'{name}' is not the name of a set in TensorFlow"):
            data.load(f"tfds:{name}", folder)


@pytest.mark.parametrize("name", ["mnist", "toy:2.0.0", "toy/config"])
def test_sets_that_are_not_prepared_say_how_to(folder, name):
    message = (
        f"tfds:{name} is not prepared in {folder}: .* run `tfds build {name} --data_dir {folder} "
        "--file_format array_record`"
    )
    with pytest.raises(FileNotFoundError, match=message):
        data.load(f"tfds:{name}", folder)


def test_missing_splits_are_named(folder, tmp_path):
    with pytest.raises(ValueError, match="no split 'valid'; it has train, validation, test"):
        tfds_source.open_source("toy", "valid", folder)
    examples = {"train": [{"image": png(grey_images("train")[0])}]}
    write(tmp_path, "toy", {"image": GREY}, examples)
    with pytest.raises(ValueError, match=r"has the splits train, but no 'test', .* stream"):
        data.load("tfds:toy", tmp_path)


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"x": tfds.features.Scalar(np.float32)}, "has 0 image features among x, expected one"),
        ({"x": GREY, "y": GREY}, "has 2 image features among x, y, expected one"),
        (
            {"x": tfds.features.Image(shape=(None, None, 1))},
            r"shape \(None, None, 1\) and",
        ),
        ({"x": tfds.features.Image(shape=(6, 5, 1), dtype=np.uint16)}, "and dtype uint16, expec"),
    ],
)
def test_what_is_not_one_image_cannot_be_loaded(tmp_path, features, message):
    write(tmp_path, "toy", features, {"train": [], "test": []})
    with pytest.raises(ValueError, match=message):
        data.load("tfds:toy", tmp_path)


def test_what_does_not_fit_is_refused(folder, monkeypatch):
    monkeypatch.setattr(tfds_source, "_MAX_BYTES", 2**20)
    monkeypatch.setattr(splits.SplitDict, "total_num_examples", 10**9)
    with pytest.raises(ValueError, match=r"tfds:toy would take 111\.8 GiB of memory, .*: stream"):
        data.load("tfds:toy", folder)


def test_formats_without_random_access_are_refused(tmp_path):
    place = write(tmp_path, "toy", {"x": tfds.features.Scalar(np.float32)}, {"train": [{"x": 0.0}]})
    info = place / "dataset_info.json"
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    message = f"prepared as tfrecord, .* `tfds convert_format --dataset_version_dir {place} --out"
    with pytest.raises(ValueError, match=message):
        tfds_source.open_source("toy", "train", tmp_path)


@pytest.mark.parametrize("file", ["dataset_info.json", "features.json"])
def test_damaged_files_are_refused(tmp_path, file):
    place = write(tmp_path, "toy", {"x": tfds.features.Scalar(np.float32)}, {"train": [{"x": 0.0}]})
    content = (place / file).read_text()
    for damaged in ("", content[: len(content) // 2]):
        (place / file).write_text(damaged)
        with pytest.raises(ValueError, match=f"cannot open tfds:toy in {tmp_path}: "):
            tfds_source.open_source("toy", "train", tmp_path)
