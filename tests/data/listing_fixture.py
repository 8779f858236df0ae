"""A file system that lists folders in an order of its own, and images for data sets in folders."""

import contextlib
import os
import pathlib
import random
from typing import NamedTuple

import cv2
import numpy as np


def shuffle(monkeypatch, seed):
    """Every listing of a folder comes in a random order from now on; os.walk, pathlib and glob stand on these two."""
    rng = random.Random(seed)
    scandir, listdir = os.scandir, os.listdir

    def shuffled(items):
        items = list(items)
        rng.shuffle(items)
        return items

    class Scandir:
        def __init__(self, path='.'):
            with scandir(path) as entries:
                self._entries = iter(shuffled(entries))

        def __iter__(self):
            return self

        def __next__(self):
            return next(self._entries)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.close()

        def close(self):
            self._entries = iter(())

    monkeypatch.setattr(os, 'scandir', Scandir)
    monkeypatch.setattr(os, 'listdir', lambda path='.': shuffled(listdir(path)))


class _Entry(NamedTuple):
    """Of a folder that is not there."""

    name: str
    folder: bool

    def is_dir(self):
        return self.folder


def pretend(monkeypatch, root, paths):
    """Listings show these files below `root` from now on: a million of them would take minutes and gigabytes."""
    held = {}
    for path in paths:
        where, _, name = path.rpartition('/')
        if where not in held:
            parts = where.split('/')
            for depth in range(len(parts)):
                held.setdefault('/'.join(parts[:depth]), {})[parts[depth]] = True
            held[where] = {}
        held[where][name] = False
    scandir = os.scandir

    def listed(path='.'):
        where = os.path.relpath(path, root).replace(os.sep, '/')
        where = '' if where == '.' else where
        if where not in held:
            return scandir(path)
        return contextlib.nullcontext(_Entry(*item) for item in reversed(held[where].items()))

    monkeypatch.setattr(os, 'scandir', listed)


def touch(root, paths):
    """Creates empty files, where a reader must not open them."""
    for folder in {path.rpartition('/')[0] for path in paths}:
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    for path in paths:
        os.close(os.open(os.path.join(root, path), os.O_CREAT))


def draw(root, paths):
    """Writes an image of its own to every path."""
    for number, path in enumerate(paths):
        path = pathlib.Path(root, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        coarse = np.random.default_rng(number).integers(0, 256, (4, 2, 3), dtype=np.uint8)
        _, data = cv2.imencode(path.suffix, cv2.resize(coarse, (8, 16), interpolation=cv2.INTER_LINEAR))
        path.write_bytes(data.tobytes())


def same(one, two):
    """Whether two data sets of one root are equal."""
    return (one.root, one.train, one.test, one.query.tolist(), one.gallery.tolist()) == (
        two.root,
        two.train,
        two.test,
        two.query.tolist(),
        two.gallery.tolist(),
    )
