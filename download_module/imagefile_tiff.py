"""TIFF for imagefile.py: 8 to 64 bits, integer or float, with its tags (GeoTIFF, ICC profile, XMP) and EXIF.

tifffile reads and writes what is uncompressed or Deflate. Of other compressions that know nothing of pictures (LZW,
PackBits) Pillow unpacks the bytes and the samples are made of them here, because of many layouts it would drop
channels, low bytes or signs. It decodes the rest (JPEG, fax, palettes). Both are written with Deflate.
"""

import io
import itertools
import math
import os
import struct
import zlib
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import tifffile
from PIL import Image, UnidentifiedImageError

from download_module import imagefile_pillow
from util import ImageError, stderr_sent_to

MAGIC = {b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"}
N_COLOURS = {0: 1, 1: 1, 2: 3, 5: 4}  # by photometric interpretation: white is zero, black is zero, RGB, inks
DEFLATE = (8, 32946)
BYTEWISE = (5, 32773, 34925, 50000)  # LZW, PackBits, LZMA, Zstandard
MAX_CHANNELS = 4  # beside alpha
MAX_PACKING = 4096  # how many bytes no byte of these stands for
GEO_KEYS, RASTER_TYPE, POINT = 34735, 1025, 2
GDAL_NODATA = 42113
IFDS = (34665, 34853)  # EXIF, GPS
DESCRIPTION, RPC = 270, 50844
# Where microscopes' programs say what the pages of a file are, and how large a pixel is: by tag, or in the
# description. ImageJ's has the unit of the resolution alone, which is scaled.
LAYOUT = {50838: "ImageJ", 50839: "ImageJ", 34412: "LSM", 33628: "STK", 33629: "STK", 33630: "STK", 33631: "STK",
          34361: "FluoView", 34362: "FluoView", 51123: "Micro-Manager"}
# How the samples lie in the file: the writer says that anew. Pointers to other directories do not survive either.
STRUCTURE = {
    254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 274, 277, 278, 279, 280, 281, 282, 283, 284, 288, 289,
    290, 291, 292, 293, 296, 317, 320, 321, 322, 323, 324, 325, 326, 327, 328, 330, 332, 334, 336, 338, 339, 340, 341,
    347, *range(512, 522), *range(529, 533), 32996, 32997, 32998, *IFDS, 40965,
}
ITEM_SIZE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}  # bytes, by TIFF type


def count_pages(path):
    """Return how many pictures a TIFF file holds, without their reduced copies and masks."""
    with tifffile.TiffFile(path) as tif:
        return len(_full_pages(tif))


def _full_pages(tif):
    return [page for i, page in enumerate(tif.pages) if not i or not page.subfiletype & 5]  # 1: reduced copy, 4: mask


def read_tiff(path, page_number=None):
    """Read a TIFF file of one page, or one page of several.

    Returns
    -------
    samples : array (H, W, S) of any integer or float type, alpha last
    n_colours : int
        How many of the samples are colours.
    facts : dict
        Arguments for `imagefile.Picture`, and the EXIF `orientation`, which is not applied yet.
    """
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0] if page_number is None else _full_pages(tif)[page_number]
        _check(tif, page, page_number)
        notes = ["its reduced copies (overviews) are not written"] if page_number is None and len(tif.pages) > 1 else []
        metadata = {
            "byteorder": tif.byteorder, "bigtiff": tif.is_bigtiff,
            "compression": None if page.compression == 1 else "zlib",
            "tags": _tags(tif, page), "ifds": _ifds(tif, page, notes), "resolution": _resolution(page),
        }
        if page_number is not None and (names := {name for tag in metadata["tags"] if (name := _layout(*tag))}):
            metadata["tags"] = [tag for tag in metadata["tags"] if not _layout(*tag)]
            notes.append(f"what {' and '.join(sorted(names))} says of its pages (axes, calibration) is not written")
        metadata["stale"] = {name for tag in metadata["tags"] if (name := _layout(*tag)) and name != "ImageJ"}
        facts = {"format": "TIFF", "metadata": metadata, "notes": notes, "orientation": _value(page, 274, 1)}
        if _is_plain(page):
            samples, n_colours = _decode(tif, page), N_COLOURS[page.photometric]
            extra = [*map(int, page.extrasamples), *(samples.shape[2] * [0])][: samples.shape[2] - n_colours]
            facts["zero_is_white"] = page.photometric in (0, 5)
            metadata["photometric"] = {0: "miniswhite", 1: "minisblack", 2: "rgb", 5: "separated"}[page.photometric]
            _note_compression(page, notes)
        else:
            samples, n_colours = _decode_with_pillow(path, page, facts)
            extra = [2] * (samples.shape[2] - n_colours)  # Pillow has divided premultiplied colours by their alpha
        # 0: a band of its own; 1: alpha that the colours are multiplied by; 2: alpha, as is what nobody knows.
        extra = metadata["extrasamples"] = [kind if kind in (0, 1, 2) else 2 for kind in extra]
        facts["has_alpha"] = any(extra)
        if samples.shape[2] < n_colours or samples.shape[2] - any(extra) > MAX_CHANNELS:
            raise ImageError(f"has {samples.shape[2]} channels: save up to {MAX_CHANNELS} of them on their own",
                             "of too many channels")
        if any(extra):
            alpha = next(i for i, kind in enumerate(extra) if kind)
            facts["premultiplied"] = extra[alpha] == 1
            metadata["alpha_at"] = n_colours + alpha  # GDAL may put bands behind it
            samples = _with_channel_moved(samples, metadata["alpha_at"], -1)
        nodata = _value(page, GDAL_NODATA, None)
    if nodata is not None:
        facts["hole_value"] = _as_sample(nodata, samples.dtype)
    return samples, n_colours, facts


def write_tiff(path, picture, page=0, n_pages=1):
    """Write a TIFF file, or one page of it, like the one that was read: type, byte order, tags, EXIF (of one page)."""
    metadata, order = picture.metadata, picture.metadata["byteorder"]
    samples = picture.samples()
    if picture.alpha is not None:
        samples = _with_channel_moved(samples, -1, metadata["alpha_at"])
    options = {}
    if metadata["extrasamples"]:
        options["extrasamples"] = metadata["extrasamples"]
    if samples.shape[2] == 1:
        samples = samples[..., 0]
    else:
        options["planarconfig"] = "contig"
    if metadata["compression"]:
        # tifffile has no floating point predictor of its own.
        options |= {"compression": metadata["compression"], "predictor": samples.dtype.kind in "iu" or None}
    is_point = _is_point(metadata["tags"], order)
    tags = [(code, kind, count, _scaled(code, data, order, picture.scale, is_point), True)
            for code, kind, count, data in metadata["tags"]
            if picture.scale == 1 or _layout(code, kind, count, data) in (None, "ImageJ")]
    resolution = metadata["resolution"]
    if resolution and picture.scale != 1 and any(_layout(*tag) == "ImageJ" for tag in metadata["tags"]):
        pairs = [(n * picture.scale, of) for n, of in resolution["resolution"]]
        resolution = resolution | {"resolution": tuple(pairs)}
    large = metadata["bigtiff"] or samples.nbytes * n_pages > 2**32 - 2**25
    ifds = {} if large or n_pages > 1 else metadata["ifds"]
    tifffile.imwrite(
        path, samples, photometric=metadata["photometric"], byteorder=order, metadata=None, software=False,
        bigtiff=large and not page, append=page > 0, extratags=tags, **resolution, **options,
    )
    if ifds:
        _add_ifds(path, ifds, order)


def _with_channel_moved(samples, here, there):
    """Move a channel of (H, W, S); a copy only where it moves."""
    n = samples.shape[2]
    order = list(range(n))
    order.insert(there % n, order.pop(here % n))
    return samples if order == list(range(n)) else samples[..., order]


def _check(tif, page, page_number):
    """Refuse what is not one plain picture, or declares more than the file can hold."""
    n_pixels = int(page.imagewidth) * int(page.imagelength)  # damaged, either may be a tuple, and its product gigabytes
    if any(other.subfiletype & 5 == 4 for other in itertools.islice(tif.pages, 1, None)):
        raise ImageError("has a mask of what is valid in a page of its own: save it as alpha, or as a no-data value",
                         "with a mask in a page of its own")
    if page_number is None and any(not other.subfiletype & 5 for other in itertools.islice(tif.pages, 1, None)):
        raise ImageError(f"has {len(_full_pages(tif))} pages: add --pages, or save the one that you want as a file of "
                         "its own", "of several pages (see --pages)")
    n_slices = max(page.shaped[1], (tif.imagej_metadata or {}).get("images", 1) if len(tif.pages) == 1 else 1)
    if n_slices > 1:
        raise ImageError(f"is a stack of {n_slices} pictures: save the one you want as a file of its own",
                         "of several pages")
    if Image.MAX_IMAGE_PIXELS is not None and n_pixels > 2 * Image.MAX_IMAGE_PIXELS:  # where Pillow refuses, too
        raise Image.DecompressionBombError
    if page.is_tiled and page.tilewidth * page.tilelength > max(n_pixels, 4096**2):
        raise ImageError("declares tiles larger than the picture: it is damaged, replace it")
    ends = [start + size for start, size in zip(page.dataoffsets, page.databytecounts, strict=True)]
    if not ends or max(ends) > tif.filehandle.size or not all(page.databytecounts):
        raise ImageError("is cut short, or parts of it were never written: replace it")


def _is_plain(page):
    """Tell whether the samples of a page lie in its bytes as they are, once these are unpacked."""
    return (
        page.photometric in N_COLOURS
        and page.compression in (1, *DEFLATE, *BYTEWISE) and page.predictor in (1, 2, 3) and page.fillorder == 1
        and page.dtype is not None and page.dtype.kind in "iuf" and page.bitspersample == 8 * page.dtype.itemsize
    )


def _decode(tif, page):
    """Array (H, W, S) of a plain page."""
    if page.compression in BYTEWISE or page.predictor == 3:  # tifffile would need the package imagecodecs
        return _decode_segments(tif, page)
    if page.compression in DEFLATE:
        for start, size in zip(page.dataoffsets, page.databytecounts, strict=True):
            _inflated(tif, start, size, math.prod(page.chunks) * page.dtype.itemsize)
    elif sum(page.databytecounts) < page.nbytes:
        raise ImageError("holds less data than it declares: it is damaged, replace it")
    separate, _, height, width, contiguous = page.shaped
    samples = page.asarray(maxworkers=1).reshape(separate, height, width, contiguous)
    samples = samples[0] if separate == 1 else np.moveaxis(samples[..., 0], 0, -1)
    return samples.astype(samples.dtype.newbyteorder("="), copy=False)


def _inflated(tif, start, size, limit):
    """The bytes of a Deflate segment, of which some claim to be gigabytes and tifffile would believe them."""
    tif.filehandle.seek(start)
    inflate = zlib.decompressobj()
    data = inflate.decompress(tif.filehandle.read(size), limit)
    if inflate.decompress(inflate.unconsumed_tail, 1):
        raise ImageError("holds more data than it declares: it is damaged, replace it")
    return data


def _decode_segments(tif, page):
    """Array (H, W, S) of a page, segment by segment: strips or tiles, samples together or plane after plane."""
    height, width, n_samples = int(page.imagelength), int(page.imagewidth), int(page.samplesperpixel)
    if sum(page.databytecounts) * MAX_PACKING < page.nbytes:
        raise ImageError("holds less data than it declares: it is damaged, replace it")
    n_planes = n_samples if page.planarconfig == 2 else 1
    n_together = n_samples // n_planes
    n_rows = page.tilelength if page.is_tiled else min(int(page.rowsperstrip), height)
    n_columns = page.tilewidth if page.is_tiled else width
    per_plane, across = -(-height // n_rows) * -(-width // n_columns), -(-width // n_columns)
    samples = np.empty((height, width, n_samples), page.dtype.newbyteorder("="))
    row_bytes = n_columns * n_together * page.dtype.itemsize
    for i, (start, size) in enumerate(zip(page.dataoffsets, page.databytecounts, strict=True)):
        plane, place = divmod(i, per_plane)
        top, left = place // across * n_rows, place % across * n_columns
        there = samples[top : top + n_rows, left : left + n_columns, plane * n_together : (plane + 1) * n_together]
        rows = n_rows if page.is_tiled else len(there)
        if page.compression in DEFLATE:
            data = np.frombuffer(_inflated(tif, start, size, rows * row_bytes), np.uint8)
        else:
            tif.filehandle.seek(start)
            data = _unpacked(tif.filehandle.read(size), int(page.compression), rows, row_bytes)
        data = _without_predictor(data.reshape(rows, n_columns, n_together * page.dtype.itemsize), page, tif.byteorder)
        there[...] = data[: len(there), : there.shape[1]]
    if i + 1 != n_planes * per_plane:
        raise ImageError("is cut short, or parts of it were never written: replace it")
    return samples


def _unpacked(data, compression, n_rows, row_bytes):
    """Unpack a segment: for Pillow it is a gray picture of a TIFF file that is made around it."""
    fields = {256: row_bytes, 257: n_rows, 258: 8, 259: compression, 262: 1, 273: 8, 277: 1, 278: n_rows,
              279: len(data)}
    padding = len(data) % 2
    file = struct.pack("<2sHI", b"II", 42, 8 + len(data) + padding) + data + bytes(padding)
    file += struct.pack("<H", len(fields)) + b"".join(struct.pack("<HHII", code, 4, 1, n) for code, n in fields.items())
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # bytes, not pixels, and `_check` has looked at these
    try:
        with _silent(), Image.open(io.BytesIO(file + bytes(4)), formats=["TIFF"]) as image:
            return np.asarray(image)
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _without_predictor(data, page, byteorder):
    """Samples (h, w, S) of bytes (h, w, S * size), of which the predictor has left differences."""
    dtype = page.dtype.newbyteorder(byteorder)
    if page.predictor == 3:  # first the highest bytes of a row, then the next ones: differences of bytes
        n_together = data.shape[2] // dtype.itemsize
        steps = data.reshape(len(data), -1, n_together)
        rows = np.cumsum(steps, axis=1, dtype=np.uint8).reshape(len(data), dtype.itemsize, -1)
        ordered = np.ascontiguousarray(np.moveaxis(rows, 1, -1)).view(dtype.newbyteorder(">"))
        return ordered.reshape(len(data), data.shape[1], n_together)
    if page.predictor == 1:
        return np.ascontiguousarray(data).view(dtype)
    unsigned = np.dtype(f"{byteorder}u{dtype.itemsize}")
    sums = np.cumsum(np.ascontiguousarray(data).view(unsigned), axis=1, dtype=unsigned.newbyteorder("="))
    return sums.view(dtype.newbyteorder("="))


def _note_compression(page, notes):
    if page.compression not in (1, *DEFLATE):
        name = _name(page.compression)
        notes.append(f"TIFF compression {name} cannot be written in full depth: written with Deflate")


def _decode_with_pillow(path, page, facts):
    """Array (H, W, S) and number of colours of any other page; notes and the photometric go into `facts`."""
    bits = page.bitspersample
    advice = "save it uncompressed" if bits in (8, 16, 32, 64) else "save it with 8 or 16 bits a sample"
    kind = f"{bits} bits, compression {_name(page.compression)}, {_name(page.photometric)}"
    unknown = ImageError(f"is a TIFF of a kind that is not supported ({kind}): {advice}",
                         "of a kind that is not supported")
    try:
        image = Image.open(path, formats=["TIFF"])
    except UnidentifiedImageError as error:
        raise unknown from error
    with image, _silent():
        image.seek(page.index)
        if imagefile_pillow.is_deep(image):
            raise unknown
        samples, n_colours = imagefile_pillow.decode(image, facts["notes"])
        if image.mode == "I":  # which is int32 whatever the file holds
            samples = samples.astype(page.dtype)
    is_palette = page.photometric == 3
    if bits > 8 * samples.itemsize or (samples.shape[2] != page.samplesperpixel and not is_palette):
        raise unknown
    facts["orientation"] = 1  # Pillow has applied it
    facts["zero_is_white"] = n_colours == 4
    facts["metadata"]["photometric"] = {1: "minisblack", 3: "rgb", 4: "separated"}[n_colours]
    _note_compression(page, facts["notes"])
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
        if tag.code == 270 and data.startswith(b'{"shape": ['):
            continue  # tifffile's own note of the shape, which the output may not have
        data = imagefile_pillow.reset_xmp(data) if tag.code == 700 else data
        tags.append((tag.code, int(tag.dtype), tag.count, data))
    return tags


def _layout(code, _kind, _count, data):
    """The program whose layout of pages and size of pixels a tag tells, or None."""
    if code == DESCRIPTION:
        is_ome = data.rstrip(b"\0\r\n ").endswith(b"OME>")
        return "OME" if is_ome else "ImageJ" if data.startswith(b"ImageJ=") else None
    return LAYOUT.get(code)


def _resolution(page):
    """Arguments of tifffile.imwrite for pixels per unit."""
    x, y = (_value(page, code, None) for code in (282, 283))
    if not (isinstance(x, tuple) and isinstance(y, tuple) and len(x) == len(y) == 2 and all((*x, *y))):
        return {}
    unit = _value(page, 296, 2)
    if _value(page, 274, 1) in (5, 6, 7, 8):
        x, y = y, x
    return {"resolution": (x, y), "resolutionunit": int(unit) if unit in (1, 2, 3) else 2}


def _is_point(tags, byteorder):
    """Tell whether places of a GeoTIFF are those of the middles of pixels, not of their corners."""
    data = next((data for code, kind, _, data in tags if (code, kind) == (GEO_KEYS, 3)), b"")
    keys = np.frombuffer(data[: len(data) // 8 * 8], byteorder + "u2").reshape(-1, 4)[1:]
    return any(key == RASTER_TYPE and value == POINT for key, _, _, value in keys.tolist())


def _scaled(code, data, byteorder, scale, is_point):
    """The bytes of a tag for a picture enlarged by `scale`: tags of places count in pixels."""
    if scale == 1 or code not in (33550, 33922, 34264, RPC):
        return data
    values = np.frombuffer(data, byteorder + "f8").copy()
    shift = (scale - 1) / 2 if is_point else 0  # where the middle of the first pixel comes to lie
    if code == 33550:  # ModelPixelScale: size of a pixel
        values[:2] /= scale
    elif code == 33922:  # ModelTiepoint: pixel i, j, k and its place x, y, z
        values.reshape(-1, 6)[:, :2] = values.reshape(-1, 6)[:, :2] * scale + shift
    elif code == RPC:  # after two errors the offsets of line and sample, of three coordinates, the scales of the former
        values[2:4] = values[2:4] * scale + (scale - 1) / 2  # of middles
        values[7:9] *= scale
    else:  # ModelTransformation: 4x4 from pixels to places
        matrix = values.reshape(4, 4)
        matrix[:, :2] /= scale
        matrix[:, 3] -= matrix[:, :2].sum(axis=1) * shift
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
    """Keep what libtiff prints on damaged files off the terminal."""
    with Path(os.devnull).open("w") as nowhere, stderr_sent_to(nowhere):
        yield
