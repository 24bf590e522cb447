"""Kinds of files that once came back wrong, or were refused without need: each is made here, with the right answer."""

import struct
from pathlib import Path

import matplotlib
import numpy as np
import pytest
import skimage
import tifffile
from PIL import Image
from skimage import data

import util
from download_module.imagefile import read_picture, write_picture
from restore_module import files


def photo(size=64):
    return data.astronaut()[:size, :size].copy()


def gray(size=64):
    return data.camera()[100 : 100 + size, 200 : 200 + size].copy()


def bands(n, dtype, size=64):
    """(H, W, n), bands of ranges of their own."""
    return np.stack([gray(size).astype(dtype) // (2 + i) + 20 * i for i in range(n)], axis=-1)


def lzw(content):
    """LZW as TIFF has it, without any compression: codes of 9 bits, and the table cleared in time."""
    codes = [code for start in range(0, len(content), 200) for code in (256, *content[start : start + 200])]
    bits = "".join(f"{code:09b}" for code in [*codes, 257])
    bits += "0" * (-len(bits) % 8)
    return int(bits, 2).to_bytes(len(bits) // 8, "big")


def packbits(content):
    return b"".join(bytes([len(part) - 1]) + part for part in
                    (content[start : start + 128] for start in range(0, len(content), 128)))


PACKERS = {1: bytes, 5: lzw, 32773: packbits}


def differences(samples, predictor):
    """What a predictor leaves of samples (h, w, S): bytes."""
    if predictor == 1:
        return samples.tobytes()
    if predictor == 2:
        unsigned = samples.view(f"<u{samples.itemsize}")
        return np.diff(unsigned, axis=1, prepend=unsigned[:, :1] * 0).tobytes()
    height, width, n = samples.shape
    rows = samples.astype(samples.dtype.newbyteorder(">")).view(np.uint8).reshape(height, width * n, samples.itemsize)
    rows = np.moveaxis(rows, -1, 1).reshape(height, -1, n)
    return np.diff(rows, axis=1, prepend=rows[:, :1] * 0).tobytes()


def tiff(path, samples, photometric=1, compression=1, planar=1, predictor=1, extra=(), rows=None, tile=None, bits=None):
    """Write (H, W, S) by hand, little endian, in strips of `rows` or in tiles: what tifffile writes it reads well."""
    samples = samples.astype(samples.dtype.newbyteorder("<"))
    height, width, n = samples.shape
    planes = [samples[..., i : i + 1] for i in range(n)] if planar == 2 else [samples]
    step_y, step_x = (tile, tile) if tile else (rows or height, width)
    segments = []
    for plane in planes:
        for top in range(0, height, step_y):
            for left in range(0, width, step_x):
                part = plane[top : top + step_y, left : left + step_x]
                if tile:
                    part = np.pad(part, ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)))
                segments.append(PACKERS[compression](differences(np.ascontiguousarray(part), predictor)))
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    sizes = [len(segment) for segment in segments]
    starts = [8 + sum(sizes[:i]) for i in range(len(sizes))]
    fields = [(256, 4, [width]), (257, 4, [height]), (258, 3, n * [bits or 8 * samples.itemsize]),
              (259, 3, [compression]), (262, 3, [photometric]), (277, 3, [n]), (284, 3, [planar])]
    fields += [(317, 3, [predictor])]
    fields += [(322, 4, [tile]), (323, 4, [tile]), (324, 4, starts), (325, 4, sizes)] if tile \
        else [(273, 4, starts), (278, 4, [step_y]), (279, 4, sizes)]
    fields += [(338, 3, list(extra))] if extra else []
    fields += [(339, 3, n * [kind])]
    start = 8 + sum(sizes)
    table, values = struct.pack("<H", len(fields)), b""
    for code, type_, numbers in sorted(fields):
        packed = struct.pack(f"<{len(numbers)}{'HI'[type_ - 3]}", *numbers)
        if len(packed) > 4:
            place = start + 2 + 12 * len(fields) + 4 + len(values)
            values, packed = values + packed, struct.pack("<I", place)
        table += struct.pack("<HHI", code, type_, len(numbers)) + packed.ljust(4, b"\0")
    path.write_bytes(b"II*\0" + struct.pack("<I", start) + b"".join(segments) + table + bytes(4) + values)
    return path


def restored(path, out, predict=lambda inputs: inputs, **options):
    """The path of what `inception2.py restore` makes of a file, by default with a network that changes nothing."""
    files.restore_files([path], out, lambda: predict, "sr_x4", files.Options(scale=4, **options))
    return out / path.name


LAYOUTS = [
    {"compression": 5}, {"compression": 5, "rows": 7}, {"compression": 32773}, {"compression": 5, "tile": 16},
    {"compression": 5, "planar": 2}, {"compression": 5, "planar": 2, "tile": 48}, {"planar": 2, "rows": 10},
    {"compression": 5, "predictor": 2}, {"compression": 5, "predictor": 2, "planar": 2, "rows": 9},
]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int16", "int32", "float32", "float64"])
@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_bands_of_any_type_and_layout_come_back(tmp_path, n, dtype, layout):
    """One plane after another Pillow read as one band; 16 bits as 8, and signs as none."""
    samples = bands(n, "int16", 50).astype(dtype)
    path = tiff(tmp_path / "a.tif", samples, extra=(0,) * (n - 1), **layout)
    picture = read_picture(path)
    np.testing.assert_array_equal(picture.pixels, samples)
    assert (picture.pixels.dtype, picture.alpha) == (samples.dtype, None)
    write_picture(tmp_path / "b.tif", picture)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "b.tif").reshape(samples.shape), samples)


@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_predictor_of_floats_is_undone(tmp_path, dtype, planar):
    samples = bands(3, dtype, 50) / 7
    path = tiff(tmp_path / "a.tif", samples, compression=5, predictor=3, planar=planar, rows=8, extra=(0, 0))
    np.testing.assert_array_equal(read_picture(path).pixels, samples)


@pytest.mark.parametrize(("photometric", "extra", "n_bands", "alpha_at"), [
    (2, (0,), 4, None), (2, (2,), 3, 3), (2, (1,), 3, 3), (2, (2, 0), 4, 3), (1, (0, 2), 2, 2), (1, (2, 0, 0), 3, 1),
    (1, (2,), 1, 1), (1, (0,), 2, None), (1, (), 4, None),
])
def test_only_what_the_file_calls_alpha_is_alpha(tmp_path, photometric, extra, n_bands, alpha_at):
    samples = bands(n_bands + (alpha_at is not None), np.uint16)
    path = tiff(tmp_path / "a.tif", samples, photometric, extra=extra)
    picture = read_picture(path)
    assert picture.pixels.shape[2] == n_bands
    if alpha_at is None:
        assert picture.alpha is None
    else:
        np.testing.assert_array_equal(picture.alpha, samples[..., alpha_at])
    out = restored(path, tmp_path / "out")
    np.testing.assert_array_equal(tifffile.imread(out), samples)
    with tifffile.TiffFile(out) as tif:
        assert len(tif.pages) == 1
        assert tuple(map(int, tif.pages[0].extrasamples)) == (extra or (0, 0, 0))


def test_each_band_has_a_range_of_its_own(tmp_path):
    samples = np.stack([gray().astype(np.uint16), gray().astype(np.uint16) * 200], axis=-1)
    path = tiff(tmp_path / "a.tif", samples, extra=(0,))
    out = restored(path, tmp_path / "out", lambda inputs: inputs * 0.5)
    spans = np.ptp(samples.astype(int), axis=(0, 1)) / 2
    np.testing.assert_allclose(np.ptp(tifffile.imread(out).astype(int), axis=(0, 1)), spans, atol=1)


def test_five_bands_are_refused_by_name(tmp_path):
    path = tiff(tmp_path / "a.tif", bands(5, np.uint8), extra=(0, 0, 0, 0))
    with pytest.raises(util.ImageError, match="has 5 channels: save up to 4 of them"):
        read_picture(path)


def test_12_bits_a_sample_get_advice_that_helps(tmp_path):
    path = tiff(tmp_path / "a.tif", np.zeros((64, 96, 3), np.uint8), photometric=2, bits=12)
    with pytest.raises(util.ImageError, match=r"12 bits, .*: save it with 8 or 16 bits a sample"):
        read_picture(path)


def test_no_data_is_a_hole_only_where_all_bands_have_it(tmp_path):
    image = np.full((64, 64, 3), (250, 200, 0), np.uint8)
    image[:, 32:] = (90, 120, 160)
    image[:8] = 0
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, photometric="rgb", metadata=None, extratags=[(42113, 2, 2, b"0\0", True)])
    for enlarge in (False, True):
        found = tifffile.imread(restored(path, tmp_path / f"out{enlarge}", enlarge=enlarge)).astype(int)
        step = 4 if enlarge else 1
        assert (found[: 8 * step] == 0).all()
        assert np.abs(found[8 * step :, : 28 * step] - (250, 200, 0)).max() <= 10


def test_a_band_keeps_its_values_where_another_has_a_hole(tmp_path):
    image = bands(3, np.float32)
    image[5:9, 6:20, 1] = np.nan
    tifffile.imwrite(tmp_path / "a.tif", image, photometric="rgb", metadata=None)
    found = tifffile.imread(restored(tmp_path / "a.tif", tmp_path / "out"))
    np.testing.assert_allclose(found, image, atol=1e-3)


@pytest.mark.parametrize("raster_type", [1, 2])
def test_enlarged_maps_stay_in_their_place(tmp_path, raster_type):
    """The corners of the map: of points, the tie point is the middle of a pixel."""
    tags = [(33550, "d", 3, (30.0, 30.0, 0.0), True), (33922, "d", 6, (0.0, 0.0, 0.0, 500000.0, 4000000.0, 0.0), True),
            (34735, "H", 12, (1, 1, 0, 2, 1024, 0, 1, 1, 1025, 0, 1, raster_type), True)]
    tifffile.imwrite(tmp_path / "a.tif", gray(32).astype(np.float32), metadata=None, extratags=tags)
    assert corners(tmp_path / "a.tif") == corners(restored(tmp_path / "a.tif", tmp_path / "out", enlarge=True))


def corners(path):
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        i, j, _, x, y, _ = page.tags[33922].value
        width, height, _ = page.tags[33550].value
        i, j = (place + 0.5 * (page.tags[34735].value[-1] == 2) for place in (i, j))
        return [(x + (column - i) * width, y - (row - j) * height)
                for column, row in ((0, 0), (page.imagewidth, page.imagelength))]


@pytest.mark.parametrize("shift", [0, 0.5])
def test_an_enlarged_matrix_of_places_stays_in_its_place(tmp_path, shift):
    matrix = np.array([[25.0, 8, 0, 500000], [8, -25, 0, 4000000], [0, 0, 0, 0], [0, 0, 0, 1]])
    tags = [(34264, "d", 16, tuple(matrix.ravel()), True),
            (34735, "H", 8, (1, 1, 0, 1, 1025, 0, 1, 2 if shift else 1), True)]
    tifffile.imwrite(tmp_path / "a.tif", gray(32).astype(np.float32), metadata=None, extratags=tags)
    out = restored(tmp_path / "a.tif", tmp_path / "out", enlarge=True)
    with tifffile.TiffFile(out) as tif:
        large = np.array(tif.pages[0].tags[34264].value).reshape(4, 4)
    for corner in (0, 32):
        np.testing.assert_allclose(large @ (corner * 4 - shift, corner * 4 - shift, 0, 1),
                                   matrix @ (corner - shift, corner - shift, 0, 1))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_hidden_colours_do_not_bleed(tmp_path, dtype):
    """A red disc on transparent black had a dark fringe when it was enlarged."""
    y, x = np.mgrid[:64, :64]
    image, top = np.zeros((64, 64, 4), dtype), np.iinfo(dtype).max
    image[(y - 32) ** 2 + (x - 32) ** 2 < 24**2] = (0.85 * top, 0.1 * top, 0.1 * top, top)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, photometric="rgb", extrasamples=["unassalpha"], metadata=None)
    large = tifffile.imread(restored(path, tmp_path / "large", enlarge=True))
    assert large[..., 0][large[..., 3] >= top / 2].min() > 0.8 * top
    np.testing.assert_array_equal(tifffile.imread(restored(path, tmp_path / "same")), image)


def test_colours_that_are_multiplied_by_alpha_stay_black_where_nothing_is_seen(tmp_path):
    image = np.zeros((32, 32, 4), np.uint8)
    image[8:24, 8:24] = (200, 40, 40, 255)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, image, photometric="rgb", extrasamples=["assocalpha"], metadata=None)
    large = tifffile.imread(restored(path, tmp_path / "out", enlarge=True))
    assert large[large[..., 3] == 0].max() == 0


def test_a_range_is_that_of_the_values_but_for_outliers(tmp_path):
    image = gray(256).astype(np.uint16) * 16
    for values, expected in ((image, (image.min(), image.max())), (image.astype(np.int16) - 900, None)):
        path = tmp_path / f"{values.dtype}.tif"
        tifffile.imwrite(path, values)
        picture = read_picture(path)
        assert (picture.low, picture.high) == (expected or (values.min(), values.max()))
    image[7, 9] = 65535
    tifffile.imwrite(tmp_path / "hot.tif", image)
    picture = read_picture(tmp_path / "hot.tif")
    assert image.min() <= picture.low < picture.high < 1.2 * 4080
    assert read_picture(tmp_path / "hot.tif", value_range=(5, 9)).high == 9


def test_outliers_pass_by_the_network(tmp_path):
    image = gray(256).astype(np.uint16) * 16
    image[7, 9] = 65535
    tifffile.imwrite(tmp_path / "a.tif", image)
    seen = []

    def predict(inputs):
        if inputs.shape[1] != 384:  # the measurement of the reach
            seen.append((inputs.min(), inputs.max()))
        return inputs

    out = restored(tmp_path / "a.tif", tmp_path / "out", predict)
    assert seen == [(0, 1)]
    np.testing.assert_array_equal(tifffile.imread(out), image)
    large = tifffile.imread(restored(tmp_path / "a.tif", tmp_path / "large", enlarge=True))
    assert large[28:32, 36:40].min() > 60000
    assert large[20:27].max() < 5000


def test_a_stack_is_restored_page_by_page_where_asked(tmp_path, capsys):
    pages = np.stack([gray() // (k + 1) for k in range(5)])
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pages, photometric="minisblack", metadata=None)
    with pytest.raises(util.UserError):
        restored(path, tmp_path / "out")
    assert "has 5 pages: add --pages" in capsys.readouterr().err
    for kind in (path, tmp_path / "lzw.tif"):
        if kind != path:
            Image.fromarray(pages[0]).save(kind, save_all=True, compression="jpeg", quality=100,
                                           append_images=map(Image.fromarray, pages[1:]))
        found = tifffile.imread(restored(kind, tmp_path / "out", pages=True))
        np.testing.assert_allclose(found.astype(int), pages, atol=0 if kind == path else 4)
    large = tifffile.imread(restored(path, tmp_path / "large", pages=True, enlarge=True))
    assert large.shape == (5, 256, 256)


@pytest.mark.parametrize("suffix", ["a.tif", "a.ome.tif"])
def test_stacks_of_microscopes_programs_come_back_page_by_page(tmp_path, suffix, capsys):
    pages = np.stack([gray() // (k + 1) for k in range(3)])
    is_ome = suffix == "a.ome.tif"
    axes = {"axes": "ZYX"} | ({} if is_ome else {"unit": "um"})
    tifffile.imwrite(tmp_path / suffix, pages, photometric="minisblack", imagej=not is_ome, ome=is_ome, metadata=axes)
    large = restored(tmp_path / suffix, tmp_path / "large", pages=True, enlarge=True)
    assert f"what {'OME' if is_ome else 'ImageJ'} says of its pages (axes, calibration) is not written" in \
        "".join(capsys.readouterr())
    with tifffile.TiffFile(large) as tif:
        assert [page.shape for page in tif.pages] == [(256, 256)] * 3
        assert not tif.is_ome and not tif.is_imagej
    same = tifffile.imread(restored(tmp_path / suffix, tmp_path / "same", pages=True))
    np.testing.assert_array_equal(same, pages)


def test_the_size_of_a_pixel_is_scaled_or_said_to_be_lost(tmp_path, capsys):
    tifffile.imwrite(tmp_path / "a.tif", gray(), imagej=True, resolution=(10, 10), metadata={"unit": "um"})
    with tifffile.TiffFile(restored(tmp_path / "a.tif", tmp_path / "out", enlarge=True)) as tif:
        assert tif.imagej_metadata["unit"] == "um"
        assert tif.pages[0].tags["XResolution"].value == (40, 1)
    tifffile.imwrite(tmp_path / "b.ome.tif", gray(), ome=True, metadata={"axes": "YX", "PhysicalSizeX": 0.1})
    with tifffile.TiffFile(restored(tmp_path / "b.ome.tif", tmp_path / "out")) as tif:
        assert tif.is_ome
    capsys.readouterr()
    with tifffile.TiffFile(restored(tmp_path / "b.ome.tif", tmp_path / "large", enlarge=True)) as tif:
        assert not tif.is_ome
    assert "what OME says of the size of its pixels is not written" in "".join(capsys.readouterr())


def test_rational_polynomials_count_in_the_pixels_of_the_output(tmp_path):
    values = np.arange(92.0)
    tifffile.imwrite(tmp_path / "a.tif", gray(), metadata=None, extratags=[(50844, 12, 92, values.tobytes(), True)])
    with tifffile.TiffFile(restored(tmp_path / "a.tif", tmp_path / "out", enlarge=True)) as tif:
        found = np.array(tif.pages[0].tags[50844].value)
    assert found[2:4].tolist() == [2 * 4 + 1.5, 3 * 4 + 1.5]
    assert found[7:9].tolist() == [7 * 4, 8 * 4]
    found[[2, 3, 7, 8]] = values[[2, 3, 7, 8]]
    assert (found == values).all()


def test_a_hot_pixel_of_1e30_is_no_warning_of_numpy(tmp_path, recwarn):
    heat = gray().astype(np.float32)
    heat[50, 50] = 1e30
    np.save(tmp_path / "a.npy", heat)
    restored(tmp_path / "a.npy", tmp_path / "out", enlarge=True)
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


@pytest.mark.parametrize(("dtype", "value", "is_said"), [
    (np.int16, -32768, True), (np.uint16, 65535, True), (np.float32, 1e20, True), (np.float32, -9999, True),
    (np.int16, 0, False), (np.float32, np.nan, False),
])
def test_a_value_that_may_stand_for_none_is_said(tmp_path, capsys, dtype, value, is_said):
    heights = gray().astype(dtype) * 2 + 100
    heights[3:9, 20:40] = value
    np.save(tmp_path / "a.npy", heights)
    restored(tmp_path / "a.npy", tmp_path / "out")
    said = f"2.9% of its values are {value:g}, far from all others, and taken for values: if they mean that there is"
    assert (said in "".join(capsys.readouterr())) == is_said


def test_a_mask_in_a_page_of_its_own_is_refused_rather_than_dropped(tmp_path, capsys):
    with tifffile.TiffWriter(tmp_path / "a.tif") as writer:
        writer.write(gray(), metadata=None)
        writer.write(gray() > 9, metadata=None, subfiletype=4)
    for pages in (False, True):
        with pytest.raises(util.UserError):
            restored(tmp_path / "a.tif", tmp_path / "out", pages=pages)
        assert "has a mask of what is valid in a page of its own: save it as alpha" in capsys.readouterr().err


def test_a_page_that_cannot_be_read_leaves_no_half_file(tmp_path):
    path = tmp_path / "a.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(gray(), metadata=None)
        writer.write(bands(6, np.uint8), metadata=None, photometric="minisblack", planarconfig="contig")
    with pytest.raises(util.UserError, match="1 of 1"):
        restored(path, tmp_path / "out", pages=True)
    assert not list((tmp_path / "out").iterdir())


def test_npz_of_one_array(tmp_path, capsys):
    heat = gray().astype(np.float32) / 7
    heat[3:9, 4] = np.nan
    np.savez(tmp_path / "a.npz", heat=heat)
    with np.load(restored(tmp_path / "a.npz", tmp_path / "out")) as found:
        assert found.files == ["heat"]
        np.testing.assert_allclose(found["heat"], heat, atol=1e-4)
    np.savez(tmp_path / "two.npz", a=heat, b=heat)
    with pytest.raises(util.UserError):
        restored(tmp_path / "two.npz", tmp_path / "out")
    assert "holds 2 arrays: save the one that you want" in capsys.readouterr().err


def test_the_longest_name_is_restored(tmp_path):
    path = tmp_path / ("\u706b" * 83 + ".png")
    Image.fromarray(photo()).save(path)
    assert restored(path, tmp_path / "out").exists()


@pytest.mark.parametrize("n_colours", [1, 3])
def test_an_alpha_that_hides_everything_hides_no_value(tmp_path, n_colours):
    image = np.dstack([photo()[..., :n_colours], np.zeros((64, 64), np.uint8)])
    Image.fromarray(image).save(tmp_path / "a.png")
    picture = read_picture(tmp_path / "a.png")
    write_picture(tmp_path / "b.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(restored(tmp_path / "a.png", tmp_path / "out"))), image)


def test_an_enlarged_file_does_not_tell_the_shape_of_before(tmp_path, recwarn):
    """tifffile notes the shape of what it writes in the description."""
    tifffile.imwrite(tmp_path / "a.tif", gray().astype(np.uint16) * 16)
    picture = read_picture(tmp_path / "a.tif")
    write_picture(tmp_path / "b.tif", picture.blank(4))
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.series[0].shape == (256, 256)
        assert "shape" not in (tif.pages[0].description or "")


@pytest.mark.slow
@pytest.mark.parametrize(("folder", "n_restored", "n_refused"), [
    (Path(skimage.__file__).parent / "data", 20, 3), (Path(matplotlib.__file__).parent / "mpl-data", 20, 3),
])
def test_every_image_of_the_packages_comes_back_or_is_refused_by_name(tmp_path, capsys, folder, n_restored, n_refused):
    """By a network that changes nothing: type, shape and values stay, but for what JPEG does to them."""
    with pytest.raises(util.UserError, match="images could not be restored"):
        restored(folder, tmp_path / "out")
    captured = capsys.readouterr()
    refused = [line for line in captured.err.splitlines() if line.startswith(str(folder))]
    assert len(refused) <= n_refused
    assert all("save" in sentence or "add --pages" in sentence for sentence in refused)
    out = tmp_path / "out"
    found = [path for path in out.rglob("*") if path.is_file()]
    assert len(found) >= n_restored
    assert len(found) + len(refused) == len(util.list_images(folder))
    for path in found:
        before, after = (read_picture(one) for one in (folder / path.relative_to(out), path))
        assert (after.pixels.dtype, after.pixels.shape) == (before.pixels.dtype, before.pixels.shape)
        difference = np.abs(after.pixels.astype(float) - before.pixels)
        is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
        assert np.nanmean(difference) < 3 if is_jpeg else np.nanmax(difference) <= 1, path
