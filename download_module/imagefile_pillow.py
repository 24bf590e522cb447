"""PNG, JPEG, WebP and BMP for imagefile.py, by Pillow.

Two things Pillow does not do are done here: 16-bit colour PNG, of which it keeps the upper 8 bits only, is read in
two passes, one for each byte of a sample; and PNG and BMP with alpha are written by hand, in full depth and without
another copy of the picture in memory.
"""

import os
import re
import struct
import sys
import zlib
from contextlib import contextmanager

import numpy as np
from PIL import Image, JpegImagePlugin, UnidentifiedImageError

from util import ImageError

ORIENTATION = 274  # tag
MAX_SEGMENT = 65533  # bytes in a JPEG marker
BAND = 1 << 20  # bytes that are converted at a time
JPEG_QUALITY = 95
JPEG_QUALITY_STEPS = 369  # sum of libjpeg's luma table at that quality; smaller is finer
# Chunks that stay true when the samples change. Not: palettes, colour keys, significant bits, histograms.
PNG_CHUNKS = {b"iCCP", b"sRGB", b"gAMA", b"cHRM", b"cICP", b"mDCV", b"cLLI", b"pHYs", b"tEXt", b"zTXt", b"iTXt",
              b"eXIf", b"tIME"}
# Beside the pixels: these change nothing. Others may hold an orientation, a colour key, a palette or frames.
PLAIN_CHUNKS = {b"IHDR", b"IDAT", b"sRGB", b"gAMA", b"cHRM", b"pHYs", b"tIME"}
PNG_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # by samples a pixel
XMP_KEY = b"XML:com.adobe.xmp\0"
N_COLOURS = {"L": 1, "LA": 1, "RGB": 3, "RGBA": 3, "CMYK": 4, "I": 1, "F": 1, "I;16": 1, "I;16B": 1, "I;16L": 1}


def read_with_pillow(path):
    """Read a PNG, JPEG, WebP or BMP file.

    Returns
    -------
    samples : uint8 or uint16 array (H, W, S), alpha last
    n_colours : int
        How many of the samples are colours.
    facts : dict
        Arguments for `imagefile.Picture`, and the EXIF `orientation`, which is not applied yet.
    """
    notes = []
    try:
        image = Image.open(path, formats=["PNG", "JPEG", "WEBP", "BMP"])
    except UnidentifiedImageError as error:
        raise ImageError(
            "is not a PNG, JPEG, TIFF, WebP, BMP or .npy file, or its start is damaged: convert, replace or remove it"
        ) from error
    with image:
        kind = "JPEG" if image.format == "MPO" else image.format
        n_frames = getattr(image, "n_frames", 1)
        if kind == "JPEG" and n_frames > 1:
            notes.append(f"of its {n_frames} pictures, only the first is restored and written")
        elif n_frames > 1:
            raise ImageError(f"is animated ({n_frames} frames): save the frame you want as a file of its own",
                             "animated")
        samples = _decode_plain_png(path, image) if kind == "PNG" else None
        if samples is not None:
            n_colours, orientation, exif = N_COLOURS[image.mode], 1, None
        else:
            samples, n_colours = decode_deep(path, kind) if is_deep(image) else decode(image, notes)
            samples = _with_colour_key(samples, image)
            orientation, exif = _exif(image, notes)
        if kind == "PNG":
            metadata = {"chunks": _png_chunks(path, exif, orientation)}
        else:
            metadata = _save_options(image, kind, exif, orientation >= 5, path, notes)
    return samples, n_colours, {
        "format": kind, "notes": notes, "metadata": metadata, "orientation": orientation,
        "zero_is_white": n_colours == 4,
    }


def _decode_plain_png(path, image):
    """Decode a PNG file of 8 bits that holds nothing but pixels, in half of Pillow's time: uint8 (H, W, S).

    None where the package imagecodecs is missing, and for every other file, damaged ones too, which Pillow then reads.
    """
    if image.mode not in ("L", "RGB") or not image.tile or _layout(image) != image.mode:
        return None
    try:
        from imagecodecs import png_decode
    except ImportError:
        return None
    data = path.read_bytes()
    if not _is_plain_png(data):
        return None
    try:
        samples = png_decode(data)
    except Exception:  # Pillow says what is wrong with it
        return None
    shape = (image.height, image.width, len(image.mode))
    return samples.reshape(shape) if samples.dtype == np.uint8 and samples.size == np.prod(shape) else None


def _is_plain_png(data):
    """Tell whether a PNG file is whole and has no chunk by which its pixels would be changed."""
    position = 8  # behind the signature
    while position + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        position += 12 + length
        if kind == b"IEND":
            return position <= len(data)
        if kind not in PLAIN_CHUNKS:
            return False
    return False


def decode(image, notes):
    """Decode an opened image: array (H, W, S) and how many of its samples are colours; remarks go into `notes`."""
    image.load()
    mode = image.mode
    if mode in ("P", "PA"):
        mode = "RGBA" if mode == "PA" or "transparency" in image.info else "RGB"
        notes.append(f"a palette cannot hold restored colours: written as {mode}")
    elif mode == "1":
        mode = "L"
        notes.append("1 bit a pixel cannot hold restored values: written as 8-bit gray")
    else:
        mode = {"YCbCr": "RGB", "RGBX": "RGB", "RGBa": "RGBA", "La": "LA"}.get(mode, mode)
    if mode not in N_COLOURS:
        raise ImageError(f"is of mode {mode}, which is not supported: convert it to RGB")
    samples = None
    for rows, strip in _bands(image):
        band = np.asarray(strip.convert(mode) if strip.mode != mode else strip)
        if samples is None:
            samples = np.empty((image.height, image.width, *band.shape[2:]), band.dtype.newbyteorder("="))
        samples[rows] = band
    return samples.reshape(image.height, image.width, -1), N_COLOURS[mode]


def is_deep(image):
    """Tell whether an opened image has 16-bit samples of which Pillow would keep only 8 bits."""
    return bool(image.tile) and ";16" in _layout(image) and not image.mode.startswith("I")


def decode_deep(path, kind):
    """Decode 16-bit gray+alpha, RGB, RGBA or CMYK in full depth: uint16 (H, W, S), number of colours.

    Pillow's decoders can be told which byte of each sample to keep: once the upper, once the lower.
    """
    with Image.open(path, formats=[kind]) as image:
        layout = _layout(image)
    if layout == "LA;16B":  # four bytes a pixel: all at once, as if they were four channels
        with _opened_as(path, kind, "RGBA") as image:
            samples = np.empty((image.height, image.width, 2), np.uint16)
            for rows, strip in _bands(image):
                samples[rows] = np.asarray(strip).view(">u2")
        return samples, 1
    if not re.fullmatch("(RGB|RGBX|RGBA|CMYK);16[BLN]", layout):
        raise ImageError(f"has 16-bit samples in the layout {layout}, which is not supported: convert it to RGB")
    big = layout.endswith("B") or (layout.endswith("N") and sys.byteorder == "big")
    with _opened_as(path, kind, layout[:-1] + ("B" if big else "L")) as image:
        samples = np.zeros((image.height, image.width, len(image.getbands())), np.uint16)
        for rows, strip in _bands(image):
            samples[rows] = np.asarray(strip)
    samples <<= 8
    with _opened_as(path, kind, layout[:-1] + ("L" if big else "B")) as image:
        for rows, strip in _bands(image):
            samples[rows] |= np.asarray(strip)
        return samples, N_COLOURS[image.mode]


def write_png(path, picture):
    """Write a PNG file of 8 or 16 bits in strips, with the metadata chunks of the input as they were."""
    height, width = picture.pixels.shape[:2]
    n_samples = picture.samples(slice(0, 1)).shape[2]
    size = picture.pixels.dtype.itemsize
    step = max(1, BAND // (width * n_samples * size))
    compressor = zlib.compressobj(6, zlib.DEFLATED, 15, 9, zlib.Z_FILTERED)
    above = np.zeros((1, width * n_samples * size), np.uint8)
    with path.open("wb") as file:
        file.write(png_start(width, height, n_samples, 8 * size))
        for kind, data in picture.metadata["chunks"]:
            file.write(png_chunk(kind, data))
        for top in range(0, height, step):
            band = picture.samples(slice(top, top + step))
            rows = np.ascontiguousarray(band, band.dtype.newbyteorder(">")).view(np.uint8).reshape(len(band), -1)
            filtered = _filtered(rows, np.concatenate([above, rows[:-1]]), n_samples * size)
            file.write(png_chunk(b"IDAT", compressor.compress(filtered)))
            above = rows[-1:]
        file.write(png_chunk(b"IDAT", compressor.flush()))
        file.write(png_chunk(b"IEND", b""))


def png_start(width, height, n_samples, n_bits):
    """Return the bytes that a PNG file of so many samples a pixel begins with."""
    header = struct.pack(">IIBBBBB", width, height, n_bits, PNG_COLOUR_TYPE[n_samples], 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header)


def png_chunk(kind, data):
    """Return the bytes of a chunk of a PNG file: its kind (4 bytes) and its data, with length and checksum."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def write_with_pillow(path, picture):
    """Write a JPEG, WebP or BMP file with the options that `read_with_pillow` stored."""
    samples = np.ascontiguousarray(picture.samples())
    mode = {1: "L", 3: "RGB", 4: "CMYK" if picture.alpha is None else "RGBA"}[samples.shape[2]]
    if picture.format == "BMP" and mode == "RGBA":
        _write_bmp_with_alpha(path, samples, picture.metadata.get("dpi", (0, 0)))
        return
    size = samples.shape[1], samples.shape[0]
    # Not fromarray, which takes four channels for RGBA.
    Image.frombuffer(mode, size, samples, "raw", mode, 0, 1).save(path, picture.format, **picture.metadata)


def _layout(image):
    """How the samples lie in the file, in Pillow's terms ("RGB;16B")."""
    arguments = image.tile[0][3]
    return arguments if isinstance(arguments, str) else arguments[0]


@contextmanager
def _opened_as(path, kind, layout):
    """Open and load an image as if its samples lay as `layout` says."""
    def changed(arguments):
        return layout if isinstance(arguments, str) else (layout, *arguments[1:])

    with Image.open(path, formats=[kind]) as image:
        # Tiles are named tuples since Pillow 11.
        image.tile = [getattr(tile, "_make", tuple)((*tile[:3], changed(tile[3]))) for tile in image.tile]
        image.load()
        yield image


def _bands(image):
    """Yield (rows, strip) of a loaded image: converted whole, Pillow would hold it three times over."""
    step = max(1, BAND // (4 * image.width))
    for top in range(0, image.height, step):
        bottom = min(top + step, image.height)
        yield slice(top, bottom), image.crop((0, top, image.width, bottom))


def _with_colour_key(samples, image):
    """Turn a PNG's "this colour is transparent" into an alpha channel."""
    key = image.info.get("transparency")
    if key is None or image.mode not in ("1", "L", "I;16", "RGB"):
        return samples
    opaque = (samples != np.asarray(key, samples.dtype)).any(axis=-1, keepdims=True)
    return np.concatenate([samples, opaque * samples.dtype.type(np.iinfo(samples.dtype).max)], axis=-1)


def _exif(image, notes):
    """Return the orientation (1 to 8) and the EXIF bytes with it reset, or None."""
    raw = image.info.get("exif")
    try:
        exif = image.getexif()
        orientation = exif.get(ORIENTATION, 1)
        if orientation in range(2, 9):
            exif[ORIENTATION] = 1
            return orientation, exif.tobytes()
    except Exception:  # the picture is good, and damaged EXIF is of many kinds
        notes.append("its EXIF data are damaged: its orientation is not known")
    return 1, raw


def reset_xmp(xmp):
    """Reset the orientation that XMP may repeat."""
    return re.sub(rb"(tiff:Orientation(?:=[\"']|>))[2-8]", rb"\g<1>1", xmp)


def _png_chunks(path, exif, orientation):
    """Read the chunks of a PNG file that are to be written again: [(type, data), ...]."""
    chunks = []
    with path.open("rb") as file:
        file.seek(8)
        while len(start := file.read(8)) == 8:
            length, kind = struct.unpack(">I4s", start)
            if kind not in PNG_CHUNKS:
                file.seek(length + 4, os.SEEK_CUR)
                continue
            data = file.read(length)
            file.seek(4, os.SEEK_CUR)
            if orientation > 1:
                if kind == b"eXIf":
                    continue
                if kind == b"pHYs" and orientation >= 5:
                    data = data[4:8] + data[:4] + data[8:]
                if kind == b"iTXt":
                    data = reset_xmp(data)
                # Compressed, the orientation cannot be reset in place, and the picture would be turned twice.
                if data.startswith((b"Raw profile type exif\0", XMP_KEY + b"\1")):
                    continue
            chunks.append((kind, data))
    if orientation > 1 and exif:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    return chunks


def _save_options(image, kind, exif, turned, path, notes):
    """Arguments for Pillow's `save` that keep what the file says beside its pixels."""
    info = image.info
    options = {}
    dpi = info.get("dpi")
    if dpi and kind in ("JPEG", "BMP") and all(0 < value < 65535 for value in dpi):
        options["dpi"] = tuple(reversed(dpi)) if turned else tuple(dpi)
    if kind == "BMP":
        return options
    if info.get("icc_profile"):
        options["icc_profile"] = info["icc_profile"]
    if exif and kind == "JPEG" and len(exif) > MAX_SEGMENT:
        notes.append("its EXIF data are longer than JPEG allows: not kept")
    elif exif:
        options["exif"] = exif
    if kind == "WEBP":
        if info.get("xmp"):
            options["xmp"] = reset_xmp(info["xmp"])
        return {**options, "quality": 95, "lossless": _is_lossless_webp(path), "exact": True}
    segments = [(name, reset_xmp(data)) for name, data in image.applist
                if (name == "APP1" and data.startswith(b"http://ns.adobe.com/xap/1.0/\0")) or name == "APP13"]
    # By hand, because Pillow writes XMP since version 11 only, and IPTC (APP13) never.
    options["extra"] = b"".join(b"\xff" + bytes([0xE0 + int(name[3:])]) + struct.pack(">H", len(data) + 2) + data
                                for name, data in segments)
    if info.get("comment"):
        options["comment"] = info["comment"]
    tables = image.quantization
    if 0 in tables and sum(tables[0]) < JPEG_QUALITY_STEPS:
        options["qtables"] = tables
    else:
        options["quality"] = JPEG_QUALITY
    return {**options, "subsampling": max(0, JpegImagePlugin.get_sampling(image))}


def _is_lossless_webp(path):
    """Walk a WebP file's chunks up to the picture itself."""
    with path.open("rb") as file:
        file.seek(12)
        while len(start := file.read(8)) == 8:
            kind, length = struct.unpack("<4sI", start)
            if kind in (b"VP8 ", b"VP8L"):
                return kind == b"VP8L"
            file.seek(length + length % 2, os.SEEK_CUR)
    return False


def _filtered(rows, above, n_bytes):
    """Bytes of PNG rows, each with the filter (none, left, up, mean of both) that leaves the smallest differences."""
    left = np.zeros_like(rows)
    left[:, n_bytes:] = rows[:, :-n_bytes]
    mean = ((left.astype(np.uint16) + above) >> 1).astype(np.uint8)
    candidates = [rows, rows - left, rows - above, rows - mean]
    best = np.argmin([np.abs(c.view(np.int8).astype(np.int16)).sum(axis=1) for c in candidates], axis=0)
    filtered = np.empty((len(rows), 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = best
    for i, candidate in enumerate(candidates):
        filtered[best == i, 1:] = candidate[best == i]
    return filtered.tobytes()


def _write_bmp_with_alpha(path, samples, dpi):
    """Write RGBA as a BMP with a version 4 header, because Pillow's has no alpha mask: readers ignore the alpha."""
    height, width = samples.shape[:2]
    per_metre = [round(value / 0.0254) for value in dpi]
    masks = struct.pack("<4I4s48x", 0xFF0000, 0xFF00, 0xFF, 0xFF000000, b"BGRs")
    with path.open("wb") as file:
        file.write(struct.pack("<2sI4xI", b"BM", 122 + samples.size, 122))
        file.write(struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, 3, samples.size, *per_metre, 0, 0) + masks)
        file.write(samples[::-1, :, [2, 1, 0, 3]].tobytes())
