"""Frames of a video in order, each with the time that the video gives it: FFmpeg, through PyAV.

A video is a file, a stream (rtsp://host/door) or a camera of this machine (/dev/video0). OpenCV's reader gives neither
the times of a variable frame rate nor the frames of a transport stream after a seek, and invents a number of frames
where the file says none.
"""

import contextlib
import pathlib
import urllib.parse
from collections.abc import Iterator
from typing import Any, NamedTuple

import av
import numpy as np

from jaxreid.data.tracklets import image_damage

_ONWARD = 300  # frames that are decoded after a key frame to come to a sample, at most
_PATIENCE = 15.0  # seconds that a stream may take to open, or be silent, before it has broken off
# PyAV from 19 on keeps what is no UTF-8 by itself; older ones stop at it unless they are told not to.
_LENIENT: dict[str, Any] = {'metadata_errors': 'ignore'} if int(av.__version__.split('.')[0]) < 19 else {}

Place = pathlib.Path | str  # a file, a folder or a device; or the address of a stream


class Frame(NamedTuple):
    """number: from 1, of all that decode. seconds: from the first frame, None where the video does not say."""

    number: int
    seconds: float | None
    image: np.ndarray  # [H, W, 3] uint8 BGR


def place(text: str) -> Place:
    """What a command line names."""
    return text if '://' in text else pathlib.Path(text).expanduser()


def is_live(source: Place) -> bool:
    """Whether it is seen as it happens: nothing of it can be seen before, or again."""
    return isinstance(source, str) or source.is_char_device()


def name(source: Place) -> str:
    """What a video is called in messages: an address without a password."""
    if isinstance(source, pathlib.Path):
        return str(source)
    parts = urllib.parse.urlsplit(source)
    return parts._replace(netloc=parts.netloc.rpartition('@')[2], query='').geturl()


def stem(source: Place) -> str:
    """What a camera is called that nobody names: as the file, or as the host of a stream."""
    return source.stem if isinstance(source, pathlib.Path) else urllib.parse.urlsplit(source).hostname or 'stream'


class Video:
    """A video that is read once, from its first frame to its last."""

    def __init__(self, path: Place):
        """Opens the first video stream of a file, a stream or a device.

        Raises:
          ValueError: it is nothing that FFmpeg can read.
          FileNotFoundError: there is no such file.
        """
        self.path = path
        self.damaged = 0  # frames and pieces of them that could not be decoded, so far
        self.broken_off = ''  # why reading ended before the file did
        self._container = _open(path)
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = 'AUTO'

    def __enter__(self) -> 'Video':
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    @property
    def said(self) -> int:
        """Frames that the file says it has, 0 where it does not."""
        return self._stream.frames

    @property
    def length(self) -> float:
        """Seconds that the file says it takes, 0 where it does not."""
        if self._stream.duration is not None:
            return self._stream.duration * float(self._stream.time_base)
        return (self._container.duration or 0) / av.time_base

    def __iter__(self) -> Iterator[Frame]:
        """Every frame that is whole. Damaged ones are skipped, but have a number as well, and are counted."""
        number, first, rate = 0, None, self._stream.guessed_rate
        for frame in self._decoded():
            number += 1
            seconds = frame.time
            if seconds is None and rate:  # a bare stream of H.264 has no times
                seconds = (number - 1) / float(rate)
            first = seconds if first is None else first
            if frame.is_corrupt or frame.width * frame.height > image_damage.MAX_PIXELS:
                self.damaged += 1
                continue
            yield Frame(number, None if seconds is None or first is None else seconds - first, _image(frame))

    def samples(self, count: int) -> list[np.ndarray]:
        """At most `count` images [H, W, 3] uint8 BGR of one size, evenly spread over the file; reading moves."""
        images: dict[float, np.ndarray] = {}
        start = (self._stream.start_time or 0) * float(self._stream.time_base)
        last = self.length - 1 / float(self._stream.guessed_rate or 25)
        for at in np.linspace(start, start + last, count) if last > 0 else ():
            with contextlib.suppress(av.error.FFmpegError):
                self._container.seek(int(at / float(self._stream.time_base)), stream=self._stream)
                frame = None
                for _, frame in zip(range(_ONWARD), self._decoded(), strict=False):
                    if frame.time is None or frame.time >= at - 1e-3:
                        break
                if frame is not None and frame.time is not None and not frame.is_corrupt:
                    images.setdefault(frame.time, _image(frame))
        if len(images) < count / 2:  # no times, no key frames, or few frames
            with Video(self.path) as again:
                return again._thinned(count)
        return _of_one_size([images[time] for time in sorted(images)])

    def _thinned(self, count):
        """Of all frames, read in order, more than half of `count`, or all."""
        images: list[np.ndarray] = []
        every = 1
        for frame in self:
            if (frame.number - 1) % every == 0:
                images.append(frame.image)
                if len(images) > count:
                    del images[1::2]
                    every *= 2
        return _of_one_size(images)

    def _decoded(self):
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.error.FFmpegError as e:
                self.broken_off = str(e)
                return
            if packet is None:
                return
            self.damaged += packet.is_corrupt  # something of it is missing
            try:
                yield from packet.decode()
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                self.damaged += 1


def _open(path):
    av.logging.set_level(av.logging.PANIC)
    if is_live(path):
        how: dict[str, Any] = {'timeout': _PATIENCE}
        if isinstance(path, str):
            address = path
            how['options'] = {'rtsp_transport': 'tcp'} if path.startswith('rtsp') else {}
        else:
            address, how['format'] = str(path), 'v4l2'
    elif not path.is_file():
        raise FileNotFoundError(f'there is no video {path}')
    else:  # one that names others (a playlist) may name files only
        address, how = f'file:{path.absolute()}', {'options': {'protocol_whitelist': 'file'}}
    try:
        container = av.open(address, **how, **_LENIENT)
    except (av.error.FFmpegError, OSError) as e:
        advice = 'is it sending?' if is_live(path) else 'convert it, for example to .mp4 with H.264'
        said = f'{name(path)} is no video that FFmpeg can read ({e.strerror})'
        raise ValueError(f'{said}; {advice}') from e
    if not container.streams.video:
        container.close()
        raise ValueError(
            f'{name(path)} holds no video, only {", ".join({s.type for s in container.streams}) or "nothing"}'
        )
    stream = container.streams.video[0]
    if stream.codec_context is None:  # without it a stream of PyAV has neither size nor decoder
        container.close()
        raise ValueError(
            f'{name(path)} is written in a codec that FFmpeg does not know; convert it, for example to H.264'
        )
    if stream.width * stream.height > image_damage.MAX_PIXELS:
        container.close()
        said = f'{name(path)} claims frames of {stream.height}x{stream.width} pixels'
        raise ValueError(f'{said}; {image_damage.MAX_PIXELS:,} are read')
    return container


def _image(frame):
    turned = np.rot90(frame.to_ndarray(format='bgr24'), round(frame.rotation / 90))  # a phone that was held upright
    return np.ascontiguousarray(turned)


def _of_one_size(images):
    return [image for image in images if image.shape == images[0].shape]
