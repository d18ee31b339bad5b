"""Search around known faces: finds the same faces as a search of the whole image, at a fraction of the pixels."""

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from motionshards.transforms.extract.detect import Detections, iou
from motionshards.transforms.extract.search import search_around, search_batches

MIN_PX = 20.0
Image = NDArray[np.uint8]


class Squares:
    """Finds bright squares of at least MIN_PX, and counts the searched pixels."""

    def __init__(self) -> None:
        self.pixels: list[int] = []

    def __call__(self, images: Sequence[Image]) -> list[Detections]:
        self.pixels += [image.shape[0] * image.shape[1] for image in images]
        return [self._find(image) for image in images]

    @staticmethod
    def _find(image: Image) -> Detections:
        boxes = []
        for level in np.unique(image[image > 100]) if (image > 100).any() else []:
            rows, columns = np.nonzero(np.abs(image.astype(int) - int(level)) < 3)
            box = [columns.min(), rows.min(), columns.max(), rows.max()]
            whole = min(box[:2]) > 0 and box[2] < image.shape[1] - 1 and box[3] < image.shape[0] - 1
            if whole and box[2] - box[0] + 1 >= MIN_PX and len(rows) > 0.9 * (box[2] - box[0] + 1) * (box[3] - box[1] + 1):
                boxes.append(box)
        return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), np.float32))


def drawn(*squares: tuple[int, int, int, int]) -> Image:
    """Squares (x, y, side, level) on black."""
    image = np.zeros((300, 500), np.uint8)
    for x, y, side, level in squares:
        image[y : y + side, x : x + side] = level
    return image


def moving(count: int) -> list[Image]:
    """A face that moves by an eighth of its size per frame, and a second one from frame 7 on."""
    return [drawn((20 + 5 * n, 30 + 2 * n, 40, 200), *([(400, 200, 80, 140)] if n >= 7 else [])) for n in range(count)]


def test_faces_match_a_search_of_the_whole_image_and_new_ones_are_found_within_the_interval() -> None:
    images, detect = moving(30), Squares()
    found = list(search_around(images, detect, MIN_PX, 10))
    whole = Squares()(images)
    assert [len(one) for one in found] == [1] * 10 + [2] * 20, "a second face is found when the whole image is searched again"
    for one, expected in zip(found, whole, strict=True):
        assert (iou(one.boxes_px + [0, 0, 1, 1], expected.boxes_px + [0, 0, 1, 1]).max(axis=1) > 0.8).all()
    assert sum(detect.pixels) < 0.25 * 30 * images[0].size
    assert sum(pixels == images[0].size for pixels in detect.pixels) == 3


def test_a_lost_face_triggers_a_search_of_the_whole_image() -> None:
    images = [drawn((20, 30, 40, 200)), drawn((20, 30, 40, 200)), drawn((300, 200, 40, 200)), drawn(), drawn()]
    detect = Squares()
    found = list(search_around(images, detect, MIN_PX, 10))
    assert [len(one) for one in found] == [1, 1, 1, 0, 0]
    np.testing.assert_allclose([one.boxes_px[0, 0] for one in found[:3]], [20, 20, 300], atol=2)
    assert [pixels == images[0].size for pixels in detect.pixels] == [True, False, False, True, False, True, True]


def test_a_face_in_the_surroundings_of_two_is_one_face() -> None:
    images = [drawn((100, 100, 40, 200), (150, 100, 40, 140))] * 3
    assert [len(one) for one in search_around(images, Squares(), MIN_PX, 10)] == [2, 2, 2]


@pytest.mark.parametrize("count", [1, 16, 37])
def test_images_in_batches_are_searched_as_a_whole(count: int) -> None:
    detect, images = Squares(), [drawn((20 + n, 30, 40, 200)) for n in range(count)]
    found = list(search_batches(iter(images), detect, 64))
    assert [one.boxes_px[0, 0] for one in found] == [20 + n for n in range(count)]
    assert detect.pixels == [images[0].size] * count
