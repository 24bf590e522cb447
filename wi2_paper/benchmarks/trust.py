"""Ask whether the trust map tells the truth: are pixels of high uncertainty those with large errors?

    python3 -m wi2_paper.benchmarks.trust mars_sr_x4 --dataset mars --n-test 100

Writes results/trust_NAME.json: for each test tile the rank correlation (Spearman) between the map and the absolute
error, both averaged over squares of 4x4 pixels because the error of one pixel is a matter of luck, and the mean
error in each fifth of the squares, sorted by uncertainty.
"""

import sys
from pathlib import Path

import numpy as np
from scipy.stats import spearmanr

import util
from download_module.degrade import task_of
from inception2_module import networkfile, provenance, scores, symmetries
from inception2_module.tileset import TileSet

SQUARE = 4


def main():
    parser = util.Parser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="a network of weights/")
    parser.add_argument("--dataset", default="mars", help="whose test tiles (default %(default)s)")
    parser.add_argument("--n-test", type=int, default=100, help="the first n of them (default %(default)s)")
    options = parser.parse_args()

    path, card = networkfile.find_weights(options.weights)
    model, scale = networkfile.load_model(path), task_of(card["task"]).scale
    restore = symmetries.with_symmetries(
        lambda x: np.asarray(model.predict_on_batch(x)), ensemble=False, trust=True, scale=scale
    )
    tiles = TileSet("datasets", options.dataset, card["task"]).read_test(options.n_test)
    correlations, errors, uncertainties = [], [], []
    for clean, tile in zip(tiles.target, tiles.degraded, strict=True):
        output = restore(tile[None].astype(np.float32) / scores.DATA_RANGE)[0]
        error = np.abs(scores.to_uint8(output[..., :3]).astype(float) - clean).mean(axis=-1)
        uncertainties.append(in_squares(output[..., 3]).ravel())
        errors.append(in_squares(error).ravel())
        correlations.append(float(spearmanr(uncertainties[-1], errors[-1]).statistic))
    order = np.argsort(np.concatenate(uncertainties))
    fifths = [float(part.mean()) for part in np.array_split(np.concatenate(errors)[order], 5)]
    result = {
        "weights": options.weights, "sha256": card["sha256"], "dataset": options.dataset, "task": card["task"],
        "n_test": len(tiles), "square": SQUARE, "spearman_mean": float(np.mean(correlations)),
        "spearman_tiles": [round(value, 4) for value in correlations],
        "mean_error_by_fifth_of_uncertainty": [round(value, 3) for value in fifths],
        "versions": provenance.versions(), "git_commit": provenance.git_commit(),
    }
    util.write_json(Path("results") / f"trust_{options.weights}.json", result)
    print(f"rank correlation {result['spearman_mean']:.3f}; mean error in gray levels by fifth of uncertainty: "
          + " ".join(f"{value:.2f}" for value in fifths))


def in_squares(image):
    """Average (H, W) over squares: (H / SQUARE, W / SQUARE)."""
    height, width = (side // SQUARE for side in image.shape)
    return image[: height * SQUARE, : width * SQUARE].reshape(height, SQUARE, width, SQUARE).mean(axis=(1, 3))


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
