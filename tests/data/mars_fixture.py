"""Writes small datasets in MARS layout, from names and colours alone."""

import pathlib

import cv2
import numpy as np
import scipy.io

TRAIN = ((1, 1, 9), (1, 2, 5), (1, 2, 1), (3, 1, 40), (3, 3, 3), (5, 2, 7), (5, 5, 2), (7, 6, 6))
TEST = ((-1, 1, 2), (0, 1, 3), (0, 4, 2), (2, 1, 4), (2, 3, 6), (4, 2, 5), (4, 6, 11))
QUERY = (3, 5)  # rows of TEST


def names(tracklets):
    """Frame names of ((pid, camera, frames), ...); tracklet numbers run on over an id's tracklets."""
    seen, out = {}, []
    for pid, camera, frames in tracklets:
        seen[pid] = seen.get(pid, 0) + 1
        start = '00-1' if pid == -1 else f'{pid:04d}'
        out += [f'{start}C{camera}T{seen[pid]:04d}F{frame:03d}.jpg' for frame in range(1, frames + 1)]
    return out


def table(tracklets):
    """[N, 4] int32: first frame, last frame, id, camera, counted from 1."""
    rows, end = [], 0
    for pid, camera, frames in tracklets:
        rows.append((end + 1, end + frames, pid, camera))
        end += frames
    return np.asarray(rows, np.int32)


def write(
    root, *, train=TRAIN, test=TEST, query=QUERY, height=16, width=8, newline='\n', doubled=False, query_dtype=np.uint16
):
    """Writes a dataset below `root` and returns its path. Every frame is a smooth image of its own."""
    root = pathlib.Path(root)
    (root / 'info').mkdir(parents=True)
    for split, tracklets in (('train', train), ('test', test)):
        folder = root / f'bbox_{split}'
        if doubled:
            folder = folder / f'bbox_{split}'
        for number, name in enumerate(names(tracklets)):
            path = folder / name[:4] / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(number, height=height, width=width))
        text = newline.join(names(tracklets)) + newline
        (root / 'info' / f'{split}_name.txt').write_bytes(text.encode())
        scipy.io.savemat(root / 'info' / f'tracks_{split}_info.mat', {f'track_{split}_info': table(tracklets)})
    index = np.asarray(query, query_dtype).reshape(1, -1) + 1
    scipy.io.savemat(root / 'info' / 'query_IDX.mat', {'query_IDX': index.astype(query_dtype)})
    return root


def jpeg(number, *, height=16, width=8):
    """Bytes of a smooth JPEG that depends on `number`."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 2, 3), dtype=np.uint8)
    _, data = cv2.imencode('.jpg', cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
    return data.tobytes()
