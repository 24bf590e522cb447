"""Start from a trained network and a few tiles of one's own: adapt it, train from nothing beside it, blend what helps.

Which of the three is best depends on how near the start's images are to one's own: ten Mars tiles add little to a
network that has seen thousands of photographs, and ten elevation tiles are worth more than all of them. So the n tiles
themselves say it: each is restored by networks that have not seen it (folds by scene), and the weights of a
blend of the outputs are chosen for the best mean PSNR (stacking: Wolpert, Neural Networks 5(2), 1992; Breiman, Machine
Learning 24, 1996). The start alone is one of the blends, and own tiles alone another.
"""

from itertools import product

import numpy as np

import util
from inception2_module import backend, hosts, networkfile, networks, scores, training
from inception2_module.experiments import with_recipe

N_FOLDS = 3
N_ALL_FOLDS = 30  # tiles up to which each fold is held out in turn; of more tiles one fold tells enough
N_JUDGING = 50  # tiles of a fold that are restored, at most
STEP = 0.1  # of the weights of a blend
WORTH = 0.02  # dB that a further network has to give: each takes its time whenever an image is restored
OWN = 2  # updates of the network from nothing for each of the adapted one: it has further to go


def adapt(experiment, tiles, sides, run_dir, data_id):
    """Adapt the start of an experiment to a few tiles, or leave it as it is where that is better.

    Parameters
    ----------
    experiment : experiments.Experiment with `start`
    tiles : tileset.Tiles, all that the run may look at
    sides : (tileset.Tiles, tileset.Tiles), those of them to train on and those that validate, as for `training.train`
    run_dir : path
        Gets config.json, model.keras, trained.json (also with the weights of the blend, and the gain of each network
        on tiles that it has not seen, dB) and a folder of each training, so that an interrupted run goes on
    data_id : str, see `training.train`

    Returns
    -------
    keras.Model, the start, another network or a blend of two or three; where the start has been trained on the same
        data set, the adapted one

    Raises
    ------
    util.UserError
        When all tiles show one scene, so that none can be held out; and as `training.train`.
    """
    if hosts.part()[1] > 1:
        raise util.UserError("--start is several short trainings and not for several hosts: run it on one, without "
                             "JAX_COORDINATOR_ADDRESS")
    run_dir.mkdir(parents=True, exist_ok=True)
    training.claim(run_dir, experiment, tiles, data_id)
    model_path, trained_path = run_dir / "model.keras", run_dir / "trained.json"
    if model_path.exists() and trained_path.exists():
        return networkfile.load_model(model_path)
    fields = ("dataset", "task", "model", "width", "n_train", "seed", "draw")
    experiments = {"adapted": experiment, "own": with_recipe(
        "fewdata", n_updates=OWN * experiment.n_updates, **{field: getattr(experiment, field) for field in fields}
    )}
    known, start, seconds = networkfile.find_weights(experiment.start)[1], training.load_start(experiment, tiles), []

    def train(name, train_tiles, validation_tiles, folder, choose):
        if name == "start":
            return start
        print(f"{folder}: {experiments[name].n_updates:,} updates", flush=True)
        model = training.train(experiments[name], train_tiles, validation_tiles, run_dir / folder, data_id, choose)
        seconds.append(util.read_json(run_dir / folder / "trained.json")["seconds_train"])
        return model

    names, products, inputs = ["start", *experiments], [], []
    folds = folds_of(tiles.scenes)
    if known["dataset"] == experiment.dataset:  # the start may have seen any of the tiles: no fold can judge it
        names, folds = ["adapted"], []
    elif len(folds) == 1:
        raise util.UserError(f"the {len(tiles)} tiles show one scene, and none can be held out to judge the start: "
                             "take more of them, --n-train")
    for number, fold in enumerate(folds if len(tiles) <= N_ALL_FOLDS else folds[:1]):
        judged = tiles.take(fold[:N_JUDGING])
        seen = tiles.take([i for i in range(len(tiles)) if i not in fold])
        models = [train(name, seen, judged, f"fold{number + 1}-{name}", False) for name in names]
        restored = [networkfile.restore_tiles(model, judged.degraded, judged.kind) for model in models]
        products.append(error_products(judged.target, restored))
        inputs.append(scores.psnr(judged.target, judged.degraded, judged.kind))
        if not number:  # who has nothing to add after one fold is not trained on the others
            weights = choose_blend(products[0], tiles.kind.data_range, worth=0)
            kept = [i for i, name in enumerate(names) if weights[i] or name == "start"]
            names, products = [names[i] for i in kept], [products[0][:, kept][:, :, kept]]
    weights, gains = {"adapted": 1.0}, {}
    if folds:
        products = np.concatenate(products)
        chosen = choose_blend(products, tiles.kind.data_range)
        weights = {name: round(float(weight), 3) for name, weight in zip(names, chosen, strict=True) if weight}
        alone = scores.psnr_of_mse(np.diagonal(products, axis1=1, axis2=2), tiles.kind.data_range).mean(axis=0)
        gains = dict(zip(names, (alone - np.concatenate(inputs).mean()).round(3).tolist(), strict=True))
        print(f"gain on tiles held out: {', '.join(f'{name} {gain:+.2f} dB' for name, gain in gains.items())}; taken: "
              f"{' + '.join(f'{weight:g} {name}' for name, weight in weights.items())}", flush=True)
    model = networks.blend([train(name, *sides, name, True) for name in weights], list(weights.values()))
    networkfile.save_model(model, model_path)
    util.write_json(trained_path, {
        "seconds_train": round(sum(seconds), 1), "chosen_update": None, "dead_channels": None,
        "blend": weights, "gain_on_unseen": gains, **backend.describe(),
    })
    return model


def folds_of(scenes):
    """Part tiles by scene: list of up to `N_FOLDS` lists of indices; each scene is in one of them."""
    numbers = list(dict.fromkeys(scenes))
    folds = [[i for i, scene in enumerate(scenes) if scene in numbers[fold::N_FOLDS]] for fold in range(N_FOLDS)]
    return [fold for fold in folds if fold]


def error_products(target, restored):
    """Mean products of the errors of k networks: tiles (N, H, W, C) and k times the same -> float64 (N, k, k)."""
    errors = np.stack([image.astype(np.float64) - target for image in restored], axis=1)
    errors = errors.reshape(*errors.shape[:2], -1)
    return errors @ errors.transpose(0, 2, 1) / errors.shape[2]


def choose_blend(products, data_range, worth=WORTH):
    """Choose the weights of a blend, k floats with sum 1, in steps of `STEP`, by the mean PSNR of the tiles.

    Of those that come within `worth` dB of the best, one of the fewest networks; of several of one network the first,
    which need not be trained.

    products : float (N, k, k), see `error_products`
    """
    n_steps, k = round(1 / STEP), products.shape[1]
    blends = np.array([steps for steps in product(range(n_steps + 1), repeat=k) if sum(steps) == n_steps]) / n_steps
    psnrs = scores.psnr_of_mse(np.einsum("bi,nij,bj->bn", blends, products, blends), data_range).mean(axis=1)
    good = np.flatnonzero(psnrs >= psnrs.max() - worth)
    return blends[min(good, key=lambda i: (np.count_nonzero(blends[i]), blends[i][0] < 1, -psnrs[i]))]
