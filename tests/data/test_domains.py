import numpy as np
import pytest
from PIL import Image

from genmix.data import domains, grey, image_folder


def test_twins_by_hand():
    image = np.array([[0.0, 1.0], [0.25, 0.5]])[None, :, :, None]
    seen = lambda twin: twin(image)[0, :, :, 0].tolist()
    assert seen(domains.inverted) == [[1.0, 0.0], [0.75, 0.5]]
    assert seen(domains.rotated) == [[1.0, 0.5], [0.0, 0.25]]
    assert seen(domains.thickened) == [[1.0, 1.0], [0.5, 0.5]]


def test_nothing_can_be_paired_in_training_and_everything_in_the_test():
    digits = grey.load_images("digits")
    pair = domains.twins(digits, domains.inverted)
    source = {x.tobytes() for x in pair.source.train}
    untwinned = {x.tobytes() for x in 1 - pair.target.train}
    assert len(pair.source.train) == len(pair.target.train) == 718
    assert len(source & untwinned) <= 1  # digits that are twice among the published ones
    np.testing.assert_array_equal(1 - pair.target.test, pair.source.test)
    np.testing.assert_array_equal(pair.source.labels[1], pair.target.labels[1])


def test_a_folder_is_read_by_name_cut_square_and_resized(tmp_path):
    for name, value in (("b.png", 255), ("a.png", 0)):
        pixels = np.full((4, 8, 3), 128, np.uint8)
        pixels[:, 2:6] = value
        Image.fromarray(pixels).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image")
    images = image_folder.load(tmp_path, side=2)
    assert images.shape == (2, 2, 2, 3)
    np.testing.assert_array_equal(images[0], np.zeros((2, 2, 3)))
    np.testing.assert_array_equal(images[1], np.ones((2, 2, 3)))
    assert image_folder.load(tmp_path, side=3, channels=1).shape == (2, 3, 3, 1)
    pair = domains.folders(tmp_path, tmp_path, side=2)
    assert pair.source.train.shape == pair.source.test.shape == (1, 2, 2, 3)


def test_folders_that_cannot_be_used_are_refused(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="holds no images"):
        image_folder.load(tmp_path, side=2)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        image_folder.load(tmp_path / "none", side=2)
    with pytest.raises(ValueError, match="channels must be 1 or 3 and side at least 1"):
        image_folder.load(tmp_path, side=2, channels=2)
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    with pytest.raises(ValueError, match="holds one image"):
        domains.folders(tmp_path, tmp_path, side=2)
    monkeypatch.setattr(image_folder, "_MOST_PIXELS", 60)
    with pytest.raises(ValueError, match="has 8 x 8 pixels, more than 60"):
        image_folder.load(tmp_path, side=2)
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    with pytest.raises(ValueError, match="cannot be read as an image"):
        image_folder.load(tmp_path, side=2)


def test_domains_of_other_shapes_are_refused():
    digits = grey.load_images("digits")
    with pytest.raises(ValueError, match="must have one shape, got"):
        domains.between(digits, digits._replace(train=digits.train[:, :6]))
