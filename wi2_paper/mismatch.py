"""Ask what the networks of weights/ do to images that are not like those of their training, and whether restore warns.

    python3 -m wi2_paper.mismatch --photographs DIR --microscopy DIR    # after download.py --dataset mars; ten minutes
    python3 -m wi2_paper.mismatch --choosing    # and photos: the images that the bounds of the guard are chosen on

DIR holds images that nothing is measured on elsewhere, such as the training images of BSDS500. Writes
results/mismatch.json: for each network, input and set the PSNR before and after (100 test tiles of Mars; the middle of
100 photographs) and the part of the images that `restore_module.guard` warns of (90 training tiles of Mars, 100 whole
photographs, 128x128 crops of the microscopy).
Expect a warning of fewer than 5 % of the right inputs, of 9 in 10 wrong ones in colour, and of every other gray one
whose noise is weak.
"""

import sys
import zlib
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from PIL import Image

import util
from download_module.degrade import add_noise, blur, compress, defocus, downscale, resize, task_of, to_luma, upscale
from download_module.imagefile import planes, read_picture
from inception2_module import evaluation, networkfile, provenance, scores
from inception2_module.tileset import TileSet
from restore_module import guard

N_TILES, N_LOOKS, SIZE, SCALE = 100, 100, 128, 4
RESULT = Path("results") / "mismatch.json"
NETWORKS = ("mars_noise_s64", "mars_sr_x4")


def noisy(sigma, image, rng):
    return add_noise(image, sigma, rng)


def small(image, rng, noise=0, quality=None):
    """The low-resolution image of the training, with what a camera may have added to it."""
    low = add_noise(downscale(image, SCALE), noise, rng)
    return compress(low, quality) if quality else low


def sampled(image, _rng, sigma=0):
    """Every fourth pixel of a Gaussian blur."""
    return np.ascontiguousarray(blur(image, sigma)[SCALE // 2 :: SCALE, SCALE // 2 :: SCALE])


def averaged(image, _rng):
    height, width = (side // SCALE for side in image.shape[:2])
    return resize(image, height, width, Image.Resampling.BOX)


# What restore should say of an input: nothing to those of the training, and a warning to those far from it; None:
# either, it is in between, or of a kind that is not looked for.
RIGHT, WRONG = False, True
NOISE = {f"noise of {sigma}": (partial(noisy, sigma), wrong) for sigma, wrong in (
    (0, WRONG), (10, WRONG), (25, WRONG), (50, None), (64, RIGHT), (90, None), (120, WRONG))}
# Each makes the small image; without --enlarge it is then enlarged.
SMALL = {
    "bicubic, as in training": (small, RIGHT),
    "box": (averaged, RIGHT),
    "Gaussian 1.6, every 4th pixel": (partial(sampled, sigma=1.6), RIGHT),
    "Gaussian 2.5, every 4th pixel": (partial(sampled, sigma=2.5), None),
    "every 4th pixel": (sampled, None),
    **{f"bicubic, JPEG {q}": (partial(small, quality=q), None) for q in (90, 75, 50)},
    **{f"bicubic, noise of {s}": (partial(small, noise=s), wrong)
       for s, wrong in ((2, None), (5, WRONG), (10, WRONG), (20, WRONG))},
}
SHARP, ENLARGED = "a sharp image", "an image that was enlarged by 4"


def main(argv=None):
    parser = util.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("--photographs", metavar="DIR", help="a folder of photographs")
    parser.add_argument("--microscopy", metavar="DIR", help="a folder of microscopy")
    parser.add_argument("--choosing", action="store_true",
                        help="print what is warned of among other images, training tiles of mars and photos, in colour "
                             "and gray, and write nothing")
    parser.add_argument("--warnings", action="store_true",
                        help="after a change of the guard: measure what is warned of, the gains stay as they are")
    options = parser.parse_args(argv)
    if options.choosing:
        looked_at = images_to_choose_on()
        for task, name, make, _, enlarge, _ in inputs_of():
            look(looked_at, task, name, make, enlarge)
        return
    if not options.photographs or not options.microscopy:
        raise util.UserError("two folders are needed: give --photographs and --microscopy")
    photographs, cells = (read_images(folder) for folder in (options.photographs, options.microscopy))
    mars = TileSet("datasets", "mars", "sr_x4")
    test = mars.read_test(N_TILES)
    middles = [middle(image) for image in photographs if min(image.shape[:2]) >= SIZE][:N_TILES]
    targets = {"mars": (test.target, list(test.scenes)), "photographs": (np.stack(middles), list(range(len(middles))))}
    looked_at = {
        "mars": list(mars.read_train(N_LOOKS, 0)[0].target), "photographs": photographs[:N_LOOKS],
        "microscopy": [crop for image in cells for crop in crops(image)],
    }
    hashes = {name: networkfile.find_weights(name)[1]["sha256"] for name in NETWORKS}
    rows, old = {}, util.read_json(RESULT) if options.warnings else None
    if old and old["weights"] != hashes:
        raise util.UserError(f"{RESULT} is of other networks: leave out --warnings")
    for task, name, make, wrong, enlarge, weights in inputs_of():
        key, warned = look(looked_at, task, name, make, enlarge)
        row = rows[key] = {"wrong": wrong, "warned": warned}
        if weights:
            row["gains"] = old["rows"][key]["gains"] if old else gains(weights, targets, name, make)
    shares = {wrong: [share for row in rows.values() if row["wrong"] is wrong for share in row["warned"].values()]
              for wrong in (RIGHT, WRONG)}
    util.write_json(RESULT, {
        "rows": rows, "weights": hashes, "n": {name: len(images) for name, images in looked_at.items()},
        "versions": provenance.versions(), "git_commit": provenance.git_commit(),
    })
    print(f"warned of at most {max(shares[RIGHT]):.1%} of right images, of at least {min(shares[WRONG]):.1%} of wrong "
          f"ones; written: {RESULT}")


def images_to_choose_on():
    """The last training tiles of mars and photos, in colour and as luma: {name: list of uint8 (H, W, 3)}."""
    colour = {name: list(TileSet("datasets", name, "sr_x4").read_unseen(N_LOOKS, 0, N_LOOKS).target)
              for name in ("mars", "photos")}
    return colour | {f"{name} in gray": [to_luma(image) for image in images] for name, images in colour.items()}


def look(looked_at, task, name, make, enlarge):
    """Say which part of some images, {name: images}, restore warns of once they are degraded: (row, {name: part})."""
    key = f"{task}{' --enlarge' * enlarge}, {name}"
    warned = {which: warned_of(images, task, name, make, enlarge) for which, images in looked_at.items()}
    print(f"{key}: warned of", ", ".join(f"{share:.1%} of {which}" for which, share in warned.items()), flush=True)
    return key, warned


def read_images(folder):
    """Read all images of a folder as uint8 (H, W, 3); deeper ones as a network sees them, in their own range."""
    images = []
    for path in util.list_images(folder):
        plane = planes(read_picture(path))[0]
        images.append(scores.to_uint8(plane.read(slice(None), slice(None))))
    return images


def middle(image):
    top, left = ((side - SIZE) // 2 for side in image.shape[:2])
    return image[top : top + SIZE, left : left + SIZE]


def crops(image):
    return [image[y : y + SIZE, x : x + SIZE] for y in range(0, image.shape[0] - SIZE + 1, SIZE)
            for x in range(0, image.shape[1] - SIZE + 1, SIZE)]


def inputs_of():
    """Yield (task, name of the input, function that makes it, what restore should say, enlarge, network or None)."""
    noise, small_images = NETWORKS
    for name, (make, wrong) in NOISE.items():
        yield "noise_s64", name, make, wrong, False, noise
    for name, (make, wrong) in SMALL.items():
        yield "sr_x4", name, partial(enlarged, make=make), wrong, False, small_images
        yield "sr_x4", name, make, wrong, True, None
    yield "sr_x4", SHARP, unchanged, WRONG, False, small_images
    yield "sr_x4", ENLARGED, partial(enlarged, make=small), WRONG, True, None
    # A network for defocus, of which none is published.
    yield "defocus_r3", "defocus of 3", lambda image, _: defocus(image, 3), RIGHT, False, None
    yield "defocus_r3", SHARP, unchanged, WRONG, False, None


def enlarged(image, rng, make):
    height, width = image.shape[:2]
    return upscale(make(image, rng), SCALE)[:height, :width]


def unchanged(image, _rng):
    return image


def warned_of(images, task, name, make, enlarge):
    """Which part of some images, degraded, is warned of for a task."""
    found = [guard.find(one.astype(np.float32) / scores.DATA_RANGE, task_of(task), enlarge)
             for one in degraded(images, name, make)]
    return round(sum(one is not None for one in found) / len(found), 4)


def degraded(images, name, make):
    """Degrade each image with noise of its own; one channel, if that is all there is, with one noise."""
    inputs = []
    for k, image in enumerate(images):
        is_gray = (image == image[..., :1]).all()
        made = make(image[..., :1] if is_gray else image, np.random.default_rng([k, zlib.crc32(name.encode())]))
        inputs.append(made.repeat(3, axis=-1) if is_gray else made)
    return inputs


@lru_cache(maxsize=1)
def network(name):
    path, _ = networkfile.find_weights(name)
    return partial(networkfile.restore_tiles, networkfile.load_model(path))


def gains(weights, targets, name, make):
    """PSNR of the inputs and of what the network makes of them, with the gain of each tile, for each set."""
    found = {}
    for key, (target, scenes) in targets.items():
        inputs = np.stack(degraded(target, name, make))
        psnr, restored = (scores.psnr(target, images) for images in (inputs, network(weights)(inputs)))
        found[key] = {"input": round(float(psnr.mean()), 4),
                      "gain": evaluation.paired_difference(restored, psnr, scenes),
                      "gain_tiles": [round(float(gain), 6) for gain in restored - psnr], "scenes": scenes}
        print(f"  {key}: input {found[key]['input']:.2f} dB, gain {found[key]['gain']['mean']:+.2f} dB", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
