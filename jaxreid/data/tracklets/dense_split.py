"""Cuts long training tracklets into pieces that count as tracklets (the released code of AP3D, ECCV 2020).

An epoch then visits a long tracklet as often as it has pieces. AP3D does so on DukeMTMC-VideoReID (64 frames, stride
64) and on iLIDS-VID (64 frames, stride 32: pieces overlap), not on MARS.
"""

import dataclasses
from collections.abc import Sequence

from jaxreid.data.tracklets import tracklet


def split(tracklets: Sequence[tracklet.Tracklet], *, frames: int, stride: int = 0) -> tuple[tracklet.Tracklet, ...]:
    """Pieces of every tracklet, in order; no frame is lost.

    A tracklet of F frames gives floor(F / stride) pieces, of which number i starts at frame i * stride. They have
    `frames` frames, but for the last one, which goes on to the tracklet's end. A tracklet that gives no more than one
    piece stays as it is.

    A piece is named after its tracklet and its first frame, 0001C1T0001@64.

    Raises:
      ValueError: frames between the pieces would be lost.
    """
    stride = stride or frames
    if not 1 <= stride <= frames:
        raise ValueError(
            f'Pieces of {frames} frames every {stride} frames would lose frames; dense_stride must be between 1 and '
            'dense_frames, or 0 for the same.'
        )
    pieces: list[tracklet.Tracklet] = []
    for whole in tracklets:
        starts = range(0, len(whole.frames) // stride * stride, stride)
        if len(starts) < 2:
            pieces.append(whole)
            continue
        for start in starts:
            end = start + frames if start != starts[-1] else len(whole.frames)
            following = whole.frames[end] if end < len(whole.frames) else whole.next_frame
            piece = whole.frames[start:end]
            pieces.append(dataclasses.replace(whole, name=f'{whole.name}@{start}', frames=piece, next_frame=following))
    return tuple(pieces)


def origin(name: str) -> tuple[str, int]:
    """Name of the tracklet that a piece is of, and the frame that it starts at; what is no piece starts at 0."""
    whole, at, start = name.rpartition('@')
    return (whole, int(start)) if at and start.isdecimal() else (name, 0)
