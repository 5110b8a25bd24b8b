"""The feature store: one LMDB file with arrays as raw bytes and settings as JSON.

Layout, versions 1 and 2. Key ``header`` holds a JSON object. Frames lie in shards, in order;
key ``shard/00000012`` holds a JSON object (split, number of frames, and for every field its
dtype and shape), and ``shard/00000012/features`` the bytes of one C-ordered array over the
shard's frames or atoms. Nothing is pickled. Values are padded to a page, so that LMDB keeps
each in contiguous pages of its own and the arrays can be used in place.
"""

from hpopt_lib.store.arrays import SplitArrays
from hpopt_lib.store.blocks import Blocks, read_frames
from hpopt_lib.store.description import describe
from hpopt_lib.store.reader import Store
from hpopt_lib.store.writer import StoreWriter

__all__ = ["Blocks", "SplitArrays", "Store", "StoreWriter", "describe", "read_frames"]
