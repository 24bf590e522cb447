import numpy as np
import pytest

import util
from download_module.degrade import add_noise, degrade
from inception2_module import classical, evaluation, scores
from inception2_module.tileset import Tiles

N, SIZE = 3, 32
SCENES = (0, 1, 1)


@pytest.fixture(autouse=True)
def no_bm3d(monkeypatch):
    """BM3D takes seconds a tile, and is not everywhere."""
    monkeypatch.delitem(classical.DENOISERS, classical.bm3d)


def smooth_tiles(n=N, size=SIZE):
    """Planted tiles y = 5 + 3x of different slopes: one misaligned or swapped tile shows."""
    x = np.arange(size)
    return np.stack([np.dstack([np.tile(5 + (i + 1) * x, (size, 1))] * 3) for i in range(n)]).astype(np.uint8)


def noisy(target):
    return np.stack([add_noise(tile, 64, np.random.default_rng(i)) for i, tile in enumerate(target)])


def test_score_keeps_the_order_of_the_tiles_and_both_means():
    target = smooth_tiles()
    restored = target.copy()
    restored[1] += 10
    restored[2] += 20
    score = evaluation.score(target, restored)
    psnrs = [scores.PSNR_OF_EQUAL, 10 * np.log10(255**2 / 100), 10 * np.log10(255**2 / 400)]
    np.testing.assert_allclose(score["psnr_tiles"], psnrs, atol=1e-5)
    assert score["psnr"] == pytest.approx(np.mean(psnrs), abs=1e-5)
    assert score["psnr_of_mean_mse"] == pytest.approx(10 * np.log10(255**2 / (500 / 3)), abs=1e-5)
    assert len(score["ssim_tiles"]) == N


def test_a_shift_by_one_pixel_is_seen():
    target = smooth_tiles()
    restored = np.roll(target, 1, axis=2)
    assert evaluation.score(target, restored)["psnr"] < evaluation.score(target, target)["psnr"] - 20


def test_paired_difference_is_paired():
    values = np.array([20.0, 30.0, 40.0, 50.0])
    difference = evaluation.paired_difference(values + 0.5, values, range(4))
    assert difference == {"mean": 0.5, "low": 0.5, "high": 0.5}


def test_the_interval_of_a_difference_holds_its_mean():
    rng = np.random.default_rng(1)
    difference = evaluation.paired_difference(rng.normal(1, 1, 400), np.zeros(400), range(400))
    assert difference["low"] < difference["mean"] < difference["high"]
    assert difference["high"] - difference["low"] == pytest.approx(2 * 1.96 / 20, rel=0.2)


def test_an_interval_counts_scenes_not_tiles():
    """Nine equal tiles of a scene say no more than one of them; scenes weigh as much as they have tiles."""
    values = np.random.default_rng(1).normal(1, 1, 100)
    one, nine = (evaluation.paired_difference(np.repeat(values, n), np.zeros(100 * n), np.repeat(range(100), n))
                 for n in (1, 9))
    assert one == nine
    uneven = evaluation.paired_difference([1.0, 1.0, 1.0, 5.0], np.zeros(4), [7, 7, 7, 2])
    assert uneven == {"mean": 2.0, "low": 1.0, "high": 5.0}


def test_every_method_is_scored_on_the_same_tiles_and_a_loss_is_said(tmp_path):
    target = smooth_tiles()
    tiles = Tiles(target, noisy(target), SCENES)
    fields, images, restore_best = evaluation.evaluate("noise_s64", tiles, tiles, lambda tiles: tiles, tmp_path)
    assert list(fields["methods"]) == ["input", "non_local_means", "total_variation", "wavelet", "restored"]
    assert list(images) == ["input", "restored"]
    assert {len(scores["psnr_tiles"]) for scores in fields["methods"].values()} == {N}
    assert fields["differences"]["restored - input"]["mean"] == 0
    assert fields["best_without_network"] in fields["warning"]
    assert "returns its input, but for rounding, and" in fields["warning"]
    best = evaluation.score(target, restore_best(target, tiles.degraded))
    assert best == fields["methods"][fields["best_without_network"]]
    assert best["psnr"] == max(row["psnr"] for name, row in fields["methods"].items() if name != "restored")
    worse, *_ = evaluation.evaluate("noise_s64", tiles, tiles, lambda tiles: tiles // 2, tmp_path)
    assert "dB worse than" in worse["warning"]


def test_what_is_kept_for_the_next_network_belongs_to_the_same_tiles(tmp_path):
    target = smooth_tiles()
    pairs = [Tiles(target, np.stack([degrade(tile, "sr_x4", None) for tile in other]), SCENES)
             for other in (target, 255 - target)]
    first, again, other, validated = (
        evaluation.evaluate("sr_x4", test, validation, lambda tiles: tiles, tmp_path)[0]["methods"]
        for test, validation in ((pairs[0], pairs[0]), (pairs[0], pairs[0]), pairs, (pairs[1], pairs[0]))
    )
    assert first == again == other
    assert validated["input"] != first["input"]
    alone, *_ = evaluation.evaluate("sr_x4", pairs[1], pairs[0], lambda tiles: tiles, tmp_path / "empty")
    assert validated == alone["methods"]


def test_other_kinds_say_how_they_are_measured(tmp_path):
    """The same bytes of another range are measured anew, and not taken from what is kept."""
    target = np.random.default_rng(0).integers(0, 1000, (3, SIZE, SIZE, 1)).astype(np.uint16)
    degraded = np.stack([degrade(tile, "sr_x4", None) for tile in target])
    rows = {}
    for high in (1000.0, 2000.0):
        tiles = Tiles(target, degraded, SCENES, kind=scores.Kind("uint16", 1, 0.0, high))
        fields, *_ = evaluation.evaluate("sr_x4", tiles, tiles, lambda tiles: tiles, tmp_path)
        assert fields["protocol"]["channels"] == "one channel"
        assert fields["protocol"]["data_range"] == high
        row = fields["methods"]["input"]
        rows[high] = row["psnr"]
        assert row["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(target.astype(float) - degraded))))
        assert f"{row['rmse']:.4g}" in evaluation.table(fields["methods"])
    assert rows[2000.0] == pytest.approx(rows[1000.0] + 20 * np.log10(2), abs=1e-4)


def test_groups_and_scenes_of_the_test_tiles_are_in_the_result():
    target = smooth_tiles()
    assert evaluation.about_tiles(Tiles(target, target, SCENES, groups=("rover", "terrain", "rover"))) == {
        "scenes": [0, 1, 1], "groups": ["rover", "terrain", "rover"],
    }
    assert evaluation.about_tiles(Tiles(target, target, SCENES)) == {"scenes": [0, 1, 1]}


def test_filters_that_were_learned_on_other_tiles_are_other_filters(tmp_path):
    target = np.random.default_rng(0).integers(0, 256, (4, SIZE, SIZE, 3), np.uint8)
    tiles = Tiles(target, np.stack([degrade(tile, "sr_x4", None) for tile in target]), (0, 1, 2, 3))
    seen = [Tiles(tiles.target[i : i + 2], tiles.degraded[i : i + 2], (0, 1)) for i in (0, 2)]
    rows = [evaluation.without_network("sr_x4", tiles, one, tmp_path)[1] for one in seen]
    assert rows[0]["lanczos"] == rows[1]["lanczos"]
    assert rows[0]["linear"] != rows[1]["linear"]


def test_who_is_interrupted_goes_on_from_the_last_part(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluation, "N_AT_ONCE", 1)
    target = smooth_tiles()
    tiles = Tiles(target, noisy(target), SCENES)
    restore, n_restored = classical.restore, []

    def until_interrupted(name, task, setting, target, degraded, kind, pool=None):
        if name == "wavelet" and len(n_restored) == 2:
            raise KeyboardInterrupt
        n_restored.extend(target if name == "wavelet" and len(target) == 1 else [])
        return restore(name, task, setting, target, degraded, kind, pool)

    monkeypatch.setattr(classical, "choose_setting", lambda *_: 1.0)
    monkeypatch.setattr(classical, "restore", until_interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluation.without_network("noise_s64", tiles, tiles, tmp_path)
    n_restored = [None] * 9
    evaluation.without_network("noise_s64", tiles, tiles, tmp_path)
    assert len(n_restored) == 10  # of three parts one was left


def test_other_settings_to_choose_from_are_chosen_from(tmp_path, monkeypatch):
    target = smooth_tiles()
    pair = Tiles(target, noisy(target), SCENES)
    for weight in (0.4, 0.8):
        monkeypatch.setattr(classical, "DENOISERS", {classical.total_variation: (weight, weight / 100)})
        fields, *_ = evaluation.evaluate("noise_s64", pair, pair, lambda tiles: tiles, tmp_path)
        assert fields["classical_settings"] == {"total_variation": weight}


def test_the_self_ensemble_is_a_method_of_its_own(tmp_path):
    target = smooth_tiles()
    degraded = np.stack([degrade(tile, "sr_x4", None) for tile in target])
    tiles = Tiles(target, degraded, SCENES)
    fields, *_ = evaluation.evaluate("sr_x4", tiles, tiles, lambda tiles: degraded, tmp_path, lambda tiles: target)
    assert fields["methods"]["restored_ensemble"]["psnr"] == scores.PSNR_OF_EQUAL
    assert fields["differences"]["restored_ensemble - lanczos"]["mean"] > 0
    assert fields["best_without_network"] in ("lanczos", "linear", "raisr")
    assert "dB better" in fields["warning"]


def test_a_network_that_wins_gets_no_warning(tmp_path):
    target = smooth_tiles()
    degraded = np.stack([degrade(tile, "sr_x4", None) for tile in target])
    tiles = Tiles(target, degraded, SCENES)
    fields, *_ = evaluation.evaluate("sr_x4", tiles, tiles, lambda tiles: target, tmp_path)
    assert fields["warning"] is None
    assert fields["methods"]["restored"]["psnr"] == scores.PSNR_OF_EQUAL


def result_of(values, name="one", inputs=0.0, scenes=None, groups=None, trained_on=(100, 0, 0)):
    """A result whose network has these PSNR values and whose input has another."""
    inputs = np.broadcast_to(inputs, np.shape(values)).tolist()
    return dict(zip(("n_train", "draw", "seed"), trained_on, strict=True)) | {
            "dataset": "mars", "name": name, "scenes": list(scenes or range(len(values))), "groups": groups,
            "methods": {"input": {"psnr_tiles": inputs}, "restored": {"psnr_tiles": list(values)}}}


def test_a_cell_of_one_draw_has_no_interval():
    assert evaluation.cell_gain([result_of([1.0, 3.0])]) == {
        "mean": 2.0, "low": None, "high": None, "n_draws": 1, "equal": None,
    }


def test_the_interval_of_a_cell_covers_draws_and_scenes():
    """Where scenes count for little it is Student's, where draws do the normal one."""
    scenes, draws = np.random.default_rng(0).normal(0, 1, 400), np.array([-0.2, 0.1, 0.4, -0.3, 0.0])
    for of_scenes, of_draws, expected in (
        (0.1, 1, 2.776 * np.sqrt(draws.var(ddof=1) / 5)), (1, 0.01, 1.96 * scenes.std() / 20),
    ):
        gain = evaluation.cell_gain([result_of(1 + of_scenes * (scenes - scenes.mean()) + of_draws * draw)
                                     for draw in draws])
        assert gain["mean"] == pytest.approx(1)
        assert gain["n_draws"] == 5
        assert (gain["high"] - gain["low"]) / 2 == pytest.approx(expected, rel=0.05)
        assert not gain["equal"]


def test_an_interval_of_three_draws_holds_the_truth_in_95_of_100_cells():
    """A bootstrap of the draws held it in 79 to 92 of them."""
    rng, n = np.random.default_rng(2), 200
    held = 0
    for _ in range(n):
        scenes = rng.normal(0, 0.5, 50)
        gain = evaluation.cell_gain([result_of(scenes + draw) for draw in rng.normal(0, 0.3, 3)])
        held += gain["low"] <= 0 <= gain["high"]
    assert held / n == pytest.approx(0.95, abs=0.04)


def test_tiles_of_one_scene_count_as_one():
    values = np.random.default_rng(1).normal(1, 1, 100)
    one, nine = (evaluation.cell_gain([result_of(np.repeat(values + draw, n), scenes=np.repeat(range(100), n).tolist())
                                       for draw in (0, 0.1, 0.2)]) for n in (1, 9))
    assert one == nine


def test_a_difference_within_the_spread_of_draws_is_equal():
    ours, theirs = ([result_of([value] * 50, trained_on=(n, draw, draw)) for draw, value in enumerate(values)]
                    for n, values in ((10, (1.0, 1.4, 1.2)), (100, (1.1, 1.5, 0.9))))
    near = evaluation.cell_difference(ours, theirs)
    assert near["mean"] == pytest.approx(1.2 - 3.5 / 3, abs=1e-5)
    assert near["equal"]
    far = evaluation.cell_difference(ours, [result_of([value] * 50, trained_on=(100, 0, value))
                                            for value in (-0.1, 0.3, -0.3)])
    assert far["low"] > 0
    assert not far["equal"]
    assert evaluation.cell_difference(ours, theirs[:1])["equal"] is None


def test_networks_of_the_same_tiles_are_compared_in_pairs():
    """Draws differ by more than the networks do, and one side lacks a draw."""
    ours, theirs = ([result_of([value] * 50, trained_on=(100, draw, draw)) for draw, value in enumerate(values)]
                    for values in ((1.0, 2.0, 3.0, 9.0), (0.9, 1.8, 2.9)))
    difference = evaluation.cell_difference(ours, theirs)
    assert difference["mean"] == pytest.approx(0.4 / 3, abs=1e-5)
    assert difference["n_draws"] == 3
    elsewhere = [one | {"trained_on": {"dataset": "photos"}} for one in theirs]
    assert evaluation.cell_difference(ours, elsewhere)["high"] > difference["high"] + 1  # not the same tiles
    assert difference["high"] - difference["low"] < 0.5
    assert evaluation.cell_difference(ours, theirs[1:2]) == evaluation.cell_gain(
        [result_of([0.2] * 50, trained_on=(100, 1, 1))])


def test_a_cell_can_be_of_one_group():
    draws = [result_of([1.0, 2.0, 9.0], groups=["terrain", "terrain", "rover"]) for _ in range(2)]
    assert evaluation.cell_gain(draws, group="terrain")["mean"] == 1.5
    assert evaluation.cell_gain(draws)["mean"] == 4


def test_draws_of_other_test_tiles_make_no_cell():
    with pytest.raises(util.UserError, match="one and other are of other test tiles"):
        evaluation.cell_gain([result_of([1.0, 2.0]), result_of([1.0, 2.0], "other", inputs=0.5)])


def test_table_shows_gains_over_the_input():
    target = smooth_tiles()
    methods = {"input": evaluation.score(target, target), "restored": evaluation.score(target, target + 1)}
    lines = evaluation.table(methods).splitlines()
    assert lines[1].split() == ["input", "100.00", "1.0000"]
    assert lines[2].split()[2] == "-51.87"
