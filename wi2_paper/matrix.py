"""The experiments of the tables, the most telling first. No Keras in here."""

from dataclasses import replace

from inception2_module.experiments import ADAPT, NETWORKS, RECIPES, Experiment, with_recipe

CELLS = tuple((dataset, task) for dataset in ("mars", "div2k") for task in ("sr_x4", "sr_x8", "noise_s64"))
OTHER_TASKS = ("defocus_r3",)  # of Mars, each once
BETTER = "inception_unet_halved"
DEEP = "inception_unet_deep"  # for long trainings
COMPARED = ("paper", "fewdata")  # recipes
# What a camera may do to an image, to be undone without being told how much of it there is.
CAMERA = "blur_s0.5..2+sr_x4+noise_s0..10+jpeg_q50..95"
MARS_CAMERA = with_recipe("general", task=CAMERA, model=BETTER, n_train=10_000, n_updates=56_000)
QUICK = with_recipe("fewdata", dataset="sample", n_updates=1_000)  # what `make run` trains
# Part of each recipe's updates that the committed tables were trained with: a day on two CPU cores, when two parts run
# side by side.
BUDGET = {"fewdata": 1.0, "paper": 0.06}
N_MAX = {"mars": 10_000, "div2k": 799}  # the most tiles there are; the archives at hand gave 799 for DIV2K
N_TRAIN = {"mars": (10, 100, 1_000, 10_000), "div2k": (10, 100, 799)}
CURVE = (10, 30, 100, 300, 1_000, 10_000)  # tiles of the quality-versus-n curve, Mars sr_x4
DRAWS = {10: 5, 30: 5, 100: 3}  # draws of n tiles, for fewdata: the fewer tiles, the more it matters which
PAPER_DRAWS = {10: 3, 100: 3}  # and for paper, Mars x4, of which the paper says that few tiles are too few
# What the paper says a branch of its network is for: on Mars, the network without that branch beside the whole one.
BRANCHES = {"noise_s64": "inception_unet", "sr_x8": "unet_srcnn535"}
N_BRANCHES = {100: 3, 1_000: 1, 10_000: 1}  # draws of n tiles, of both networks
SEEDS_X8 = (1, 2)  # further seeds of paper on Mars x8 with all tiles, of which some trainings collapse
# The default network and tiles for more updates, at several rates: `python3 -m wi2_paper.unseen lengths`.
LENGTHS = tuple(
    with_recipe("fewdata", n_updates=n_updates, learning_rate=rate)
    for n_updates, rates in {3_000: (2e-3, 1e-3, 5e-4), 12_000: (2e-3, 1e-3, 5e-4), 50_000: (2e-3, 5e-4)}.items()
    for rate in rates
) + tuple(
    with_recipe("fewdata", task=task, n_train=10, draw=draw, seed=draw, learning_rate=rate)
    for task in ("sr_x8", "noise_s64") for draw in (3, 4) for rate in (2e-3, 1e-3)
)
# Longer runs than those of the tables, on Mars x4: python3 inception2.py with these options. Those with all tiles take
# hours, and a third less in bfloat16.
FULL = tuple(
    with_recipe(recipe, n_train=n, n_updates=n_updates, learning_rate=rate, precision=precision)
    for recipe, n, n_updates, rate, precision in (
        ("fewdata", 100, 50_000, None, "float32"), ("fewdata", 100, 12_000, 1e-3, "float32"),
        ("fewdata", 100, 12_000, 5e-4, "float32"), ("fewdata", 10_000, 50_000, None, "bfloat16"),
        ("paper", 10_000, 20_000, None, "float32"), ("paper", 10_000, RECIPES["paper"].n_updates, None, "float32"),
    )
)

# Photographs whose licence lets networks be given away: datasets/photos, see wi2_paper/README.md, Photographs.
PHOTOS = "photos"
PHOTO_NETWORKS = {
    name: with_recipe("general", dataset=PHOTOS, task=task, model=model, n_train=10_000, n_updates=n_updates,
                      precision=precision)
    for name, task, model, n_updates, precision in (
        ("photo_sr_x4", "sr_x4", BETTER, 24_000, "float32"),
        ("photo_sr_x8", "sr_x8", DEEP, 24_000, "bfloat16"),
        ("photo_sr_x2", "sr_x2", BETTER, 24_000, "bfloat16"),
        ("photo_noise", "noise_s0..100", DEEP, 24_000, "bfloat16"),
        ("photo_camera_x4", CAMERA, BETTER, 44_000, "float32"),
    )
}
# Trained for as many updates with the halved network: what the deep one gives.
HALVED_NOISE = replace(PHOTO_NETWORKS["photo_noise"], model=BETTER, precision="float32")
ADAPTED = {10: 3, 100: 1}  # draws of n tiles that a network of photographs is adapted to
# The network of weights/ that a training of a task starts from.
STARTS = {"sr_x2": "photo_sr_x2", "sr_x4": "photo_sr_x4", "sr_x8": "photo_sr_x8", "noise_s64": "photo_noise"}
# What the denoiser of photographs, which is not told how much noise there is, is measured on. The pairs are real
# photographs beside the mean of many of the same (PolyU), which may be measured on and nothing else.
BLIND = (
    *((dataset, f"noise_s{sigma}") for dataset in ("mars", "div2k") for sigma in (10, 25, 50, 64)), ("polyu", "pairs"),
)


def unseen(network, dataset, task):
    """Return the name of the result of a network of photographs on a data set that it has not seen."""
    return f"{PHOTO_NETWORKS[network].name}-on-{dataset}-{task}"


def adapted(dataset, task, n, draw=0):
    """Return the experiment that adapts a network of photographs to n tiles."""
    start = STARTS[task]
    return with_recipe(ADAPT, dataset=dataset, task=task, model=PHOTO_NETWORKS[start].model, n_train=n, draw=draw,
                       seed=draw, start=start)


def equal_seconds():
    """Return the networks that are compared at about the same seconds of training, ours not for more."""
    return tuple(name for name, network in NETWORKS.items() if network.pace)


def pace(model):
    """Return how many updates a network makes while the paper's makes one."""
    return NETWORKS[model].pace or 1.0


def updates_of(recipe):
    """Return how many updates of a recipe the tables show, for the paper's network."""
    return round(BUDGET[recipe] * RECIPES[recipe].n_updates)


def matrix(budget=None):
    """Return the experiments of the README, the most telling first.

    budget : float in (0, 1], part of the updates of each recipe, instead of that of the tables (`BUDGET`); each network
        gets the same seconds, see `pace`
    """
    paper, ours = Experiment.model, BETTER
    cells = [{"dataset": dataset, "task": task} for dataset, task in CELLS]
    wanted = [  # (recipe, options): first what the goals compare, then what a user takes, then the rest
        *(("fewdata", cell | {"n_train": 100}) for cell in cells),
        *(("paper", cell | {"n_train": 100}) for cell in cells),
        *(("paper", cell | {"n_train": N_MAX[cell["dataset"]]}) for cell in cells),
        *(("fewdata", cell | {"n_train": 100, "model": ours}) for cell in cells),
        *(("fewdata", cell | {"n_train": 10}) for cell in cells),
        *(("fewdata", {"task": task, "n_train": 1_000, "model": ours}) for _, task in CELLS[:3]),
        *(("fewdata", {"task": task, "model": model}) for _, task in CELLS[:3] for model in equal_seconds()),
        *(("paper", {"task": task, "n_train": n, "model": model, "draw": draw, "seed": draw})
          for draw in range(max(N_BRANCHES.values())) for n, draws in N_BRANCHES.items() if draw < draws
          for task, without in BRANCHES.items() for model in (without, paper)),
        *(("paper", {"task": "sr_x8", "n_train": N_MAX["mars"], "seed": seed}) for seed in SEEDS_X8),
        *(("paper", {"n_train": n, "draw": draw, "seed": draw})
          for n, draws in PAPER_DRAWS.items() for draw in range(draws)),
        *(("fewdata", {"n_train": n}) for n in CURVE),
        *(("fewdata", cell | {"n_train": n, "draw": draw, "seed": draw})
          for n in (10, 100) for draw in range(1, DRAWS[n]) for cell in cells),
        *(("fewdata", {"n_train": 30, "draw": draw, "seed": draw}) for draw in range(1, DRAWS[30])),
        *((recipe, cell | {"n_train": n, "model": model})
          for recipe in COMPARED for model in (paper, ours) for cell in cells for n in N_TRAIN[cell["dataset"]]),
        *((recipe, {"n_train": n, "model": model}) for recipe in COMPARED for model in (paper, ours) for n in CURVE),
        *(("fewdata", {"task": task, "n_train": 100, "model": ours}) for task in OTHER_TASKS),
    ]
    experiments = []
    for recipe, options in wanted:
        model = options.get("model", paper)
        n_updates = RECIPES[recipe].n_updates * (budget or BUDGET[recipe]) * pace(model)
        if NETWORKS[model].learning_rate:
            options = options | {"learning_rate": NETWORKS[model].learning_rate}
        experiments.append(with_recipe(recipe, **options, n_updates=max(1, round(n_updates))))
    for n, n_draws in ADAPTED.items():
        experiments += [adapted(*cell, n, draw) for draw in range(n_draws) for cell in CELLS if cell[1] in STARTS]
    return tuple(dict.fromkeys([*experiments, MARS_CAMERA, QUICK]))


# Domains far from photographs, with {tiles: draws}: `python3 -m wi2_paper.own_data` cuts their files and runs these.
OWN = {
    dataset: tuple(with_recipe("fewdata", dataset=dataset, task="sr_x4", model=BETTER, n_train=n, n_updates=n_updates,
                               draw=draw, seed=draw)
                   for n, n_draws in numbers.items() for draw in range(n_draws))
    for dataset, numbers, n_updates in (
        ("elevation", {10: 3, 100: 1}, 2_000), ("heat_maps", {100: 1}, 1_000), ("microscopy", {100: 1}, 1_000))
}

# Whose networks are in weights/, by their names there.
PUBLISHED = {
    f"{experiment.dataset}_{experiment.task}": experiment for experiment in matrix()
    if (experiment.dataset, experiment.model, experiment.recipe, experiment.n_train)
    == ("mars", BETTER, "fewdata", 1_000) and experiment != MARS_CAMERA
} | PHOTO_NETWORKS
# Licence and citation of a network where the manifest of its data cannot know them.
CREDITS = {PHOTOS: ("CC BY-SA 4.0", "1,816 crops of 181 photographs under CC0, CC BY and CC BY-SA; each with its "
                    "author, licence and source in weights/photos.csv")}
