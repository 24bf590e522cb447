from dataclasses import replace

import pytest

from download_module.degrade import task_of
from inception2_module import experiments
from inception2_module.experiments import Experiment
from inception2_module.tileset import split_validation
from wi2_paper import matrix


def test_every_field_has_a_part_in_the_name():
    base = Experiment()
    others = [
        replace(base, dataset="div2k"), replace(base, task="sr_x8"), replace(base, model="unet"),
        replace(base, n_train=10), replace(base, n_updates=10), replace(base, batch_size=2),
        replace(base, learning_rate=3e-3), replace(base, dropout=0.1), replace(base, width=8),
        replace(base, seed=1), replace(base, draw=1), replace(base, precision="bfloat16"),
    ]
    assert len({experiment.name for experiment in [base, *others]}) == 13


def test_validation_and_training_share_no_source_image():
    sources = [f"image{i % 37}" for i in range(100)]
    train, validation = split_validation(sources)
    assert {sources[i] for i in train}.isdisjoint({sources[i] for i in validation})
    assert len(validation) == 10
    assert len(train) >= 80


@pytest.mark.parametrize(("n", "n_validation"), [(2, 1), (10, 1), (100, 10), (10_000, 50)])
def test_a_tenth_is_held_out(n, n_validation):
    train, validation = split_validation([f"image{i}" for i in range(n)])
    assert len(validation) == n_validation
    assert sorted(train + validation) == list(range(n))


def test_one_image_cannot_be_split():
    with pytest.raises(ValueError, match="one image"):
        split_validation(["a", "a", "a"])


def test_two_images_leave_one_to_train_on():
    assert split_validation(["a", "b", "a", "b", "a"]) == ([0, 2, 4], [1])


def test_the_matrix_holds_each_experiment_of_the_issue_once():
    whole = matrix.matrix()
    assert len({experiment.name for experiment in whole}) == len(whole)
    for dataset, numbers in {"mars": (10, 100, 1_000, 10_000), "div2k": (10, 100, 799)}.items():
        for task in ("sr_x4", "sr_x8", "noise_s64"):
            for n in numbers:
                for model in (Experiment.model, matrix.BETTER):
                    for recipe in ("paper", "fewdata"):
                        found = [e for e in whole if (e.dataset, e.task, e.n_train, e.model, e.recipe)
                                 == (dataset, task, n, model, recipe)]
                        draws = {}
                        if model == Experiment.model:
                            of_paper = matrix.PAPER_DRAWS if task == "sr_x4" else matrix.N_BRANCHES
                            draws = matrix.DRAWS if recipe == "fewdata" else of_paper if dataset == "mars" else {}
                        seeds = {}  # further ones of the same tiles, where there are no others
                        if (dataset, task, n, recipe, model) == ("mars", "sr_x8", 10_000, "paper", Experiment.model):
                            seeds = {0: [0, *matrix.SEEDS_X8]}
                        assert sorted({e.draw for e in found}) == list(range(draws.get(n, 1)))
                        for draw in {e.draw for e in found}:
                            assert [e.seed for e in found if e.draw == draw] == seeds.get(draw, [draw])


def test_one_network_a_task_is_published():
    mars = [experiment.task for experiment in matrix.PUBLISHED.values() if experiment.dataset == "mars"]
    assert mars == ["sr_x4", "sr_x8", "noise_s64"]
    for task, start in matrix.STARTS.items():
        assert task_of(matrix.PUBLISHED[start].task).covers(task_of(task))


def test_a_budget_scales_the_updates_and_the_name():
    small, full = (matrix.matrix(budget)[0] for budget in (0.01, 1.0))
    assert (small.n_updates, full.n_updates) == (30, 3_000)
    assert {e.n_updates for e in matrix.matrix(1.0) if e.recipe == "paper"} == {100_000, 135_000}
    assert small.name != full.name


def test_an_ablation_changes_one_ingredient():
    full = experiments.RECIPES["fewdata"]
    for name, recipe in experiments.ABLATION.items():
        changed = [field for field in vars(recipe) if getattr(recipe, field) != getattr(full, field)]
        with_a_setting_of_its_own = ("fewdata-no-crops", "fewdata-adam")  # batch size, learning rate
        assert len(changed) == (0 if name == "fewdata" else 2 if name in with_a_setting_of_its_own else 1)
