"""Reads and decodes all images of a data set in threads: their sizes, a digest of their bytes, and what is wrong."""

import collections
import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Generator, Sequence
from concurrent import futures
from typing import NamedTuple

import numpy as np
import tqdm

from jaxreid.data.tracklets import frame_decode, tracklet
from jaxreid.process import paths


class _Frame(NamedTuple):
    size: tuple[int, int]  # height, width
    digest: bytes  # 16
    problem: str  # '' where it could be decoded


class Images(NamedTuple):
    """What was found in F image files, in the order of tracklets and frames."""

    size: np.ndarray  # [F, 2] uint32: height, width in pixels; 0 where there are problems
    digest: np.ndarray  # [F, 2] uint64, equal where the bytes are equal
    problems: dict[int, str]  # number of the image -> why it cannot be decoded

    def readable(self) -> np.ndarray:
        """[F] bool."""
        readable = np.ones(len(self.size), bool)
        readable[list(self.problems)] = False
        return readable


def check(root: str, tracklets: Sequence[tracklet.Tracklet], *, workers: int, progress: bool) -> Images:
    """Looks at every frame. About 24 bytes are kept per image, and a few tracklets' results wait at a time."""
    total = sum(len(one.frames) for one in tracklets)
    images = Images(np.zeros((total, 2), np.uint32), np.zeros((total, 2), np.uint64), {})
    frame_decode.one_thread_each()
    row = 0
    results = _in_threads(lambda one, stop: _look(root, one, stop), tracklets, workers)
    with (
        tqdm.tqdm(total=total, desc='decoding', unit='image', disable=not progress) as bar,
        contextlib.closing(results),
    ):
        for frames in results:
            for frame in frames:
                images.size[row] = frame.size
                images.digest[row] = np.frombuffer(frame.digest, np.uint64)
                if frame.problem:
                    images.problems[row] = frame.problem
                row += 1
            bar.update(len(frames))
    return images


def _in_threads(
    function: Callable[[tracklet.Tracklet, threading.Event], list[_Frame]],
    tracklets: Sequence[tracklet.Tracklet],
    workers: int,
) -> Generator[list[_Frame], None, None]:
    """Results in order; only a few tracklets wait at a time. Leaves promptly when it is interrupted."""
    stop = threading.Event()
    waiting: collections.deque[futures.Future[list[_Frame]]] = collections.deque()
    with futures.ThreadPoolExecutor(workers) as pool:
        try:
            for one in tracklets:
                waiting.append(pool.submit(function, one, stop))
                if len(waiting) > 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def _look(root: str, one: tracklet.Tracklet, stop: threading.Event) -> list[_Frame]:
    """Decodes the frames of a tracklet, wholly, as training would."""
    frames = []
    for path in one.frames:
        if stop.is_set():
            break
        try:
            data = paths.content(os.path.join(root, path))
        except OSError as error:
            frames.append(_Frame((0, 0), bytes(16), error.strerror or str(error)))
            continue
        digest = hashlib.blake2b(data, digest_size=16).digest()  # a fiftieth of the time that decoding takes
        try:
            height, width, _ = frame_decode.decode_as_stored(data).shape
            frames.append(_Frame((height, width), digest, ''))
        except ValueError as error:
            frames.append(_Frame((0, 0), digest, str(error)))
    return frames
