"""One experiment as a value: what is trained on what, how long, with which seed. Standard library only.

The name of a run is a function of its fields and is never parsed back: read its config.json or result.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Recipe:
    """How a network is trained when nothing else is said.

    The first four can be changed by an `Experiment`; the others are what makes the recipe.
    """

    n_updates: int
    batch_size: int
    learning_rate: float
    dropout: float
    start_at_identity: bool = False  # the last layers start at zero, so a network with bypass starts as its input
    warmup: float = 0.0  # part of the updates in which the learning rate rises; then it falls as a cosine to 0
    clip_norm: float | None = None  # of the gradient
    # Of Adam. Its default 1e-7 makes steps of full length out of the noise of small gradients: on Mars x4, starting at
    # the identity with an L1 loss, that killed the narrow ReLU layers within 250 updates. In short runs on validation
    # tiles 1e-6 with MSE kept them alive and learned faster than 1e-5.
    epsilon: float = 1e-7
    # Momentum of a moving average of the weights. The average with the best validation PSNR is the result, and the
    # untouched input is a candidate; without averaging the last weights are.
    averaging: float | None = None
    augment: bool = False  # see batches.draw_batch
    crop: int | None = None


RECIPES = {
    # Adam, MSE (both recipes), fixed pairs, no augmentation, the last weights are the result: the paper, section 3.
    "paper": Recipe(n_updates=100_000, batch_size=1, learning_rate=5e-4, dropout=0.2),
    "fewdata": Recipe(
        n_updates=20_000, batch_size=4, learning_rate=1e-3, dropout=0.0, start_at_identity=True,
        warmup=0.05, clip_norm=1.0, epsilon=1e-6, averaging=0.995, augment=True, crop=64,
    ),
}


@dataclass(frozen=True)
class Experiment:
    """All that decides the weights a run ends with, on one machine.

    n_train counts every tile the run may look at; `split_validation` holds some of them out. draw d uses
    the tiles d * n_train ... (d + 1) * n_train - 1 of the training set, so draws share no tile.
    """

    dataset: str = "mars"
    task: str = "sr_x4"
    model: str = "inception_unet_srcnn535"
    recipe: str = "paper"
    n_train: int = 100
    n_updates: int = RECIPES["paper"].n_updates
    batch_size: int = RECIPES["paper"].batch_size
    learning_rate: float = RECIPES["paper"].learning_rate
    dropout: float = RECIPES["paper"].dropout
    width: int = 64
    seed: int = 0
    draw: int = 0

    @property
    def interval(self):
        """Updates between two validations, each with a checkpoint; `fewdata` chooses its weights among them."""
        return min(500, max(1, self.n_updates // 4))

    @property
    def name(self):
        """File name of the run: what it is, then what departs from the recipe."""
        parts = [self.dataset, self.task, self.model, self.recipe, f"n{self.n_train}", f"u{self.n_updates}"]
        recipe = RECIPES[self.recipe]
        if self.batch_size != recipe.batch_size:
            parts.append(f"b{self.batch_size}")
        if self.learning_rate != recipe.learning_rate:
            parts.append(f"lr{self.learning_rate:g}")
        if self.dropout != recipe.dropout:
            parts.append(f"p{self.dropout:g}")
        if self.width != 64:
            parts.append(f"w{self.width}")
        return "-".join(parts + [f"draw{self.draw}", f"seed{self.seed}"])


def split_validation(sources):
    """Hold out a tenth of the tiles (1 to 50), by source image, for validation.

    Parameters
    ----------
    sources : list of str, the source image of each tile

    Returns
    -------
    (train, validation) : two sorted lists of indices into `sources`; they share no source image. Tiles of
        a held-out image beyond the tenth are in neither list.

    Raises
    ------
    ValueError
        When all tiles come from one image: nothing could be held out.
    """
    n_validation = min(50, max(1, len(sources) // 10))
    order = list(dict.fromkeys(sources))
    held_out, n_held_out = set(), 0
    while n_held_out < n_validation and len(order) > 1:
        source = order.pop()
        held_out.add(source)
        n_held_out += sources.count(source)
    if not held_out:
        raise ValueError("all tiles come from one image")
    validation = [i for i, source in enumerate(sources) if source in held_out]
    train = [i for i, source in enumerate(sources) if source not in held_out]
    return train, validation[:n_validation]


def _few_data(**options):
    recipe = RECIPES["fewdata"]
    return Experiment(
        recipe="fewdata", batch_size=recipe.batch_size, learning_rate=recipe.learning_rate, dropout=recipe.dropout,
        **options,
    )


QUICK = _few_data(dataset="sample", n_updates=2_000)  # what `make run` trains
# Whose networks are in weights/, under the name DATASET_TASK.
PUBLISHED = tuple(_few_data(task=task, n_train=1_000, n_updates=2_000) for task in ("sr_x4", "sr_x8", "noise_s64"))
# The rows of the README's table. The paper trains 100,000 updates; 6,000 is what two CPU cores do in about ten
# minutes, and on Mars x4 with 100 tiles the network gains no more after that.
MATRIX = (
    *(
        Experiment(dataset=dataset, task=task, n_updates=6_000)
        for dataset, task in (("mars", "sr_x4"), ("mars", "sr_x8"), ("mars", "noise_s64"), ("div2k", "sr_x4"))
    ),
    *PUBLISHED,
    QUICK,
)
