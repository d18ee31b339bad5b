"""Users' image files: scaled by their type, upright, opaque, or refused with a message of one line."""

import io
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from motionshards.schemas.errors import ConfigError
from motionshards.trainers.images import MAX_PX, read_image, read_rgba

RAMP = np.linspace(0, 1, 64).reshape(8, 8)


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bit_gray_is_scaled_by_its_range(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray((RAMP * 65535).round().astype(np.uint16)).save(path)
    np.testing.assert_allclose(read_image(path)[..., 1], RAMP * 255, atol=0.6)


def test_floats_are_scaled_within_0_to_1_and_refused_outside(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    Image.fromarray(RAMP.astype(np.float32)).save(path)
    np.testing.assert_allclose(read_image(path)[..., 0], RAMP * 255, atol=0.6)
    for wrong in (RAMP * 255, RAMP - 0.1, np.where(RAMP > 0.5, np.nan, RAMP)):
        Image.fromarray(wrong.astype(np.float32)).save(path)
        with pytest.raises(ConfigError, match=r"a\.tif has floats .*\[0, 1\]"):
            read_image(path)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA"])
def test_transparent_pixels_show_the_background(tmp_path: Path, mode: str) -> None:
    image = Image.new("RGBA", (4, 4), (9, 9, 9, 255))
    image.putpixel((0, 0), (0, 0, 0, 0))
    image.convert("LA" if mode == "PA" else mode).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0, 0].tolist() == [255] * 3
    assert read_image(tmp_path / "a.png", "#102030")[0, 0].tolist() == [16, 32, 48]
    assert read_image(tmp_path / "a.png", "red")[2, 2].tolist() == [9] * 3
    assert read_rgba(tmp_path / "a.png")[0, 0, 3] == 0
    with pytest.raises(ConfigError, match="not a color"):
        read_image(tmp_path / "a.png", "reddish")


def test_other_modes_become_rgb(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=95)
    np.testing.assert_allclose(read_image(tmp_path / "a.jpg")[4, 4], (255, 0, 0), atol=6)
    Image.new("1", (8, 8), 1).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").min() == 255


def test_the_first_frame_of_an_animation_is_read_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    first.save(tmp_path / "a.gif", save_all=True, append_images=[second])
    assert read_image(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]
    assert "first frame" in caplog.text


def test_huge_images_pipes_and_programs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    Image.new("1", (MAX_PX // 1000, 1001)).save(tmp_path / "large.png")
    Image.new("1", (20_000, 20_000)).save(tmp_path / "bomb.png")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name in ("large.png", "bomb.png", "pipe.png", "program.eps"):
        with pytest.raises(ConfigError, match=name) as raised:
            read_image(tmp_path / name)
        assert str(raised.value).isprintable()


@pytest.mark.parametrize("trials", [20, pytest.param(1000, marks=pytest.mark.slow)])
def test_mutated_files_are_read_or_refused_in_one_line(tmp_path: Path, trials: int, peak_kb: Callable[[], int]) -> None:
    random, slowest = np.random.default_rng(0), 0.0
    image = Image.fromarray(random.integers(0, 256, (40, 40, 3), np.uint8))
    for form in ("PNG", "JPEG", "WEBP", "TIFF", "GIF", "BMP"):
        stored = io.BytesIO()
        image.save(stored, form)
        for _ in range(trials):
            content = bytearray(stored.getvalue())
            for place in random.integers(0, min(len(content), 200), random.integers(1, 6)):
                content[place] = random.integers(256)
            (tmp_path / "a").write_bytes(content)
            start = time.process_time()
            try:
                assert read_image(tmp_path / "a").size <= 3 * MAX_PX
            except ConfigError as error:
                message = str(error)
                assert message.isprintable()
            slowest = max(slowest, time.process_time() - start)
    # 64 megapixels of floats and their conversion
    assert peak_kb() < 1_500_000 and slowest < 10
