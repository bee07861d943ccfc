"""Augmentation against numpy.pad, torchvision image by image and colorsys, and its distributions by counting."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as tv

from sparse_ortho.errors import UserError
from sparse_ortho.streams import Streams
from sparse_ortho.training.augment import KINDS, Augment
from sparse_ortho.training.options import TrainOptions

SHAPE = (3, 10, 12)  # not square: rows and columns must not be mixed up
SURELY = 1e-6  # a fixed seed either passes for ever or fails for ever


def pictures(n, shape=SHAPE, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (n, *shape)).astype(np.uint8))


def smooth(n, shape=SHAPE, seed=0):
    """Random colours that change slowly, as in photographs, with every byte possible."""
    small = pictures(n, (shape[0], 3, 3), seed).float()
    return torch.nn.functional.interpolate(small, shape[1:], mode="bilinear").round().to(torch.uint8)


def augment(images, numbers, shape=None, **options: Any):
    """Without normalisation."""
    given = {key: torch.as_tensor(value) for key, value in numbers.items()}
    return Augment(TrainOptions(**options), shape or images.shape[1:])(images, given, lambda x: x.float())


def drawn(n, epoch=0, seed=0, shape=SHAPE, **options: Any):
    numbers = Augment(TrainOptions(**options), shape).numbers(Streams(seed), epoch, n)
    return {kind: value.numpy() for kind, value in numbers.items()}


def uniform(counts):
    return stats.chisquare(counts).pvalue > SURELY


# --- crop and flip


@pytest.mark.parametrize(("fill", "mode"), [("reflect", "reflect"), ("zero", "constant")])
@pytest.mark.parametrize("padding", [1, 4, 9])
def test_every_crop_is_a_part_of_the_image_that_numpy_pads(fill, mode, padding):
    n = (2 * padding + 1) ** 2
    images, side = pictures(n), np.arange(2 * padding + 1)
    offsets = np.stack(np.meshgrid(side, side, indexing="ij"), -1).reshape(-1, 2)
    flips = np.arange(n) % 2 == 1
    found = augment(images, {"crop": offsets, "flip": flips}, crop=padding, crop_fill=fill, flip=True).numpy()
    frame = [(0, 0), (0, 0), (padding, padding), (padding, padding)]
    padded = np.pad(images.numpy(), frame, mode=mode)
    for i, (y, x) in enumerate(offsets):
        expected = padded[i, :, y : y + SHAPE[1], x : x + SHAPE[2]]
        np.testing.assert_array_equal(found[i], expected[:, :, ::-1] if flips[i] else expected)


def test_zero_fill_is_black_before_normalisation():
    change = Augment(TrainOptions(crop=2, crop_fill="zero"), SHAPE)
    found = change(pictures(1), {"crop": torch.tensor([[0, 0]])}, lambda x: (x.float() - 100) / 50)
    assert (found[0, :, :2] == -2).all() and (found[0, :, :, :2] == -2).all()


def test_every_offset_is_equally_likely_for_each_image_of_a_batch():
    numbers = drawn(40_000, crop=4)["crop"]
    assert numbers.min() == 0 and numbers.max() == 8
    assert uniform(np.bincount(numbers @ [9, 1], minlength=81))
    for axis in (0, 1):  # independent of where the neighbour went, too
        pairs = numbers[1:, axis] * 9 + numbers[:-1, axis]
        assert uniform(np.bincount(pairs, minlength=81))
    assert len({tuple(offset) for offset in numbers[:128].tolist()}) > 50  # 64.5 expected


def test_half_of_the_images_are_flipped():
    assert stats.binomtest(int(drawn(40_000, flip=True)["flip"].sum()), 40_000).pvalue > SURELY


def test_offsets_occur_in_the_images_as_often_as_drawn():
    """One bright pixel tells where each image of a batch went."""
    n, p = 20_000, 2
    images = torch.zeros(n, 1, 5, 5, dtype=torch.uint8)
    images[:, :, 2, 2] = 255
    change = Augment(TrainOptions(crop=p, crop_fill="zero"), (1, 5, 5))
    found = change(images, change.numbers(Streams(1), 0, n), lambda x: x)
    assert (found.flatten(1).sum(1) == 255).all()
    assert uniform(torch.bincount(found.flatten(1).argmax(1), minlength=25).numpy())


# --- cutout


@pytest.mark.parametrize("side", [1, 4, 5, 16])
def test_cutout_is_a_clipped_square_around_its_centre(side):
    height, width = SHAPE[1:]
    centres = np.array([(y, x) for y in range(height) for x in range(width)])
    images = pictures(len(centres)) // 2 + 1
    found = augment(images, {"cutout": centres}, cutout=side).numpy()
    for image, before, (y, x) in zip(found, images.numpy().astype(np.float32), centres, strict=True):
        top, left = y - side // 2, x - side // 2
        before[:, max(0, top) : max(0, top + side), max(0, left) : max(0, left + side)] = 0
        np.testing.assert_array_equal(image, before)


def test_a_cut_out_square_is_the_mean_after_normalisation():
    change = Augment(TrainOptions(cutout=4), SHAPE)
    found = change(pictures(1), {"cutout": torch.tensor([[5, 6]])}, lambda x: (x.float() + 7) / 50)
    assert (found[0] == 0).sum() == 3 * 16 and (found[0, :, 3:7, 4:8] == 0).all()


def test_cutout_centres_are_uniform_over_the_image():
    centres = drawn(60_000, cutout=3)["cutout"]
    assert uniform(np.bincount(centres @ [SHAPE[2], 1], minlength=SHAPE[1] * SHAPE[2]))


# --- rotation


@pytest.mark.parametrize("shape", [SHAPE, (1, 28, 28), (3, 64, 64), (3, 33, 32)])
def test_rotation_is_that_of_torchvision_on_pillow_images(shape):
    """Pillow steps through the source in units of 1/65536 of a pixel: at a pixel's edge it may choose the neighbour."""
    degrees = np.linspace(-45, 45, 31, dtype=np.float32)
    images = pictures(len(degrees), shape)
    found = augment(images, {"rotation": degrees}, rotation=45.0).numpy()
    for angle, image, turned in zip(degrees.tolist(), images, found, strict=True):
        expected = np.asarray(tv.rotate(tv.to_pil_image(image), angle, InterpolationMode.NEAREST))
        expected = np.atleast_3d(expected).transpose(2, 0, 1)
        assert (turned != expected).any(0).mean() <= 0.004 or angle == 0
    assert (found[len(degrees) // 2] == images[len(degrees) // 2].numpy()).all()


def test_a_quarter_turn_goes_counterclockwise_and_moves_every_pixel():
    images = pictures(2, (3, 8, 8))
    found = augment(images, {"rotation": np.float32([90, -90])}, rotation=90.0).numpy()
    for image, turned, k in zip(images.numpy(), found, (1, -1), strict=True):
        np.testing.assert_array_equal(turned, np.rot90(image, k, (1, 2)))


def test_angles_are_uniform():
    assert stats.kstest(drawn(20_000, rotation=10.0)["rotation"], stats.uniform(-10, 20).cdf).pvalue > SURELY


# --- colour


@pytest.mark.parametrize(
    ("kind", "channels"),
    [("brightness", 1), ("brightness", 3), ("contrast", 1), ("contrast", 3), ("saturation", 3)],
)
def test_colour_factors_act_as_in_torchvision(kind, channels):
    """On Pillow images; 0 and 2 are the ends of what an amount of 1 allows. Pillow rounds greys, and results down."""
    factors = np.float32([0, 0.3, 0.7, 1, 1.3, 2])
    images = smooth(len(factors), (channels, 10, 12))
    found = augment(images, {kind: factors}, **{kind: 1.0}).numpy()
    for factor, image, changed in zip(factors.tolist(), images, found, strict=True):
        expected = np.asarray(getattr(tv, f"adjust_{kind}")(tv.to_pil_image(image), factor)).astype(float)
        expected = np.atleast_3d(expected).transpose(2, 0, 1)
        np.testing.assert_allclose(changed, expected, atol=2.01)
        assert abs((changed - expected).mean()) < 1


def test_hue_is_turned_as_colorsys_says():
    turns = np.float32([-0.5, -0.2, -0.01, 0, 0.05, 1 / 3, 0.5])
    images = pictures(len(turns))
    images[:, :, 0, 0] = 77  # without any colour
    images[:, :, 0, 1] = 0
    found = augment(images, {"hue": turns}, hue=0.5).numpy()
    for turn, image, changed in zip(turns.tolist(), images.numpy() / 255, found / 255, strict=True):
        for y, x in np.ndindex(image.shape[1:]):
            h, s, v = colorsys.rgb_to_hsv(*image[:, y, x])
            np.testing.assert_allclose(changed[:, y, x], colorsys.hsv_to_rgb((h + turn) % 1, s, v), atol=1e-5)


def test_hue_is_that_of_torchvision():
    turns = np.float32([-0.5, -0.05, 0.02, 0.4])
    images = pictures(len(turns))
    found = augment(images, {"hue": turns}, hue=0.5)
    for turn, image, changed in zip(turns.tolist(), images, found, strict=True):
        assert (tv.adjust_hue(image, turn).float() - changed).abs().max() <= 1


def test_colours_change_in_the_fixed_order_and_stay_within_the_white_of_the_data_set():
    images = smooth(4, seed=3)
    numbers = {
        "brightness": np.float32([0.5, 1.9, 1, 1.4]),
        "contrast": np.float32([1.5, 1, 0.6, 1.8]),
        "saturation": np.float32([0.4, 1.7, 1, 1.2]),
        "hue": np.float32([0.1, -0.1, 0.3, 0]),
    }
    found = augment(images, numbers, brightness=1.0, contrast=1.0, saturation=1.0, hue=0.5)
    for i, image in enumerate(images.float() / 255):  # torchvision on floats: nothing is rounded
        for kind in ("brightness", "contrast", "saturation", "hue"):
            image = getattr(tv, f"adjust_{kind}")(image, float(numbers[kind][i]))
        np.testing.assert_allclose(found[i].numpy() / 255, image.numpy(), atol=1e-3)  # 0.2989 R there, 0.299 here
    digits = Augment(TrainOptions(brightness=1.0), (1, 8, 8), white=16.0)
    assert digits(pictures(1, (1, 8, 8)) % 17, {"brightness": torch.tensor([2.0])}, lambda x: x).max() == 16


@pytest.mark.parametrize(
    ("kind", "amount", "low", "high"),
    [
        ("brightness", 0.4, 0.6, 1.4),
        ("contrast", 1.5, 0, 2.5),
        ("saturation", 0.05, 0.95, 1.05),
        ("hue", 0.1, -0.1, 0.1),
    ],
)
def test_colour_factors_are_uniform_between_their_ends(kind, amount, low, high):
    factors = drawn(20_000, **{kind: amount})[kind]
    assert stats.kstest(factors, stats.uniform(low, high - low).cdf).pvalue > SURELY


# --- all together

ALL: dict[str, Any] = {"crop": 2, "flip": True, "cutout": 4, "rotation": 15.0, "brightness": 0.2, "contrast": 0.2}
ALL |= {"saturation": 0.2, "hue": 0.1}


def test_the_changes_follow_one_another_as_torchvision_would_have_them():
    """Crop, flip, colour, rotation on floats with torchvision's functions, then normalise, then cut."""
    images, n = smooth(16, (3, 16, 16), 5), 16
    change = Augment(TrainOptions(**ALL, crop_fill="zero"), (3, 16, 16))
    numbers = change.numbers(Streams(2), 0, n)
    found = change(images, numbers, lambda x: (x - 128) / 64)
    for i, image in enumerate(images):
        own = {kind: value[i] for kind, value in numbers.items()}
        image = tv.crop(tv.pad(image, [2]), *own["crop"].tolist(), 16, 16)
        image = (tv.hflip(image) if own["flip"] else image).float() / 255
        for kind in ("brightness", "contrast", "saturation", "hue"):
            image = getattr(tv, f"adjust_{kind}")(image, float(own[kind]))
        image = (tv.rotate(image, float(own["rotation"]), InterpolationMode.NEAREST) * 255 - 128) / 64
        y, x = own["cutout"].tolist()
        image[:, max(0, y - 2) : y + 2, max(0, x - 2) : x + 2] = 0
        assert ((found[i] - image).abs().amax(0) > 0.02).float().mean() <= 0.02  # a turned pixel may fall next door


def test_one_kind_of_change_does_not_change_the_numbers_of_another():
    together = drawn(50, **ALL)
    assert set(together) == set(KINDS)
    for kind in KINDS:
        np.testing.assert_array_equal(drawn(50, **{kind: ALL[kind]})[kind], together[kind])


def test_epochs_seeds_and_kinds_draw_different_numbers():
    seen = [drawn(200, epoch, seed, cutout=9, shape=(3, 9, 9))["cutout"] for epoch in (0, 1) for seed in (0, 1)]
    seen.append(drawn(200, crop=4, shape=(3, 9, 9))["crop"])  # also 0..8 twice
    for i, one in enumerate(seen):
        for other in seen[:i]:
            assert (one == other).all(1).mean() < 0.1


def test_an_image_becomes_the_same_alone_and_in_any_batch():
    images, n = pictures(40), 40
    change = Augment(TrainOptions(**ALL), SHAPE)
    numbers = change.numbers(Streams(4), 3, n)

    def at(rows):
        return change(images[rows], {kind: value[rows] for kind, value in numbers.items()}, lambda x: x / 255)

    whole = at(torch.arange(n))
    mixed = torch.from_numpy(np.random.default_rng(0).permutation(n))
    torch.testing.assert_close(at(mixed), whole[mixed], rtol=0, atol=1e-6)
    for i in (0, 17, 39):
        torch.testing.assert_close(at(torch.tensor([i]))[0], whole[i], rtol=0, atol=1e-6)


def test_bytes_that_are_not_asked_to_change_stay_what_they_are():
    images = pictures(8)
    change = Augment(TrainOptions(), SHAPE)
    assert not change and Augment(TrainOptions(flip=True), SHAPE)
    assert torch.equal(change(images, change.numbers(Streams(0), 0, 8), lambda x: x), images)
    offsets = torch.full((8, 2), 3)
    assert torch.equal(augment(images, {"crop": offsets}, crop=3), images.float())


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"crop": 10}, SHAPE, r"^train\.crop: reflected padding must be smaller than the image \(found 10\)$"),
        ({"hue": 0.1}, (1, 8, 8), r"^train\.hue: needs images of 3 channels; this data set has 1$"),
        ({"saturation": 0.1}, (1, 8, 8), r"^train\.saturation: needs images of 3 channels"),
        ({"flip": True}, (24,), r"^train\.flip: changes images; this data set has rows of shape \(24,\)$"),
    ],
)
def test_what_cannot_be_done_to_these_images_is_refused(options, shape, message):
    with pytest.raises(UserError, match=message):
        Augment(TrainOptions(**options), shape)


def test_zero_fill_may_be_wider_than_the_image():
    images = torch.full((2, 1, 2, 2), 9, dtype=torch.uint8)
    found = augment(images, {"crop": [[0, 6], [2, 3]]}, crop=3, crop_fill="zero")
    assert found[:, 0].tolist() == [[[0, 0], [0, 0]], [[0, 0], [9, 9]]]
