"""The experiments of the tables, the most telling first. No Keras in here."""

from inception2_module.experiments import RECIPES, Experiment, with_recipe

CELLS = tuple((dataset, task) for dataset in ("mars", "div2k") for task in ("sr_x4", "sr_x8", "noise_s64"))
BETTER = "inception_unet_halved"
QUICK = with_recipe("fewdata", dataset="sample", n_updates=1_000)  # what `make run` trains
# Part of each recipe's updates that the committed tables were trained with: about twelve hours on two CPU cores, when
# two parts run side by side.
BUDGET = 0.06
N_MAX = {"mars": 10_000, "div2k": 799}  # the most tiles there are; the archives at hand gave 799 for DIV2K
N_TRAIN = {"mars": (10, 100, 1_000, 10_000), "div2k": (10, 100, 799)}
CURVE = (10, 30, 100, 300, 1_000, 10_000)  # tiles of the quality-versus-n curve, Mars sr_x4
N_DRAWS = 3  # for fewdata with the paper's network, up to 100 tiles
# Updates in the time that the paper's network takes for one, as `python3 -m benchmarks.speed` measured them on one core
# (results/benchmark_speed.json): all networks of a table train for about the same seconds, ours not for more.
EQUAL_SECONDS = {BETTER: 1.35, "edsr_8": 2.15, "edsr_baseline": 0.75, "care_unet": 0.5, "dncnn": 0.18}
# Where the recipe's rate is not the best of results/rates.json, which `python3 -m benchmarks.rates` measured on
# validation tiles of Mars x4.
LEARNING_RATES = {"edsr_8": 1e-3, "edsr_baseline": 1e-3, "care_unet": 1e-3, "dncnn": 1e-3}


def matrix(budget=BUDGET):
    """Return the experiments of the README, the most telling first.

    budget : float in (0, 1], part of the updates of each recipe; see also `EQUAL_SECONDS`
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
        *(("fewdata", {"task": task, "model": model}) for _, task in CELLS[:3] for model in EQUAL_SECONDS),
        *(("fewdata", {"n_train": n}) for n in CURVE),
        *(("fewdata", cell | {"n_train": n, "draw": draw, "seed": draw})
          for n in (10, 100) for draw in range(1, N_DRAWS) for cell in cells),
        *(("fewdata", {"n_train": 30, "draw": draw, "seed": draw}) for draw in range(1, N_DRAWS)),
        *((recipe, cell | {"n_train": n, "model": model})
          for recipe in RECIPES for model in (paper, ours) for cell in cells for n in N_TRAIN[cell["dataset"]]),
        *((recipe, {"n_train": n, "model": model}) for recipe in RECIPES for model in (paper, ours) for n in CURVE),
    ]
    experiments = []
    for recipe, options in wanted:
        n_updates = RECIPES[recipe].n_updates * budget * EQUAL_SECONDS.get(options.get("model"), 1)
        if options.get("model") in LEARNING_RATES:
            options = options | {"learning_rate": LEARNING_RATES[options["model"]]}
        experiments.append(with_recipe(recipe, **options, n_updates=max(1, round(n_updates))))
    return tuple(dict.fromkeys([*experiments, QUICK]))


# Whose networks are in weights/, under the name DATASET_TASK.
PUBLISHED = tuple(
    experiment for experiment in matrix()
    if (experiment.dataset, experiment.model, experiment.recipe, experiment.n_train)
    == ("mars", BETTER, "fewdata", 1_000)
)
