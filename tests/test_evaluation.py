import numpy as np
import pytest

from download_module.degrade import add_noise, degrade
from inception2_module import classical, evaluation, scores
from inception2_module.tileset import Tiles

N, SIZE = 3, 32
SCENES = (0, 1, 1)


@pytest.fixture(scope="module")
def pool():
    with classical.workers() as pool:
        yield pool


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


@pytest.mark.parametrize("name", ["non_local_means", "total_variation", "wavelet"])
def test_denoisers_denoise_every_tile_in_its_place(pool, name):
    target = smooth_tiles()
    degraded = noisy(target)
    settings = classical.settings_for("noise_s64")[name]
    restored = classical.restore(name, settings[len(settings) // 2], target, degraded, pool)
    assert restored.dtype == np.uint8
    assert (scores.mse(target, restored) < scores.mse(target, degraded) / 2).all()


def test_lanczos_enlarges_the_low_resolution_tile(pool):
    target = smooth_tiles()
    restored = classical.restore("lanczos", 4, target, np.zeros_like(target), pool)
    assert (scores.psnr_of_mse(scores.mse(target, restored)) > 30).all()


def test_settings_are_chosen_on_the_validation_tiles(pool):
    target = smooth_tiles()
    degraded = noisy(target)
    chosen = classical.choose_settings("noise_s64", (target, degraded), pool)
    clean = classical.choose_settings("noise_s64", (target, target), pool)
    assert chosen["total_variation"] > clean["total_variation"]


def test_sr_x8_is_enlarged_by_eight(pool):
    target = smooth_tiles()
    assert classical.choose_settings("sr_x8", (target, target), pool) == {"lanczos": 8}


def test_every_method_is_scored_on_the_same_tiles_and_a_loss_is_said(tmp_path):
    target = smooth_tiles()
    tiles = Tiles(target, noisy(target), SCENES)
    fields, images = evaluation.evaluate("noise_s64", tiles, tiles,
                                         lambda tiles: tiles, tmp_path)
    assert list(fields["methods"]) == ["input", "non_local_means", "total_variation", "wavelet", "restored"]
    assert list(images) == ["input", "restored"]
    assert {len(scores["psnr_tiles"]) for scores in fields["methods"].values()} == {N}
    assert fields["differences"]["restored - input"]["mean"] == 0
    assert fields["best_without_network"] in fields["warning"]
    assert "returns its input, but for rounding, and" in fields["warning"]
    worse, _ = evaluation.evaluate("noise_s64", tiles, tiles,
                                   lambda tiles: tiles // 2, tmp_path)
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
    alone, _ = evaluation.evaluate("sr_x4", pairs[1], pairs[0], lambda tiles: tiles, tmp_path / "empty")
    assert validated == alone["methods"]


def test_other_settings_to_choose_from_are_chosen_from(tmp_path, monkeypatch):
    target = smooth_tiles()
    pair = Tiles(target, noisy(target), SCENES)
    for weight in (0.1, 0.2):
        monkeypatch.setattr(classical, "_DENOISER_SETTINGS", {"total_variation": (weight, weight / 100)})
        fields, _ = evaluation.evaluate("noise_s64", pair, pair, lambda tiles: tiles, tmp_path)
        assert fields["classical_settings"] == {"total_variation": weight}


def test_the_self_ensemble_is_a_method_of_its_own(tmp_path):
    target = smooth_tiles()
    degraded = np.stack([degrade(tile, "sr_x4", None) for tile in target])
    tiles = Tiles(target, degraded, SCENES)
    fields, _ = evaluation.evaluate("sr_x4", tiles, tiles, lambda tiles: degraded,
                                    tmp_path, lambda tiles: target)
    assert fields["methods"]["restored_ensemble"]["psnr"] == scores.PSNR_OF_EQUAL
    assert fields["differences"]["restored_ensemble - lanczos"]["mean"] > 0
    assert fields["best_without_network"] == "lanczos"
    assert "dB better" in fields["warning"]


def test_a_network_that_wins_gets_no_warning(tmp_path):
    target = smooth_tiles()
    degraded = np.stack([degrade(tile, "sr_x4", None) for tile in target])
    tiles = Tiles(target, degraded, SCENES)
    fields, _ = evaluation.evaluate("sr_x4", tiles, tiles, lambda tiles: target,
                                    tmp_path)
    assert fields["warning"] is None
    assert fields["methods"]["restored"]["psnr"] == scores.PSNR_OF_EQUAL


def test_table_shows_gains_over_the_input():
    target = smooth_tiles()
    methods = {"input": evaluation.score(target, target), "restored": evaluation.score(target, target + 1)}
    lines = evaluation.table(methods).splitlines()
    assert lines[1].split() == ["input", "100.00", "1.0000"]
    assert lines[2].split()[2] == "-51.87"
