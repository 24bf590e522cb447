from dataclasses import replace

import pytest

from experiments import Experiment, split_validation


def test_every_field_has_a_part_in_the_name():
    base = Experiment()
    others = [
        replace(base, dataset="div2k"), replace(base, task="sr_x8"), replace(base, model="unet"),
        replace(base, n_train=10), replace(base, n_updates=10), replace(base, batch_size=2),
        replace(base, learning_rate=1e-3), replace(base, dropout=0.0), replace(base, width=8),
        replace(base, seed=1), replace(base, draw=1),
    ]
    assert len({experiment.name for experiment in [base, *others]}) == 12


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
