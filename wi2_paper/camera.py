"""Ask what a network for images of a camera gives on one damage at a time, beside one that knows bicubic only.

    python3 -m wi2_paper.camera    # after download.py for mars and photos, and the trainings; five minutes

Writes results/camera.json: for each damage of the small image, set (100 test tiles) and network the PSNR of the input
and the gain. A network that is missing is left out, and a line says what makes it. Expect the network for a camera to
gain where the other one loses: on JPEG, on noise, and where pixels were left out rather than averaged.
"""

import sys
from functools import partial
from pathlib import Path

import util
from inception2_module import networkfile, provenance
from inception2_module.tileset import TileSet
from wi2_paper import mismatch
from wi2_paper.matrix import MARS_CAMERA, PHOTO_NETWORKS

RESULT = Path("results") / "camera.json"
PHOTO_CAMERA = "photo_camera_x4"
# For each set, by what the table calls them: the network that knows bicubic only, and those for a camera.
NETWORKS = {
    "mars": {"bicubic only": "mars_sr_x4", "camera, 10,000 Mars tiles": MARS_CAMERA.name, "camera, photographs":
             PHOTO_CAMERA},
    "photos": {"bicubic only": "photo_sr_x4", "camera, photographs": PHOTO_CAMERA},
}


def main(argv=None):
    util.Parser(description=__doc__.splitlines()[0]).parse_args(argv)
    measured, hashes = {}, {}
    for dataset, networks in NETWORKS.items():
        test = TileSet("datasets", dataset, "sr_x4").read_test(mismatch.N_TILES)
        targets = {dataset: (test.target, list(test.scenes))}
        for title, name in networks.items():
            try:
                found, path = find(name)
            except util.UserError as error:
                util.say(f"{title}, on {dataset}, is left out: {error}")
                continue
            hashes[name] = util.sha256_of(path)
            for damage, (make, _) in mismatch.SMALL.items():
                print(f"{dataset}, {title}, {damage}")
                gains = mismatch.gains(found, targets, damage, partial(mismatch.enlarged, make=make))[dataset]
                measured[f"{dataset}, {title}, {damage}"] = gains
    util.write_json(RESULT, measured | {
        "weights": hashes, "versions": provenance.versions(), "git_commit": provenance.git_commit(),
    })
    for sentence in verdicts(measured):
        print(sentence)
    print(f"written: {RESULT}")


def find(name):
    """Find the published network of a name or, before it is published, its training: (name of either, path)."""
    is_published = (networkfile.WEIGHTS / f"{name}.json").exists() or name not in PHOTO_NETWORKS
    found = name if is_published else PHOTO_NETWORKS[name].name
    return found, networkfile.find_weights(found)[0]


def verdicts(measured):
    """Say of each network for a camera what it gains or loses where only the resolution lacks, and its lowest gain.

    measured : dict, of the results; entries that are missing are passed over
    """
    sentences, (clean, *_) = [], mismatch.SMALL
    for dataset, networks in NETWORKS.items():
        known, *cameras = networks
        for title in cameras:
            gains = {damage: measured[key]["gain"]["mean"] for damage in mismatch.SMALL
                     if (key := f"{dataset}, {title}, {damage}") in measured}
            if not gains or f"{dataset}, {known}, {clean}" not in measured:
                continue
            more = gains[clean] - measured[f"{dataset}, {known}, {clean}"]["gain"]["mean"]
            lowest = min(gains, key=gains.get)
            sentences.append(f"{dataset}, {title}: {more:+.2f} dB over the network that knows bicubic only, on "
                             f"{clean!r}; the lowest gain over the input is {gains[lowest]:+.2f} dB ({lowest})")
    return sentences


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
