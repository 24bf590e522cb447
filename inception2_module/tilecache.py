"""All training tiles of one folder as one file beside it, so that a training of thousands of them starts at once.

Decoding 10,000 pairs takes a quarter of a minute at each start. The file's name holds a digest of the manifest's
digests, so that it belongs to these tiles and no others, and a checksum of what is in it. It may be removed at any
time; where there is no room for it, it is not written.
"""

import hashlib
import shutil
import zlib

import numpy as np

import util
from download_module.disk import DISK_MARGIN

N_LEAST = 1_000  # tiles: fewer are read from their own files in a second


def read_cached(directory, name, digests, indices, read_all):
    """Read tiles from the file of all of them, which is written first where at least half are wanted.

    Parameters
    ----------
    directory : path of the split
    name : str, of the folder in it
    digests : list of str, the manifest's for all tiles of the folder; None where it has none
    indices : list of int, the wanted tiles
    read_all : function -> array (N, H, W, C) of all tiles, checked

    Returns
    -------
    array (n, H, W, C) or `Picked` tiles, not to be written to; None where they have to be read from their own files
    """
    if digests is None or len(indices) < N_LEAST:
        return None
    key = hashlib.sha256(" ".join(digests).encode()).hexdigest()[:16]
    tiles = _load(directory, name, key, len(digests))
    if tiles is None and len(indices) >= len(digests) / 2:
        tiles = read_all()
        _save(directory, name, key, tiles)
    if tiles is None:
        return None
    first, last = indices[0], indices[-1]
    return tiles[first : last + 1] if list(indices) == list(range(first, last + 1)) else Picked(tiles, indices)


class Picked:
    """Some tiles of an array on disk, each read when it is asked for: a copy of a gigabyte takes seconds."""

    def __init__(self, tiles, indices):
        self.tiles, self.indices = tiles, np.asarray(indices)
        self.shape, self.dtype = (len(self.indices), *tiles.shape[1:]), tiles.dtype

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, wanted):
        return self.tiles[self.indices[wanted]]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype)


def _load(directory, name, key, n):
    for path in directory.glob(f".{name}-{key}-*.npy"):
        try:
            tiles = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            continue
        if len(tiles) == n and path.name == _name(name, key, tiles):
            return tiles
    return None


def _save(directory, name, key, tiles):
    try:
        if shutil.disk_usage(directory).free < tiles.nbytes + DISK_MARGIN:
            return
        with util.replacing(directory / _name(name, key, tiles)) as temporary:
            for path in directory.glob(f".{name}-*.npy"):  # of tiles that are no more
                path.unlink()
            np.save(temporary, tiles)
    except OSError:  # a full disk, or a folder that may only be read
        pass


def _name(name, key, tiles):
    return f".{name}-{key}-{zlib.crc32(np.ascontiguousarray(tiles)):08x}.npy"
