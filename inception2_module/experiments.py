"""Which networks and recipes there are, and one experiment as a value. Standard library only.

An experiment says what is trained on what, how long, with which seed.

The name of a run is a function of its fields and is never parsed back: read its config.json or result.
"""

from dataclasses import dataclass, field, fields, replace
from pathlib import Path


@dataclass(frozen=True)
class Network:
    """A network that can be trained; the table of networks, the help and the comparison at equal seconds read this."""

    title: str
    summary: str  # in a table
    # "file.function" of this folder, which makes the layers: (x, width, last, **options) -> list of branches that are
    # summed; see networks.build_model. A name, so that a command's help needs no Keras.
    builder: str
    n_parameters: int  # at width 64
    options: dict = field(default_factory=dict)
    has_dropout: bool = False  # then the builder has an option `dropout`
    # Updates in the time that the paper's network takes for one, as `python3 -m wi2_paper.benchmarks.speed` measured
    # them on one core. None: not part of the comparison at equal seconds.
    pace: float | None = None
    # Where the recipe's is not the best of results/rates.json (`python3 -m wi2_paper.unseen rates`).
    learning_rate: float | None = None


def _paper(title, summary, n_parameters, *branches, pace=None):
    return Network(title, summary, "networks.paper", n_parameters, {"branches": branches}, True, pace)


NETWORKS = {
    "inception_unet_srcnn535": _paper(
        "Inception-Unet+SRCNN535", "input + U-Net + SRCNN535: the paper's network, the default", 805_638,
        "bypass", "unet", "srcnn535", pace=1.0,
    ),
    "inception_unet": _paper("Inception-Unet", "input + U-Net", 779_907, "bypass", "unet"),
    "unet_srcnn535": _paper(
        "U-Net+SRCNN535", "U-Net + SRCNN535, without the bypass of the input", 805_638, "unet", "srcnn535",
    ),
    "unet": _paper("U-Net", "U-Net alone", 779_907, "unet"),
    "srcnn535": _paper("SRCNN535", "SRCNN535 alone", 25_731, "srcnn535"),
    "inception_unet_halved": Network(
        "Inception-Unet, halved", "input + U-Net + local branch, both on features at half the sides",
        "networks.halved", 586_886, has_dropout=True, pace=1.35,
    ),
    "inception_unet_deep": Network(
        "Inception-Unet, deep", "the halved network and eight residual blocks at a quarter of the sides in its U-Net",
        "networks.halved", 1_177_734, {"n_blocks": 4}, has_dropout=True,
    ),
    "edsr_8": Network(
        "EDSR, 8 blocks", "EDSR (Lim et al., 2017) at a quarter of the sides, 8 blocks", "baselines.edsr", 683_139,
        {"n_blocks": 8, "shuffles": (4,)}, pace=2.15, learning_rate=1e-3,
    ),
    "edsr_baseline": Network(
        "EDSR-baseline", "EDSR (Lim et al., 2017) at a quarter of the sides, 16 blocks", "baselines.edsr", 1_543_107,
        {"n_blocks": 16, "shuffles": (2, 2)}, pace=0.75, learning_rate=1e-3,
    ),
    "care_unet": Network(
        "CARE-like U-Net", "a U-Net like CARE's (Weigert et al., 2018)", "baselines.care_unet", 924_643, pace=0.5,
        learning_rate=1e-3,
    ),
    "dncnn": Network(
        "DnCNN", "DnCNN of 17 layers (Zhang et al., 2017)", "baselines.dncnn", 560_323, learning_rate=1e-3,
    ),
}


@dataclass(frozen=True)
class Recipe:
    """How a network is trained when nothing else is said.

    The first four can be changed by an `Experiment`; the others are what makes the recipe. The default of a new field
    is what was done before it: a run that was stopped before then goes on, see training.train.
    """

    n_updates: int
    batch_size: int
    learning_rate: float
    dropout: float
    optimizer: str = "adam"  # or "muon", see muon.py
    loss: str = "mse"  # or "charbonnier", see training.charbonnier
    start_at_identity: bool = False  # see networks.build_model
    standardise: float | None = None  # see networks.standardise
    standardise_noisy: bool = True  # also for tasks with noise at full size, which are learned more slowly then
    # Part of the updates in which the learning rate rises; then it falls as a cosine to 0. None: a constant rate.
    warmup: float | None = None
    clip_norm: float | None = None  # of the gradient
    # Momentum of a moving average of the weights. The last average is the result unless an earlier one, or the
    # untouched input, was better on validation tiles, see training.last_is_as_good; without it the last weights are.
    averaging: float | None = None
    symmetries: bool = False  # these eight: see batches.draw_batch
    permute_channels: bool = False
    fresh_degradation: bool = False
    crop: int | None = None
    shrunk: float = 0.0
    gray: float = 0.0
    weak_noise: float = 1.0
    left_out: float = 0.0
    picked: float = 0.0


RECIPES = {
    # Adam, MSE, fixed pairs, no augmentation, the last weights are the result: the paper, section 3.
    "paper": Recipe(n_updates=100_000, batch_size=1, learning_rate=5e-4, dropout=0.2),
    # What a user with few tiles should take; wi2_paper.unseen measures what each ingredient gives.
    "fewdata": Recipe(
        n_updates=3_000, batch_size=4, learning_rate=2e-3, dropout=0.0, optimizer="muon", loss="charbonnier",
        start_at_identity=True, standardise=0.25, standardise_noisy=False, warmup=0.05, clip_norm=1.0, averaging=0.995,
        symmetries=True, permute_channels=True, fresh_degradation=True, crop=64,
    ),
}
# For thousands of photographs and networks that anyone may take: a gray image's noise is the same in all channels, most
# images have little of it, of several damages some are not there, and some small images are made by leaving pixels out.
RECIPES["general"] = replace(
    RECIPES["fewdata"], n_updates=24_000, learning_rate=5e-4, gray=0.25, weak_noise=2.0, left_out=0.75, picked=0.2,
)
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class Experiment:
    """All that decides the weights a run ends with, on one machine.

    n_train counts every tile the run may look at; `split_validation` holds some of them out. draw d uses
    the tiles d * n_train ... (d + 1) * n_train - 1 of the training set, so draws share no tile.
    """

    dataset: str = "mars"
    task: str = "sr_x4"
    model: str = "inception_unet_srcnn535"
    recipe: str = "fewdata"
    n_train: int = 100
    n_updates: int = RECIPES["fewdata"].n_updates
    batch_size: int = RECIPES["fewdata"].batch_size
    learning_rate: float = RECIPES["fewdata"].learning_rate
    dropout: float = RECIPES["fewdata"].dropout
    width: int = 64
    seed: int = 0
    draw: int = 0
    start: str | None = None  # the network that the training starts from, whose `model` and `width` these are
    precision: str = PRECISIONS[0]  # of the hidden layers while they learn

    @property
    def interval(self):
        """Updates between two validations, each with a checkpoint; `fewdata` may take its weights from one of them."""
        return min(500, max(1, self.n_updates // 4))

    @property
    def name(self):
        """File name of the run: what it is, then what departs from the recipe."""
        parts = [self.dataset, self.task, self.model, self.recipe, f"n{self.n_train}", f"u{self.n_updates}"]
        recipe = recipe_of(self)
        if self.batch_size != recipe.batch_size:
            parts.append(f"b{self.batch_size}")
        if self.learning_rate != recipe.learning_rate:
            parts.append(f"lr{self.learning_rate:g}")
        if self.dropout != recipe.dropout:
            parts.append(f"p{self.dropout:g}")
        if self.width != 64:
            parts.append(f"w{self.width}")
        if self.precision != PRECISIONS[0]:
            parts.append(self.precision)
        if self.start:
            parts.append(f"start_{name_of(self.start)}")
        return "-".join(parts + [f"draw{self.draw}", f"seed{self.seed}"])


OF_START = ("model", "recipe", "width", "dropout")  # what a training takes from the network that it starts from


def name_of(network):
    """Return what a network is called, from its name or the path of its file: a training has the name of its folder."""
    path = Path(network)
    return path.parent.name if path.name == "model.keras" else path.name.removesuffix(".keras")


def arguments(experiment):
    """Return the command line of inception2.py that stands for an experiment."""
    left_out = (*OF_START, "precision") if experiment.start else ("start",)
    named = ((field.name, getattr(experiment, field.name)) for field in fields(experiment))
    return [part for name, value in named if name not in left_out
            for part in (f"--{name.replace('_', '-')}", str(value))]


def recipe_of(experiment):
    """Return the `Recipe` of an experiment, of whichever kind."""
    return _ALL[experiment.recipe]


def with_recipe(recipe, **options):
    """Return an `Experiment` with the settings of a recipe (a name) but for the options given that are not None."""
    recipe = recipe or Experiment.recipe
    values = _ALL[recipe]
    settings = {name: getattr(values, name) for name in ("n_updates", "batch_size", "learning_rate", "dropout")}
    return Experiment(recipe=recipe, **(settings | {key: value for key, value in options.items() if value is not None}))


@dataclass(frozen=True)
class Change:
    """One ingredient of `fewdata` changed: what the table of the ablation calls it, and the fields of the recipe."""

    title: str
    fields: dict


CHANGES = {
    "adam": Change("Adam instead of Muon", {"optimizer": "adam", "learning_rate": 1e-3}),
    "dropout": Change("dropout 0.2", {"dropout": 0.2}),
    "mse": Change("mean squared error", {"loss": "mse"}),
    "no-symmetries": Change("no turning and mirroring", {"symmetries": False}),
    "no-channels": Change("no permuted channels", {"permute_channels": False}),
    # The same number of pixels in a batch.
    "no-crops": Change("whole tiles, batch 1, low-resolution grid fixed", {"crop": None, "batch_size": 1}),
    "no-warmup": Change("no warm-up", {"warmup": 0.001}),  # one update of a thousand
    "no-schedule": Change("constant learning rate, no warm-up", {"warmup": None}),
    "no-clipping": Change("gradients not clipped", {"clip_norm": None}),
    "no-identity": Change("not started as the identity", {"start_at_identity": False}),
    "no-averaging": Change("last weights, no averaging or choice", {"averaging": None}),
    "no-standardising": Change("no standardised layers", {"standardise": None}),
    "standardising-noise": Change("standardised layers for noise too", {"standardise_noisy": True}),
    "no-fresh-degradation": Change("fixed inputs", {"fresh_degradation": False}),
    "shrunk": Change("a quarter of the tiles shrunk", {"shrunk": 0.25}),
}
# `fewdata` and each of its changes, a recipe of its own.
ABLATION = {"fewdata": RECIPES["fewdata"]} | {
    f"fewdata-{name}": replace(RECIPES["fewdata"], **change.fields) for name, change in CHANGES.items()
}
# From the weights of a network that is trained already (`--start`), see adapting.py: gently, so that a few tiles do not
# spoil what it knows.
ADAPT = "adapt"
_ALL = RECIPES | ABLATION | {
    ADAPT: replace(RECIPES["fewdata"], n_updates=1_000, learning_rate=5e-4, standardise=None),
}
