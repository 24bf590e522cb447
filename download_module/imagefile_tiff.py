"""TIFF for imagefile.py: 8 to 64 bits, integer or float, with its tags (GeoTIFF, ICC profile, XMP) and EXIF.

tifffile reads and writes what is uncompressed or Deflate. Pillow decodes the rest (LZW, JPEG, fax, palettes), and
that is written with Deflate, because neither of them writes all of it in full depth.
"""

import itertools
import math
import os
import struct
import sys
import zlib
from contextlib import contextmanager

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from download_module import imagefile_pillow
from util import ImageError

MAGIC = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
N_COLOURS = {0: 1, 1: 1, 2: 3, 5: 4}  # by photometric interpretation: white is zero, black is zero, RGB, inks
DEFLATE = (8, 32946)
GDAL_NODATA = 42113
IFDS = (34665, 34853)  # EXIF, GPS
# How the samples lie in the file: the writer says that anew. Pointers to other directories do not survive either.
STRUCTURE = {
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284, 288, 289,
    290, 291, 292, 293, 296, 317, 320, 321, 322, 323, 324, 325, 326, 327, 328, 330, 332, 334, 336, 338, 339, 340, 341,
    347, *range(512, 522), *range(529, 533), 32996, 32997, 32998, *IFDS, 40965,
}
ITEM_SIZE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes, by TIFF type


def read_tiff(path):
    """Read a TIFF file of one page.

    Returns
    -------
    samples : array (H, W, S) of any integer or float type, alpha last
    n_colours : int
        How many of the samples are colours.
    facts : dict
        Arguments for `imagefile.Picture`, and the EXIF `orientation`, which is not applied yet.
    """
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        _check(tif, page)
        notes = ["its reduced copies (overviews) are not written"] if len(tif.pages) > 1 else []
        metadata = {
            "byteorder": tif.byteorder, "bigtiff": tif.is_bigtiff,
            "compression": None if page.compression == 1 else "zlib",
            "extrasamples": [e for e in map(int, page.extrasamples[:1]) if e in (0, 1, 2)] or [2],
            "tags": _tags(tif, page), "ifds": _ifds(tif, page, notes), "resolution": _resolution(page),
        }
        facts = {"format": "TIFF", "metadata": metadata, "notes": notes, "orientation": _value(page, 274, 1)}
        if _is_plain(page):
            samples, n_colours = _decode(tif, page), N_COLOURS[page.photometric]
            facts["zero_is_white"] = page.photometric in (0, 5)
            metadata["photometric"] = {0: "miniswhite", 1: "minisblack", 2: "rgb", 5: "separated"}[page.photometric]
        else:
            samples, n_colours = _decode_with_pillow(path, page, facts)
        if samples.shape[2] - n_colours not in (0, 1):
            raise ImageError(f"has {samples.shape[2]} channels: save the one to three that you want on their own",
                             "of too many channels")
        nodata = _value(page, GDAL_NODATA, None)
    if nodata is not None:
        facts["hole_value"] = _as_sample(nodata, samples.dtype)
    return samples, n_colours, facts


def write_tiff(path, picture):
    """Write a TIFF file like the one that was read: type, layout, byte order, tags, EXIF."""
    metadata, order = picture.metadata, picture.metadata["byteorder"]
    samples = picture.samples()
    options = {}
    if picture.alpha is not None:
        options["extrasamples"] = metadata["extrasamples"]
    if samples.shape[2] == 1:
        samples = samples[..., 0]
    else:
        options["planarconfig"] = "contig"
    if metadata["compression"]:
        # tifffile has no floating point predictor of its own.
        options |= {"compression": metadata["compression"], "predictor": samples.dtype.kind in "iu" or None}
    tags = [(code, kind, count, _scaled(code, data, order, picture.scale), True)
            for code, kind, count, data in metadata["tags"]]
    large = metadata["bigtiff"] or samples.nbytes > 2**32 - 2**25
    ifds = {} if large else metadata["ifds"]
    tifffile.imwrite(
        path, samples, photometric=metadata["photometric"], byteorder=order, metadata=None, software=False,
        bigtiff=large, extratags=tags, **metadata["resolution"], **options,
    )
    if ifds:
        _add_ifds(path, ifds, order)


def _check(tif, page):
    """Refuse what is not one plain picture, or declares more than the file can hold."""
    n_pixels = int(page.imagewidth) * int(page.imagelength)  # damaged, either may be a tuple, and its product gigabytes
    if any(not other.subfiletype & 5 for other in itertools.islice(tif.pages, 1, None)):  # 1: reduced copy, 4: mask
        raise ImageError(f"has {len(tif.pages)} pages: save the one you want as a file of its own", "of several pages")
    n_slices = max(page.shaped[1], (tif.imagej_metadata or {}).get("images", 1))
    if n_slices > 1:
        raise ImageError(f"is a stack of {n_slices} pictures: save the one you want as a file of its own",
                         "of several pages")
    if page.samplesperpixel > 5:
        raise ImageError(f"has {page.samplesperpixel} channels: save the one to three that you want on their own",
                             "of too many channels")
    if Image.MAX_IMAGE_PIXELS is not None and n_pixels > 2 * Image.MAX_IMAGE_PIXELS:  # where Pillow refuses, too
        raise Image.DecompressionBombError
    if page.is_tiled and page.tilewidth * page.tilelength > max(n_pixels, 4096**2):
        raise ImageError("declares tiles larger than the picture: it is damaged, replace it")
    ends = [start + size for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if not ends or max(ends) > tif.filehandle.size or not all(page.databytecounts):
        raise ImageError("is cut short, or parts of it were never written: replace it")


def _is_plain(page):
    """Tell whether tifffile can decode a page alone, without the package imagecodecs."""
    return (
        page.photometric in N_COLOURS
        and page.compression in (1, *DEFLATE) and page.predictor in (1, 2) and page.fillorder == 1
        and page.dtype is not None and page.dtype.kind in "iuf" and page.bitspersample == 8 * page.dtype.itemsize
    )


def _decode(tif, page):
    """Array (H, W, S) of a plain page."""
    segment = math.prod(page.chunks) * page.dtype.itemsize
    if page.compression in DEFLATE:
        # tifffile would inflate a few bytes to as many gigabytes as they declare.
        for start, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            tif.filehandle.seek(start)
            inflate = zlib.decompressobj()
            inflate.decompress(tif.filehandle.read(size), segment)
            if inflate.decompress(inflate.unconsumed_tail, 1):
                raise ImageError("holds more data than it declares: it is damaged, replace it")
    elif sum(page.databytecounts) < page.nbytes:
        raise ImageError("holds less data than it declares: it is damaged, replace it")
    separate, _, height, width, contiguous = page.shaped
    samples = page.asarray(maxworkers=1).reshape(separate, height, width, contiguous)
    samples = samples[0] if separate == 1 else np.moveaxis(samples[..., 0], 0, -1)
    return samples.astype(samples.dtype.newbyteorder("="), copy=False)


def _decode_with_pillow(path, page, facts):
    """Array (H, W, S) and number of colours of any other page; notes and the photometric go into `facts`."""
    try:
        image = Image.open(path, formats=["TIFF"])
    except UnidentifiedImageError as error:
        kind = f"{page.bitspersample} bits, compression {_name(page.compression)}, {_name(page.photometric)}"
        raise ImageError(f"is a TIFF of a kind that is not supported ({kind}): save it uncompressed") from error
    with image, _silent():
        if imagefile_pillow.is_deep(image):
            samples, n_colours = imagefile_pillow.decode_deep(path, "TIFF")
        else:
            samples, n_colours = imagefile_pillow.decode(image, facts["notes"])
            if image.mode == "I":  # which is int32 whatever the file holds
                samples = samples.astype(page.dtype)
    facts["orientation"] = 1  # Pillow has applied it
    facts["zero_is_white"] = n_colours == 4
    metadata = facts["metadata"]
    metadata["photometric"] = {1: "minisblack", 3: "rgb", 4: "separated"}[n_colours]
    metadata["extrasamples"] = [2]  # Pillow has divided premultiplied colours by their alpha
    if page.compression not in (1, *DEFLATE):
        name = _name(page.compression)
        facts["notes"].append(f"TIFF compression {name} cannot be written in full depth: written with Deflate")
    return samples, n_colours


def _name(value):
    """The name of a TIFF constant, or its number where it has none."""
    return getattr(value, "name", value)


def _value(page, code, default):
    """The value of a tag."""
    tag = page.tags.get(code)
    return default if tag is None else tag.value


def _as_sample(text, dtype):
    """GDAL's "no data" value (text) as a value that an array of the type can hold, or None."""
    try:
        value = float(str(text).strip("\0 "))
    except ValueError:
        return None
    if dtype.kind == "f":
        return float(dtype.type(value))
    limits = np.iinfo(dtype)
    return int(value) if value.is_integer() and limits.min <= value <= limits.max else None


def _tags(tif, page):
    """[(code, type, count, bytes), ...] of all tags that do not say how the samples lie."""
    tags = []
    for tag in page.tags:
        size = ITEM_SIZE.get(int(tag.dtype), 0) * tag.count
        if tag.code in STRUCTURE or not size or size > tif.filehandle.size:
            continue
        tif.filehandle.seek(tag.valueoffset)
        data = tif.filehandle.read(size)
        data = imagefile_pillow.reset_xmp(data) if tag.code == 700 else data
        tags.append((tag.code, int(tag.dtype), tag.count, data))
    return tags


def _resolution(page):
    """Arguments of tifffile.imwrite for pixels per unit."""
    x, y = (_value(page, code, None) for code in (282, 283))
    if not (isinstance(x, tuple) and isinstance(y, tuple) and len(x) == len(y) == 2 and all((*x, *y))):
        return {}
    unit = _value(page, 296, 2)
    if _value(page, 274, 1) in (5, 6, 7, 8):
        x, y = y, x
    return {"resolution": (x, y), "resolutionunit": int(unit) if unit in (1, 2, 3) else 2}


def _scaled(code, data, byteorder, scale):
    """The bytes of a tag for a picture enlarged by `scale`: GeoTIFF tags count in pixels."""
    if scale == 1 or code not in (33550, 33922, 34264):
        return data
    values = np.frombuffer(data, byteorder + "f8").copy()
    if code == 33550:  # ModelPixelScale: size of a pixel
        values[:2] /= scale
    elif code == 33922:  # ModelTiepoint: pixel i, j, k and its place x, y, z
        values.reshape(-1, 6)[:, :2] *= scale
    else:  # ModelTransformation: 4x4 from pixels to places
        values.reshape(4, 4)[:, :2] /= scale
    return values.tobytes()


def _ifds(tif, page, notes):
    """EXIF and GPS directories of a classic TIFF: {code: [(code, type, count, bytes), ...]}."""
    ifds, file, order = {}, tif.filehandle, tif.byteorder
    for code in IFDS:
        if code not in page.tags or tif.is_bigtiff:
            continue
        try:
            file.seek(page.tags[code].offset + 8)
            file.seek(struct.unpack(order + "I", file.read(4))[0])
            n_entries = struct.unpack(order + "H", file.read(2))[0]
            entries = []
            for kind in struct.iter_unpack(order + "HHI4s", file.read(12 * n_entries)):
                code_, type_, count, value = kind
                size = ITEM_SIZE[type_] * count
                if size > 4:
                    file.seek(struct.unpack(order + "I", value)[0])
                    value = file.read(size)
                if code_ not in STRUCTURE and len(value) == max(4, size):
                    entries.append((code_, type_, count, value))
            ifds[code] = entries
        except (struct.error, KeyError):
            notes.append("its EXIF data are damaged: not kept")
    return ifds


def _add_ifds(path, ifds, byteorder):
    """Add EXIF and GPS directories to a classic TIFF file, which tifffile does not write.

    They go to the end, and behind them a new directory of the page, with the old entries and pointers to the two.
    """
    with path.open("r+b") as file:
        file.seek(*struct.unpack(byteorder + "4xI", file.read(8)))
        n_entries = struct.unpack(byteorder + "H", file.read(2))[0]
        page = [struct.unpack(byteorder + "HHI4s", file.read(12)) for _ in range(n_entries)]
        for code, entries in ifds.items():
            start = _append_ifd(file, entries, byteorder)
            page.append((code, 4, 1, struct.pack(byteorder + "I", start)))
        start = _append_ifd(file, sorted(page), byteorder)
        file.seek(4)
        file.write(struct.pack(byteorder + "I", start))


def _append_ifd(file, entries, byteorder):
    """Write a directory, and the values longer than four bytes behind it, to the end of a file: its offset."""
    start = file.seek(0, os.SEEK_END)
    start += file.write(bytes(start % 2))
    table, long_values = struct.pack(byteorder + "H", len(entries)), b""
    for code, kind, count, value in entries:
        if len(value) > 4:
            place = start + 2 + 12 * len(entries) + 4 + len(long_values)
            long_values += value + bytes(len(value) % 2)
            value = struct.pack(byteorder + "I", place)
        table += struct.pack(byteorder + "HHI4s", code, kind, count, value)
    file.write(table + bytes(4) + long_values)
    return start


@contextmanager
def _silent():
    """Keep what libtiff prints on damaged files off the terminal: C code writes to the descriptor itself."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
