"""Measure learning rates for the networks of the literature, on validation tiles, so that each is compared at its best.

    python3 -m benchmarks.rates     # after download.py: about twenty minutes on one CPU core

The recipe's rate was chosen for the paper's network. Mars x4, 100 tiles, a fifth of the updates of the committed
tables, one seed; measured on training tiles of images that the run has not seen. Writes results/rates.json after each
run: stop it at any moment, the same command goes on. The best ones stand in matrix.LEARNING_RATES.
"""

import sys
from pathlib import Path

import util
from inception2_module.experiments import with_recipe
from wi2_paper import unseen
from wi2_paper.matrix import BETTER, EQUAL_SECONDS

N_UPDATES = 600  # of the paper's network; the others train for the same time
RATES = (2e-3, 1e-3, 5e-4, 2.5e-4)
RESULT = Path("results") / "rates.json"


def main():
    unseen.measure_all([
        with_recipe("fewdata", model=model, learning_rate=rate, n_updates=round(N_UPDATES * EQUAL_SECONDS[model]))
        for model in EQUAL_SECONDS if model != BETTER for rate in RATES
    ], RESULT)


if __name__ == "__main__":
    sys.exit(util.run_cli(main))
