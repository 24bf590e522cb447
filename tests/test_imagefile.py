"""Every kind of image file goes in and comes out as it was, and a broken one is one sentence."""

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin

from download_module import imagefile
from download_module.imagefile import Picture, planes, read_picture, write_picture
from util import ImageError

ROOT = Path(__file__).parents[1]
ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><a tiff:Orientation="1"/></x:xmpmeta>'


def noise(*shape, dtype=np.uint8, seed=0):
    top = 1 if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max
    return (np.random.default_rng(seed).random(shape) * top).astype(dtype)


def smooth(height=23, width=31, channels=3):
    """What JPEG can hold closely."""
    y, x = np.mgrid[:height, :width]
    ramps = [40 + 4 * x, 220 - 5 * y, 60 + 2 * x + 3 * y, 100 + x][:channels]
    return np.stack(ramps, axis=-1).astype(np.uint8)


def pass_through(path, out):
    """Read, send every plane in four pieces through a network that changes nothing, write: the picture read."""
    picture = read_picture(path)
    output = picture.blank()
    height, width = picture.pixels.shape[:2]
    for source, target in zip(planes(picture), planes(output), strict=True):
        for rows in (slice(0, height // 2), slice(height // 2, height)):
            for columns in (slice(0, width // 3), slice(width // 3, width)):
                values = source.read(rows, columns)
                assert values.dtype == np.float32
                assert values.shape[2] == 3
                assert values.size == 0 or 0 <= values.min() <= values.max() <= 1
                target.write(rows, columns, values)
    write_picture(out, output)
    return picture


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(array, colour_type, depth=16, extra=b"", interlaced=False, declared=None):
    """A PNG file made by hand (no filter), because Pillow writes no 16-bit colour."""
    def rows(part):
        return b"".join(b"\0" + row.astype(f">u{depth // 8}").tobytes() for row in part)

    starts = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = [array[y::dy, x::dx] for y, x, dy, dx in starts] if interlaced else [array]
    data = zlib.compress(b"".join(rows(part) for part in passes if part.size))
    header = struct.pack(">IIBBBBB", *(declared or array.shape[1::-1]), depth, colour_type, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def packbits_tiff(array, photometric, order="<", extra_samples=()):
    """A PackBits TIFF made by hand: a compression that tifffile cannot write here, and Pillow not in 16 bits."""
    height, width, n = array.shape
    raw = array.astype(array.dtype.newbyteorder(order)).tobytes()
    stride = width * n * array.itemsize
    packed = b""
    for row in range(height):
        line = raw[row * stride : (row + 1) * stride]
        for start in range(0, stride, 128):
            part = line[start : start + 128]
            packed += bytes([len(part) - 1]) + part
    entries = [
        (256, 4, [width]), (257, 4, [height]), (258, 3, [8 * array.itemsize] * n), (259, 3, [32773]),
        (262, 3, [photometric]), (273, 4, [8]), (277, 3, [n]), (278, 4, [height]), (279, 4, [len(packed)]),
        (284, 3, [1]),
    ]
    if extra_samples:
        entries.append((338, 3, list(extra_samples)))
    start = 8 + len(packed) + len(packed) % 2
    place = start + 2 + 12 * len(entries) + 4
    table, long_values = struct.pack(order + "H", len(entries)), b""
    for code, kind, values in entries:
        data = struct.pack(order + {3: "H", 4: "I"}[kind] * len(values), *values)
        if len(data) > 4:
            long_values += data
            data = struct.pack(order + "I", place + len(long_values) - len(data))
        table += struct.pack(order + "HHI", code, kind, len(values)) + data.ljust(4, b"\0")
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", start)
    return head + packed.ljust(start - 8, b"\0") + table + bytes(4) + long_values


def encoded(array, mode, kind, **options):
    """A file of Pillow's making, as bytes."""
    file = io.BytesIO()
    Image.frombytes(mode, array.shape[1::-1], np.ascontiguousarray(array).tobytes()).save(file, kind, **options)
    return file.getvalue()


def tiff(array, photometric="minisblack", **options):
    file = io.BytesIO()
    tifffile.imwrite(file, array, photometric=photometric, metadata=None, **options)
    return file.getvalue()


def npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def palette(transparent):
    image = Image.fromarray(smooth()).quantize(16)
    file = io.BytesIO()
    image.save(file, "PNG", **({"transparency": 3} if transparent else {}))
    return file.getvalue(), np.asarray(image.convert("RGB"))


SHAPE = (23, 31)
GRAY, GRAY_ALPHA, RGB, RGBA = (noise(*SHAPE, n) for n in (1, 2, 3, 4))
DEEP = {n: noise(*SHAPE, n, dtype=np.uint16) for n in (1, 2, 3, 4, 5)}
HEAT = noise(*SHAPE, dtype=np.float32) * 900 - 300

# name: (bytes of the file, samples it holds)
LOSSLESS = {
    "gray.png": (encoded(GRAY, "L", "PNG"), GRAY),
    "gray_alpha.png": (encoded(GRAY_ALPHA, "LA", "PNG"), GRAY_ALPHA),
    "rgb.png": (encoded(RGB, "RGB", "PNG"), RGB),
    "rgba.png": (encoded(RGBA, "RGBA", "PNG"), RGBA),
    "gray16.png": (png(DEEP[1], 0), DEEP[1]),
    "gray_alpha16.png": (png(DEEP[2], 4), DEEP[2]),
    "rgb16.png": (png(DEEP[3], 2), DEEP[3]),
    "rgba16.png": (png(DEEP[4], 6), DEEP[4]),
    "interlaced_rgb16.png": (png(DEEP[3], 2, interlaced=True), DEEP[3]),
    "interlaced_gray_alpha16.png": (png(DEEP[2], 4, interlaced=True), DEEP[2]),
    "gray.bmp": (encoded(GRAY, "L", "BMP"), GRAY),
    "rgb.bmp": (encoded(RGB, "RGB", "BMP"), RGB),
    "rgb.webp": (encoded(RGB, "RGB", "WEBP", lossless=True), RGB),
    "rgba.webp": (encoded(RGBA, "RGBA", "WEBP", lossless=True, exact=True), RGBA),
    "gray.tif": (encoded(GRAY, "L", "TIFF"), GRAY),
    "gray_alpha.tif": (encoded(GRAY_ALPHA, "LA", "TIFF"), GRAY_ALPHA),
    "rgb.tif": (encoded(RGB, "RGB", "TIFF"), RGB),
    "rgba.tif": (encoded(RGBA, "RGBA", "TIFF"), RGBA),
    "cmyk.tif": (encoded(RGBA, "CMYK", "TIFF"), RGBA),
    "cmyk_lzw.tif": (encoded(RGBA, "CMYK", "TIFF", compression="tiff_lzw"), RGBA),
    "rgb_lzw.tif": (encoded(RGB, "RGB", "TIFF", compression="tiff_lzw"), RGB),
    "rgb_deflate.tif": (encoded(RGB, "RGB", "TIFF", compression="tiff_adobe_deflate"), RGB),
    "gray16.tif": (tiff(DEEP[1][..., 0]), DEEP[1]),
    "gray16_lzw.tif": (encoded(DEEP[1], "I;16", "TIFF", compression="tiff_lzw"), DEEP[1]),
    "rgb16.tif": (tiff(DEEP[3], "rgb"), DEEP[3]),
    "rgb16_deflate.tif": (tiff(DEEP[3], "rgb", compression="zlib", predictor=True), DEEP[3]),
    "rgb16_big_endian.tif": (tiff(DEEP[3].astype(">u2"), "rgb", byteorder=">"), DEEP[3]),
    "rgb16_planar.tif": (tiff(np.moveaxis(DEEP[3], -1, 0), "rgb", planarconfig="separate"), DEEP[3]),
    "rgb16_tiled.tif": (tiff(DEEP[3], "rgb", tile=(16, 16)), DEEP[3]),
    "rgb16_packbits.tif": (packbits_tiff(DEEP[3], 2), DEEP[3]),
    "rgb16_packbits_big_endian.tif": (packbits_tiff(DEEP[3], 2, ">"), DEEP[3]),
    "rgba16_packbits.tif": (packbits_tiff(DEEP[4], 2, extra_samples=[2]), DEEP[4]),
    "cmyk16_packbits.tif": (packbits_tiff(DEEP[4], 5), DEEP[4]),
    "rgba16.tif": (tiff(DEEP[4], "rgb", extrasamples=["unassalpha"]), DEEP[4]),
    "cmyk16.tif": (tiff(DEEP[4], "separated"), DEEP[4]),
    "cmyk16_alpha.tif": (tiff(DEEP[5], "separated", extrasamples=["unassalpha"]), DEEP[5]),
    "white_is_zero.tif": (tiff(GRAY[..., 0], "miniswhite"), GRAY),
    "bigtiff.tif": (tiff(RGB, "rgb", bigtiff=True), RGB),
    "rgb.npy": (npy(RGB), RGB),
    "rgb16.npy": (npy(DEEP[3]), DEEP[3]),
}
DATA = {  # as above, within a millionth of their range
    "heat.tif": (tiff(HEAT), HEAT),
    "heat_lzw.tif": (encoded(HEAT, "F", "TIFF", compression="tiff_lzw"), HEAT),
    "heat_deflate.tif": (tiff(HEAT, compression="zlib"), HEAT),
    "heat_rgb.tif": (tiff(np.stack([HEAT, HEAT / 2, -HEAT], axis=-1), "rgb"), np.stack([HEAT, HEAT / 2, -HEAT], -1)),
    "double.tif": (tiff(HEAT.astype(np.float64)), HEAT.astype(np.float64)),
    **{f"{t}.tif": (tiff((HEAT + 300).astype(t)), (HEAT + 300).astype(t)) for t in ("int16", "uint32", "int32")},
    **{f"{t}.npy": (npy((HEAT / 10).astype(t)), (HEAT / 10).astype(t))
       for t in ("int8", "int16", ">i2", "int32", "int64", "float16", "float32", ">f4", "float64")},
    **{f"{t}.npy": (npy((HEAT + 300).astype(t)), (HEAT + 300).astype(t)) for t in ("uint32", "uint64", ">u8")},
    "fortran.npy": (npy(np.asfortranarray(HEAT)), HEAT),
    "one_channel.npy": (npy(HEAT[..., None]), HEAT[..., None]),
    "three_channels.npy": (npy(np.stack([HEAT, HEAT / 2, -HEAT], -1)), np.stack([HEAT, HEAT / 2, -HEAT], -1)),
}
LOSSY = {
    "gray.jpg": (encoded(smooth(channels=1), "L", "JPEG", quality=95), "L"),
    "rgb.jpg": (encoded(smooth(), "RGB", "JPEG", quality=95), "RGB"),
    "cmyk.jpg": (encoded(smooth(channels=4), "CMYK", "JPEG", quality=95), "CMYK"),
    "rgb_lossy.webp": (encoded(smooth(), "RGB", "WEBP", quality=90), "RGB"),
    "rgba_lossy.webp": (encoded(smooth(channels=4), "RGBA", "WEBP", quality=90), "RGBA"),
}


def samples_of(path):
    """What an independent reader finds in a file."""
    data = path.read_bytes()
    if data.startswith(b"\x93NUMPY"):
        return np.load(path)
    if data[:2] in (b"II", b"MM"):
        return tifffile.imread(path)
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.mark.parametrize("name", LOSSLESS)
def test_a_lossless_file_comes_back_identical(name, tmp_path):
    data, samples = LOSSLESS[name]
    path, out = tmp_path / name, tmp_path / "out" / name
    path.write_bytes(data)
    picture = pass_through(path, out)
    n = picture.pixels.shape[2]
    np.testing.assert_array_equal(picture.pixels, samples[..., :n])
    assert picture.pixels.dtype == samples.dtype
    assert (picture.alpha is None) == (samples.shape[2] == n)
    again = read_picture(out)
    np.testing.assert_array_equal(again.samples(), samples)
    assert (again.format, again.pixels.dtype) == (picture.format, samples.dtype)
    found = samples_of(out)
    if name.endswith("16.png") and samples.shape[2] > 1:  # the other reader keeps the upper 8 bits only
        upper = (samples >> 8).astype(np.uint8)
        found = found[..., [0, 3]] if samples.shape[2] == 2 else found
        np.testing.assert_array_equal(found, upper)
        assert out.read_bytes()[24:26] == data[24:26]
    else:
        np.testing.assert_array_equal(found.reshape(samples.shape), samples)
        assert found.dtype.itemsize == samples.itemsize


@pytest.mark.parametrize("deep", [False, True])
def test_strips_join_without_a_seam(tmp_path, monkeypatch, deep):
    """Large pictures go in and out in strips, and each PNG row is written as a difference to the one above."""
    monkeypatch.setattr(imagefile.imagefile_pillow, "BAND", 500)
    samples = DEEP[3] if deep else RGB  # of noise, some rows take each of the filters
    (tmp_path / "a.png").write_bytes(png(samples, 2, depth=16 if deep else 8))
    pass_through(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        np.testing.assert_array_equal(np.asarray(image), samples >> 8 if deep else samples)
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png").pixels, samples)


@pytest.mark.parametrize("name", DATA)
def test_data_come_back_in_their_type_and_range(name, tmp_path):
    data, expected = DATA[name]
    path, out = tmp_path / name, tmp_path / f"out_{name}"
    path.write_bytes(data)
    picture = pass_through(path, out)
    assert (picture.low, picture.high) == (expected.min(), expected.max())
    found = samples_of(out)
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    step = 1e-3 if expected.dtype == np.float16 else 1e-6
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=0,
                               atol=step * (picture.high - picture.low))


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_file_comes_back_close_and_of_the_same_kind(name, tmp_path):
    data, mode = LOSSY[name]
    path, out = tmp_path / name, tmp_path / f"out_{name}"
    path.write_bytes(data)
    pass_through(path, out)
    with Image.open(path) as before, Image.open(out) as after:
        assert (before.format, before.mode, before.size) == (after.format, after.mode, after.size)
        assert after.mode == mode
        difference = np.asarray(before).astype(int) - np.asarray(after)
    assert np.abs(difference).mean() < 2.5
    assert b"VP8L" not in out.read_bytes()


@pytest.mark.parametrize("transparent", [False, True])
def test_a_palette_is_written_as_rgb_and_said(tmp_path, transparent):
    data, colours = palette(transparent)
    (tmp_path / "p.png").write_bytes(data)
    picture = pass_through(tmp_path / "p.png", tmp_path / "out.png")
    np.testing.assert_array_equal(picture.pixels, colours)
    assert len([note for note in picture.notes if "palette" in note]) == 1
    with Image.open(tmp_path / "p.png") as before, Image.open(tmp_path / "out.png") as after:
        assert after.mode == ("RGBA" if transparent else "RGB")
        np.testing.assert_array_equal(np.asarray(after), np.asarray(before.convert(after.mode)))


@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {"compression": "group4"}), ("BMP", {})])
def test_one_bit_a_pixel_becomes_8_bit_gray_and_is_said(tmp_path, kind, options):
    bits = Image.fromarray(noise(23, 31) > 127)
    bits.save(tmp_path / "bits", kind, **options)
    picture = pass_through(tmp_path / "bits", tmp_path / "out")
    assert any("1 bit" in note for note in picture.notes)
    with Image.open(tmp_path / "out") as after:
        assert (after.mode, after.format) == ("L", kind)
        np.testing.assert_array_equal(np.asarray(after), np.asarray(bits.convert("L")))


def test_tiff_compressions_that_change_are_said(tmp_path):
    (tmp_path / "a.tif").write_bytes(LOSSLESS["rgb_lzw.tif"][0])
    picture = pass_through(tmp_path / "a.tif", tmp_path / "out.tif")
    assert any("LZW" in note and "Deflate" in note for note in picture.notes)
    with tifffile.TiffFile(tmp_path / "out.tif") as tif:
        assert tif.pages[0].compression == 8


def test_bmp_with_alpha(tmp_path):
    picture = Picture(RGBA[..., :3], RGBA[..., 3], None, 0, 255, "BMP", metadata={"dpi": (100, 200)})
    write_picture(tmp_path / "a.bmp", picture)
    with Image.open(tmp_path / "a.bmp") as image:
        assert image.mode == "RGBA"
        assert image.info["dpi"] == pytest.approx((100, 200), abs=0.1)
    pass_through(tmp_path / "a.bmp", tmp_path / "b.bmp")
    np.testing.assert_array_equal(samples_of(tmp_path / "b.bmp"), RGBA)


@pytest.mark.parametrize(("array", "colour_type", "depth", "key"), [
    (GRAY, 0, 8, GRAY[3, 4]), (RGB, 2, 8, RGB[3, 4]), (DEEP[1], 0, 16, DEEP[1][3, 4]), (DEEP[3], 2, 16, DEEP[3][3, 4]),
])
def test_a_transparent_colour_becomes_alpha(tmp_path, array, colour_type, depth, key):
    key_chunk = chunk(b"tRNS", struct.pack(f">{len(key)}H", *key))
    (tmp_path / "a.png").write_bytes(png(array, colour_type, depth, extra=key_chunk))
    pass_through(tmp_path / "a.png", tmp_path / "b.png")
    picture = read_picture(tmp_path / "b.png")
    np.testing.assert_array_equal(picture.pixels, array)
    np.testing.assert_array_equal(picture.alpha == 0, (array == key).all(axis=-1))
    assert set(np.unique(picture.alpha)) == {0, 2**depth - 1}


@pytest.mark.parametrize("name", [*LOSSLESS, *DATA, *LOSSY])
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (5, 1)])
def test_the_smallest_pictures(tmp_path, name, size):
    """Cut from the big files, and written as their kind."""
    source = tmp_path / name
    source.write_bytes({**LOSSLESS, **DATA, **LOSSY}[name][0])
    picture = read_picture(source)
    picture.pixels = picture.pixels[: size[0], : size[1]]
    picture.alpha = None if picture.alpha is None else picture.alpha[: size[0], : size[1]]
    write_picture(tmp_path / f"small_{name}", picture)
    picture = pass_through(tmp_path / f"small_{name}", tmp_path / f"out_{name}")
    assert picture.pixels.shape[:2] == size
    before, after = (samples_of(tmp_path / f"{start}_{name}").astype(float) for start in ("small", "out"))
    assert before.shape == after.shape
    assert np.abs(before - after).max() <= (12 if name in LOSSY else 1e-3)


def filtered_png(array):
    """A PNG file in which every filter of rows is used."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, "PNG", compress_level=1)
    return file.getvalue()


PLAIN = {
    "RGB": filtered_png(smooth(40, 50)), "gray": filtered_png(smooth(40, 50)[..., 0]),
    "noise": png(noise(9, 7, 3), 2, 8), "interlaced": png(noise(9, 7, 3), 2, 8, interlaced=True),
    "with a gamma": png(noise(9, 7, 3), 2, 8, chunk(b"gAMA", struct.pack(">I", 220_000))),
}
NOT_PLAIN = {
    "a colour key": png(noise(9, 7, 3), 2, 8, chunk(b"tRNS", bytes(6))),
    "text": png(noise(9, 7, 3), 2, 8, chunk(b"tEXt", b"Comment\0a")),
    "no end": PLAIN["RGB"][:-12],
    "cut": PLAIN["RGB"][:-40],
    "a wrong checksum": PLAIN["noise"][:-13] + b"\0" + PLAIN["noise"][-12:],
    "4 bits a pixel": PLAIN["noise"][:8] + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 8, 4, 0, 0, 0, 0))
    + chunk(b"IDAT", zlib.compress(b"\0\x3f" * 8)) + chunk(b"IEND", b""),
}


def outcome(path):
    try:
        picture = read_picture(path)
    except ImageError as error:
        return str(error)
    return picture.pixels, picture.alpha, picture.metadata, picture.notes


@pytest.mark.parametrize("name", [*PLAIN, *NOT_PLAIN])
def test_a_faster_decoder_changes_nothing(tmp_path, monkeypatch, name):
    imagecodecs = pytest.importorskip("imagecodecs")
    path, decoded = tmp_path / "image.png", []
    path.write_bytes((PLAIN | NOT_PLAIN)[name])
    decode = imagecodecs.png_decode
    monkeypatch.setattr(imagecodecs, "png_decode", lambda data: [samples := decode(data), decoded.append(samples)][0])
    fast = outcome(path)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    plain = outcome(path)
    np.testing.assert_equal(fast, plain)
    assert bool(decoded) == (name in PLAIN)


def exif_bytes(orientation=None):
    exif = Image.Exif()
    exif[271] = "a camera"
    if orientation:
        exif[274] = orientation
    else:  # Pillow cannot write this into an LZW TIFF
        exif[0x8769] = {0x829A: 0.125}
    return exif.tobytes()


METADATA = {"icc_profile": ICC, "exif": exif_bytes(), "dpi": (300, 150)}


@pytest.mark.parametrize(("mode", "kind", "kept"), [
    ("RGB", "PNG", {"icc_profile", "exif", "dpi"}), ("RGB", "JPEG", {"icc_profile", "exif", "dpi"}),
    ("RGB", "WEBP", {"icc_profile", "exif"}), ("RGB", "BMP", {"dpi"}),
    ("RGB", "TIFF", {"icc_profile", "exif", "dpi"}), ("L", "TIFF", {"icc_profile", "exif", "dpi"}),
])
def test_profile_exif_and_resolution_are_kept(tmp_path, mode, kind, kept):
    options = {key: value for key, value in METADATA.items() if key in kept}
    Image.fromarray(smooth()).convert(mode).save(tmp_path / "a", kind, **options)
    pass_through(tmp_path / "a", tmp_path / "b")
    with Image.open(tmp_path / "b") as image:
        assert image.format == kind
        if "icc_profile" in kept:
            assert image.info["icc_profile"] == ICC
        if "exif" in kept:
            assert image.getexif()[271] == "a camera"
            assert image.getexif().get_ifd(0x8769)[0x829A] == 0.125
        if "dpi" in kept:
            assert tuple(map(float, image.info["dpi"])) == pytest.approx((300, 150), abs=0.1)


def test_png_text_and_colour_chunks_are_kept(tmp_path):
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    text.add(b"gAMA", struct.pack(">I", 45455))
    Image.fromarray(RGB).save(tmp_path / "a.png", pnginfo=text)
    pass_through(tmp_path / "a.png", tmp_path / "b.png")
    with Image.open(tmp_path / "b.png") as image:
        image.load()
        assert image.text["Author"] == "somebody"
        assert image.text["XML:com.adobe.xmp"].encode() == XMP
        assert image.info["gamma"] == 0.45455


def test_jpeg_xmp_iptc_comment_and_sampling_are_kept(tmp_path):
    iptc = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\0"
    segments = b"".join(
        marker + struct.pack(">H", len(data) + 2) + data
        for marker, data in [(b"\xff\xe1", b"http://ns.adobe.com/xap/1.0/\0" + XMP), (b"\xff\xed", iptc)]
    )
    path = tmp_path / "a.jpg"
    Image.fromarray(smooth()).save(path, subsampling=1, quality=60, comment=b"hello", extra=segments)
    pass_through(path, tmp_path / "b.jpg")
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.info["comment"] == b"hello"
        assert ("APP13", iptc) in image.applist
        assert ("APP1", b"http://ns.adobe.com/xap/1.0/\0" + XMP) in image.applist
        assert [layer[1:3] for layer in image.layer] == [(2, 1), (1, 1), (1, 1)]
        assert sum(image.quantization[0]) == imagefile.imagefile_pillow.JPEG_QUALITY_STEPS


def test_jpeg_is_never_written_coarser_than_it_was(tmp_path):
    Image.fromarray(smooth()).save(tmp_path / "a.jpg", quality=99)
    pass_through(tmp_path / "a.jpg", tmp_path / "b.jpg")
    with Image.open(tmp_path / "a.jpg") as before, Image.open(tmp_path / "b.jpg") as after:
        assert after.quantization == before.quantization


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF", "TIFF LZW", "JPEG"])
def test_orientation_is_applied_once_and_its_tag_reset(tmp_path, kind, orientation):
    kind, *lzw = kind.split()
    options = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {"compression": "tiff_lzw"} if lzw else {},
               "JPEG": {"quality": 100, "subsampling": 0}}[kind]
    pixels = smooth()
    dpi = {} if kind == "WEBP" else {"dpi": (300, 150)}
    Image.fromarray(pixels).save(tmp_path / "a", kind, exif=exif_bytes(orientation), **dpi, **options)
    pass_through(tmp_path / "a", tmp_path / "b")
    upright = {  # numpy's own words for the eight
        1: pixels, 2: np.fliplr(pixels), 3: np.rot90(pixels, 2), 4: np.flipud(pixels), 5: pixels.swapaxes(0, 1),
        6: np.rot90(pixels, -1), 7: np.rot90(pixels, 2).swapaxes(0, 1), 8: np.rot90(pixels),
    }[orientation]
    with Image.open(tmp_path / "b") as image:
        assert image.getexif().get(274, 1) == 1
        assert image.getexif()[271] == "a camera"
        if dpi:
            expected = (150, 300) if orientation >= 5 else (300, 150)
            assert tuple(map(float, image.info["dpi"])) == pytest.approx(expected, abs=0.1)
        found = np.asarray(image).astype(int)
    np.testing.assert_allclose(found, upright, atol=8 if kind == "JPEG" else 0)
    np.testing.assert_array_equal(read_picture(tmp_path / "b").pixels, found)


@pytest.mark.parametrize("compressed", [False, True])
def test_an_orientation_in_xmp_is_not_applied_again(tmp_path, compressed):
    text = PngImagePlugin.PngInfo()
    text.add_itxt("XML:com.adobe.xmp", XMP.decode().replace('"1"', '"6"'), zip=compressed)
    Image.fromarray(RGB).save(tmp_path / "a.png", pnginfo=text)
    pass_through(tmp_path / "a.png", tmp_path / "b.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "b.png").pixels, np.rot90(RGB, -1))
    with Image.open(tmp_path / "b.png") as image:
        image.load()
        xmp = image.text.get("XML:com.adobe.xmp", "")
    assert 'Orientation="6"' not in xmp
    assert compressed or 'Orientation="1"' in xmp


GEO = [(33550, 12, 3, (10.0, 10.0, 0.0), True), (33922, 12, 6, (1.0, 2.0, 0.0, 500.0, 600.0, 0.0), True),
       (34735, 3, 4, (1, 1, 0, 0), True), (34737, 2, 6, b"WGS84|", True)]


@pytest.mark.parametrize("scale", [1, 4])
@pytest.mark.parametrize("order", ["<", ">"])
def test_geotiff_tags_are_kept_and_fit_an_enlarged_picture(tmp_path, scale, order):
    data = tiff(HEAT.astype(order + "f4"), byteorder=order, extratags=GEO, resolution=(7, 7))
    (tmp_path / "a.tif").write_bytes(data)
    write_picture(tmp_path / "b.tif", read_picture(tmp_path / "a.tif").blank(scale))
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        tags = tif.pages[0].tags
        assert tif.byteorder == order
        assert tags[33550].value == (10 / scale, 10 / scale, 0)
        assert tags[33922].value == (scale, 2 * scale, 0, 500, 600, 0)
        assert tags[34735].value == (1, 1, 0, 0)
        assert tags[34737].value == "WGS84|"
        assert tags[282].value == (7, 1)
        assert tags[256].value == SHAPE[1] * scale


def with_holes():
    heat = HEAT.copy()
    heat[2:9, 3:14] = np.nan
    heat[20, 30], heat[0, 0] = np.inf, -np.inf
    return heat, ~np.isfinite(heat)


@pytest.mark.parametrize("suffix", [".npy", ".tif"])
def test_holes_stay_holes_and_the_rest_is_untouched(tmp_path, suffix):
    heat, holes = with_holes()
    path, out = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    path.write_bytes(npy(heat) if suffix == ".npy" else tiff(heat))
    picture = pass_through(path, out)
    np.testing.assert_array_equal(picture.holes[..., 0], holes)
    assert (picture.low, picture.high) == (heat[~holes].min(), heat[~holes].max())
    found = samples_of(out)
    np.testing.assert_array_equal(np.isnan(found), holes)
    np.testing.assert_allclose(found[~holes], heat[~holes], atol=1e-3)


def test_holes_are_filled_from_what_is_near():
    y, x = np.mgrid[:40, :50]
    slope = (3 * y + x).astype(np.float32)
    holes = np.zeros(slope.shape, bool)
    holes[10:20, 15:35] = True
    holes[39, 49] = True
    filled = np.where(holes, 1e9, slope)
    imagefile._fill(filled, holes)
    np.testing.assert_array_equal(filled[~holes], slope[~holes])
    assert np.abs(filled - slope)[holes].max() < 25  # the slope spans 166
    assert np.abs(filled - slope)[holes].mean() < 8


def test_no_data_of_gdal_are_holes_too(tmp_path):
    heights = (HEAT + 300).astype(np.int16)
    heights[4:6, 7:9] = -9999
    tag = (42113, 2, 6, "-9999\0", True)
    (tmp_path / "a.tif").write_bytes(tiff(heights, extratags=[tag]))
    picture = pass_through(tmp_path / "a.tif", tmp_path / "b.tif")
    assert picture.low == 0
    assert picture.holes.sum() == 4
    with tifffile.TiffFile(tmp_path / "b.tif") as tif:
        assert tif.pages[0].tags[42113].value.strip("\0") == "-9999"
        np.testing.assert_array_equal(tif.asarray(), heights)


@pytest.mark.parametrize(("dtype", "no_data", "step"), [
    ("uint8", 255, -1), ("uint8", 0, 1), ("int16", -9999, 1), ("uint16", 65535, -1), ("float32", -9999, 2**-10),
])
def test_a_value_restored_to_no_data_is_no_hole(dtype, no_data, step):
    samples = np.full((4, 5, 1), 100, dtype)
    samples[0, 0] = no_data
    picture = imagefile.picture_of(samples.copy(), 1, hole_value=no_data, format="TIFF")
    picture.pixels[1:3] = no_data  # what a network may put out
    found = picture.samples()
    expected = samples.copy()
    expected[1:3] = no_data + step
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, -7.25, 1e300, 5e-324])
def test_constant_data_and_data_of_holes_only(tmp_path, value):
    data = np.full((5, 4), value)
    np.save(tmp_path / "a.npy", data)
    pass_through(tmp_path / "a.npy", tmp_path / "b.npy")
    np.testing.assert_array_equal(np.load(tmp_path / "b.npy"), data if np.isfinite(value) else np.full((5, 4), np.nan))


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64", "float32", "int8"])
def test_the_widest_range_of_a_type_does_not_overflow(tmp_path, dtype):
    limits = np.finfo(dtype) if dtype.startswith("f") else np.iinfo(dtype)
    data = np.array([[limits.min, limits.max], [limits.max // 2, limits.min // 2]], dtype)
    np.save(tmp_path / "a.npy", data)
    pass_through(tmp_path / "a.npy", tmp_path / "b.npy")
    np.testing.assert_allclose(np.load(tmp_path / "b.npy").astype(float), data.astype(float), rtol=1e-6)


def test_a_network_sees_light_in_cmyk_and_in_white_is_zero():
    ink = Picture(np.full((2, 2, 4), 255, np.uint8), None, None, 0, 255, "TIFF", zero_is_white=True)
    for plane in planes(ink):
        np.testing.assert_array_equal(plane.read(slice(0, 2), slice(0, 2)), np.zeros((2, 2, 3)))


def test_three_outputs_of_one_channel_are_averaged_and_clipped():
    picture = Picture(np.zeros((1, 2, 1), np.uint8), None, None, 0, 255, "PNG")
    everything = slice(None), slice(None)
    planes(picture)[0].write(*everything, np.array([[[0, 0.5, 1], [2, 3, 4]]]))
    np.testing.assert_array_equal(picture.pixels[..., 0], [[128, 255]])


def test_values_of_another_shape_are_refused():
    picture = Picture(np.zeros((1, 2, 1), np.uint8), None, None, 0, 255, "PNG")
    plane = planes(picture)[0]
    values = np.zeros((1, 2, 1))
    with pytest.raises(ValueError, match="3 channels"):
        plane.write(slice(None), slice(None), values)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_an_enlarged_picture_carries_alpha_and_holes(dtype):
    top = 1 if dtype == np.float32 else np.iinfo(dtype).max
    alpha = np.zeros((6, 8), dtype)
    alpha[:, 4:] = top
    holes = np.zeros((6, 8), bool)
    holes[1, 2] = True
    picture = Picture(np.ones((6, 8, 3), dtype), alpha, holes, 0, top, "TIFF")
    large = picture.blank(4)
    assert (large.pixels.shape, large.pixels.dtype, large.scale) == ((24, 32, 3), dtype, 4)
    assert (large.alpha.shape, large.alpha.dtype) == ((24, 32), dtype)
    assert not large.alpha[:, :12].any()
    assert (large.alpha[:, 20:] == top).all()
    middle = large.alpha[12, 14:18].astype(float)
    assert 0 < middle[1] < middle[2] < top
    expected = np.zeros((24, 32), bool)
    expected[4:8, 8:12] = True
    np.testing.assert_array_equal(large.holes, expected)


def test_what_a_format_cannot_hold_is_refused_before_the_work():
    picture = Picture(np.zeros((10, 9000, 1), np.uint8), None, None, 0, 255, "JPEG")
    assert picture.blank(4).pixels.shape == (40, 36000, 1)
    with pytest.raises(ImageError, match="72000x80"):
        picture.blank(8)


@pytest.mark.parametrize("name", ["rgb.png", "rgb.dat", "rgb"])
def test_the_content_counts_and_not_the_name(tmp_path, name):
    (tmp_path / name).write_bytes(LOSSY["rgb.jpg"][0])
    picture = pass_through(tmp_path / name, tmp_path / "out" / name)
    assert picture.format == "JPEG"
    assert len(picture.notes) == (name == "rgb.png")
    assert (tmp_path / "out" / name).read_bytes().startswith(b"\xff\xd8")


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    picture = Picture(RGB, None, None, 0, 255, "PNG", metadata={"chunks": []})

    def full(*_):
        raise OSError("the disk is full")

    monkeypatch.setattr(imagefile.imagefile_pillow, "_filtered", full)
    with pytest.raises(OSError, match="full"):
        write_picture(path, picture)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def frames(kind, **options):
    images = [Image.fromarray(noise(20, 20, 3, seed=i)) for i in range(3)]
    file = io.BytesIO()
    images[0].save(file, kind, save_all=True, append_images=images[1:], **options)
    return file.getvalue()


def imagej_stack():
    file = io.BytesIO()
    tifffile.imwrite(file, noise(3, 20, 20), imagej=True)
    return file.getvalue()


def bomb_tiff():
    """A picture of 16x16 pixels, whose Deflate strip holds 50 MB."""
    data = zlib.compress(bytes(50_000_000))
    return tiff(iter([data]), shape=(16, 16), dtype=np.uint8, compression="zlib", rowsperstrip=16)


def pickled():
    file = io.BytesIO()
    np.save(file, np.array([[print]]), allow_pickle=True)
    return file.getvalue()


def tuple_of_widths():
    """A TIFF of which the width became 70 numbers and the height fifteen million."""
    data = bytearray(tiff(noise(30, 30)))
    entry = data.index(struct.pack("<HHI", 256, 4, 1))
    data[entry : entry + 24] = struct.pack("<HHIIHHII", 256, 4, 70, 31, 257, 4, 1, 14614551)
    return bytes(data)


REFUSED = {
    "tuple_of_widths.tif": (tuple_of_widths(), "structure is damaged"),
    "no_bytes.png": (b"", "empty"),
    "text.png": (b"this is no image\n" * 9, "is not a PNG"),
    "truncated.png": (LOSSLESS["rgb.png"][0][:700], "cannot be read as an image .*truncated"),
    "truncated.jpg": (LOSSY["rgb.jpg"][0][:700], "cannot be read as an image .*truncated"),
    "truncated.webp": (LOSSLESS["rgb.webp"][0][:700], "cannot be read|is not a PNG"),
    "truncated.bmp": (LOSSLESS["rgb.bmp"][0][:700], "cannot be read as an image .*truncated"),
    "truncated.tif": (LOSSLESS["rgb16.tif"][0][:700], "cut short"),
    "truncated_lzw.tif": (LOSSLESS["rgb_lzw.tif"][0][:700], "cannot be read"),
    "truncated.npy": (LOSSLESS["rgb.npy"][0][:700], "cannot be read"),
    "animated.png": (frames("PNG"), "3 frames"),
    "animated.webp": (frames("WEBP"), "3 frames"),
    "animated.gif": (frames("GIF"), "is not a PNG"),
    "pages.tif": (frames("TIFF"), "3 pages"),
    "stack.tif": (imagej_stack(), "3 pictures|3 pages"),
    "five.tif": (tiff(noise(9, 9, 5), planarconfig="contig"), "5 channels"),
    "bomb.tif": (bomb_tiff(), "more data than it declares"),
    "lab.tif": (encoded(RGB, "LAB", "TIFF"), "mode LAB"),
    "large.png": (png(np.zeros((1, 1, 1), np.uint8), 0, 8, declared=(20000, 20000)), "--allow-large"),
    "pickle.npy": (pickled(), "cannot be read"),
    "complex.npy": (npy(np.ones((3, 3), complex)), "complex128"),
    "bool.npy": (npy(np.ones((3, 3), bool)), "bool"),
    "vector.npy": (npy(np.ones(3)), "shape"),
    "four.npy": (npy(np.ones((3, 3, 4))), "shape"),
    "nothing.npy": (npy(np.ones((0, 3))), "cannot be read|no pixel"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_in_one_sentence(tmp_path, name, capfd):
    data, message = REFUSED[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(ImageError, match=message) as raised:
        read_picture(path)
    text = str(raised.value)
    assert text.startswith(str(path))
    assert "\n" not in text
    assert not text.endswith(".")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()], ids=["missing", "folder"])
def test_what_is_no_file_is_refused(tmp_path, make):
    make(tmp_path / "a.png")
    with pytest.raises(ImageError, match=r"check the path|is a folder"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["rgb.png", "rgb16.tif", "rgb_lzw.tif"])
def test_large_pictures_need_leave(tmp_path, monkeypatch, name):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    path = tmp_path / name
    path.write_bytes(LOSSLESS[name][0])
    assert read_picture(path, allow_large=True).pixels.shape == (*SHAPE, 3)
    assert Image.MAX_IMAGE_PIXELS == 100
    with pytest.raises(ImageError, match="--allow-large"):
        read_picture(path)


def test_overviews_are_no_pages(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tif:
        tif.write(GRAY[..., 0], metadata=None, photometric="minisblack")
        tif.write(GRAY[::2, ::2, 0], metadata=None, photometric="minisblack", subfiletype=1)
    picture = pass_through(tmp_path / "a.tif", tmp_path / "b.tif")
    np.testing.assert_array_equal(picture.pixels, GRAY)
    assert any("overviews" in note for note in picture.notes)


def test_an_unknown_kind_of_alpha_in_tiff_is_written_as_plain_alpha(tmp_path):
    data = tiff(GRAY_ALPHA, extrasamples=["unassalpha"], planarconfig="contig")
    known, unknown = (struct.pack("<HHII", 338, 3, 1, value) for value in (2, 147))
    assert known in data
    (tmp_path / "a.tif").write_bytes(data.replace(known, unknown))
    pass_through(tmp_path / "a.tif", tmp_path / "b.tif")
    np.testing.assert_array_equal(samples_of(tmp_path / "b.tif"), GRAY_ALPHA)
    assert known in (tmp_path / "b.tif").read_bytes()


FRUGAL = """
import sys
from pathlib import Path

from download_module.imagefile import planes, read_picture, write_picture


def peak():
    return int(next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("VmHWM")).split()[1])


before = peak()
picture = read_picture(sys.argv[1])
output = picture.blank()
for source, target in zip(planes(picture), planes(output), strict=True):
    for top in range(0, picture.pixels.shape[0], 100):
        for left in range(0, picture.pixels.shape[1], 500):
            where = slice(top, top + 100), slice(left, left + 500)
            target.write(*where, source.read(*where))
write_picture(sys.argv[2], output)
print(peak() - before)
"""


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_no_float_copy_of_a_whole_picture_is_made(tmp_path, suffix):
    """12 megapixels: Pillow takes 4 bytes a pixel, the picture and its output 3 each; a float copy would take 12."""
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.kron(noise(30, 40, 3), np.ones((100, 100, 1), np.uint8))).save(path)
    command = [sys.executable, "-c", FRUGAL, path, tmp_path / f"b{suffix}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(done.stdout) * 1024 < 12.5 * 12e6


FUZZED = """
import sys
import warnings
from pathlib import Path

from download_module import imagefile
from util import ImageError

warnings.simplefilter("error")
n_read = 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        picture = imagefile.read_picture(path)
    except ImageError as error:
        assert str(error).startswith(str(path)) and len(str(error).splitlines()) == 1, error
        continue
    n_read += 1
    imagefile.write_picture(path.with_suffix(".out"), picture.blank())
    imagefile.read_picture(path.with_suffix(".out"))
# Not getrusage: its peak includes that of the parent, before exec.
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(n_read, peak.split()[1])
"""
N_FUZZED = 600


def mutated(data, other, rng):
    """Cut, flip, zero, splice, or put extreme values into the header."""
    data = bytearray(data)
    at = int(rng.integers(len(data)))
    kind = rng.integers(5)
    if kind == 0:
        del data[at:]
    elif kind == 1:
        for i in rng.integers(len(data), size=rng.integers(1, 9)):
            data[i] ^= int(rng.integers(1, 256))
    elif kind == 2:
        data[at : at + 40] = bytes(len(data[at : at + 40]))
    elif kind == 3:
        data[at:] = other[int(rng.integers(len(other))) :]
    else:
        for i in rng.integers(min(len(data), 80), size=2):
            data[i] = int(rng.choice([0, 1, 0x7F, 0x80, 0xFF]))
    return bytes(data)


def test_600_broken_files_give_a_picture_or_one_sentence(tmp_path):
    """No other exception, no warning, nothing on the terminal, no hang, and no memory for what a header dreams of."""
    files = [data for group in (LOSSLESS, DATA, LOSSY) for data, _ in group.values()]
    for kind in ("PNG", "JPEG", "WEBP", "TIFF"):
        file = io.BytesIO()
        Image.fromarray(smooth()).save(file, kind, icc_profile=ICC, exif=exif_bytes(6))
        files.append(file.getvalue())
    files += [palette(True)[0], tiff(HEAT, extratags=GEO)]
    for i in range(N_FUZZED):
        rng = np.random.default_rng(i)
        (tmp_path / f"{i:04}.img").write_bytes(mutated(files[i % len(files)], files[rng.integers(len(files))], rng))
    command = [sys.executable, "-c", FUZZED, tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    n_read, peak = map(int, done.stdout.split())
    assert N_FUZZED / 10 < n_read < N_FUZZED * 0.9
    assert peak < 500_000
