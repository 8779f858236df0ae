"""Clips as people have them become what a network takes; what cannot be clips gets one error that says what to do."""

import itertools
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxreid.data.tracklets import frame_decode
from jaxreid.process import paths

CHANNELS = ('rgb', 'bgr')
_WRAP = 'a clip is a list of frames, and clips a list of those: give [clip], or clip[None] of an array'
_SMALLEST = 8  # pixels of a side; less holds no person
_WIDEST = 1.5  # width over height; crops of persons are higher than wide


def prepare(clips: Any, *, channels: str = 'rgb') -> list[list[np.ndarray]]:
    """Checks clips and gives their frames, in their own sizes.

    Args:
      clips: uint8 [B, T, H, W, 3]; or a list of B clips, each an array [T, H, W, 3] or a list of T frames; a frame is
        an array [H, W, 3] or the name of an image file. Sizes and T may differ.
      channels: 'rgb', or 'bgr' as OpenCV reads images; file names are always read right.

    Returns:
      B lists of T frames [H, W, 3] uint8, RGB.

    Raises:
      ValueError: something else; says what was found, and what to do.
      OSError: a file cannot be opened.
    """
    if channels not in CHANNELS:
        raise ValueError(f'channels = {channels!r} is not known; expected one of {", ".join(CHANNELS)}')
    if isinstance(clips, str | bytes | os.PathLike):
        raise ValueError(f'clips is {str(clips)!r}, one name; {_WRAP}')
    if not _is_list(clips):
        clips = _array(clips, 'clips')
        if clips.ndim == 4 and clips.shape[-1] == 3:
            raise ValueError(f'clips is {list(clips.shape)}, one clip alone; {_WRAP}')
        if clips.ndim != 5:
            raise ValueError(
                f'clips is {list(clips.shape)}, expected [B, T, H, W, 3]: clips, frames, rows, columns, RGB'
            )
        _check(clips, 'clips')
    if not len(clips):
        raise ValueError('clips is empty, expected at least one clip')
    return [_clip(clip, f'clip {i}', channels) for i, clip in enumerate(clips)]


def resize(frames: Sequence[np.ndarray], *, height: int, width: int, filter: str) -> np.ndarray:
    """[T, height, width, 3] uint8, resized as training does; see `frame_decode.resized`."""
    return np.stack([frame_decode.resized(frame, height=height, width=width, resize=filter) for frame in frames])


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple)


def _clip(clip: Any, where: str, channels: str) -> list[np.ndarray]:
    if isinstance(clip, str | bytes | os.PathLike):
        raise ValueError(f'{where} is {str(clip)!r}, one name; {_WRAP}')
    if not _is_list(clip):
        clip = _array(clip, where)
        if clip.ndim != 4:
            raise ValueError(f'{where} is {list(clip.shape)}, expected [T, H, W, 3]; {_WRAP}')
        _check(clip, where)
    if not len(clip):
        raise ValueError(f'{where} has no frames, expected at least one')
    return [_frame(frame, f'frame {i} of {where}', channels) for i, frame in enumerate(clip)]


def _frame(frame: Any, where: str, channels: str) -> np.ndarray:
    if isinstance(frame, str | os.PathLike):
        try:
            frame, channels = frame_decode.decode_as_stored(paths.content(frame)), 'rgb'
        except ValueError as e:
            raise ValueError(f'{where}, {frame}: {e}') from e
    frame = _array(frame, where)
    if frame.ndim != 3:
        raise ValueError(f'{where} is {list(frame.shape)}, expected [H, W, 3]: rows, columns, RGB')
    _check(frame, where)
    return frame if channels == 'rgb' else frame[..., ::-1]


def _array(value: Any, where: str) -> np.ndarray:
    try:
        array = np.asarray(value)
    except ValueError as e:
        raise ValueError(f'{where} is no array: {e}') from e
    if array.dtype == object or not array.shape:
        raise ValueError(f'{where} is {type(value).__name__}, expected an array of numbers, or a list of frames')
    return array


def _check(frames: np.ndarray, where: str) -> None:
    """Refuses what is not [..., H, W, 3] uint8 of persons."""
    found = f'{where} is {frames.dtype} {list(frames.shape)}'
    if not frames.size:
        raise ValueError(f'{found}, which holds nothing')
    if frames.shape[-1] != 3:
        first = [axis for axis in range(-3, -frames.ndim, -1) if frames.shape[axis] == 3]
        if first:
            raise ValueError(f'{found}: channels come last here; give np.moveaxis(array, {first[0]}, -1)')
        if frames.shape[-1] == 4:
            raise ValueError(f'{found}: four channels; leave out the transparency, array[..., :3]')
        raise ValueError(f'{found}: expected [..., H, W, 3]; of grey frames give np.stack([array] * 3, -1)')
    if frames.dtype != np.uint8:
        raise ValueError(f'{found}, expected uint8 from 0 to 255; {_to_uint8(frames)}')
    if frames.max() == 1:
        raise ValueError(f'{found} with values 0 and 1 only; expected 0 to 255: round after you multiply by 255')
    height, width = frames.shape[-3:-1]
    if min(height, width) < _SMALLEST:
        raise ValueError(f'{found}: frames of {height}x{width} pixels are too small, expected at least {_SMALLEST}')
    if width >= _WIDEST * height:
        raise ValueError(
            f'{found}: frames {height} high and {width} wide are no crops of a person. Cut the person out, or swap '
            'height and width.'
        )


def _to_uint8(frames: np.ndarray) -> str:
    low, high = frames.min(), frames.max()
    if not np.issubdtype(frames.dtype, np.number) or not np.isfinite([low, high]).all():
        return 'these are not finite numbers'
    if low < 0:
        return f'these go from {low:.4g} to {high:.4g}: give frames before they are normalised, the network does it'
    if high <= 1:
        return 'these go from 0 to 1: give np.round(array * 255).astype(np.uint8)'
    if high <= 255:
        return 'give np.round(array).astype(np.uint8)'
    return f'these go up to {high:.4g}'


def of_one_length(clips: Sequence[Sequence[Any]]) -> list[list[int]]:
    """Positions of clips, those of equally many frames together."""
    order = sorted(range(len(clips)), key=lambda i: len(clips[i]))
    return [list(same) for _, same in itertools.groupby(order, key=lambda i: len(clips[i]))]
