"""Whatever frames come from: a video, a stream, a camera, or a folder of images."""

import pathlib
from collections.abc import Iterator

import numpy as np
import tqdm

from jaxreid.data.datasets import listing, manifest
from jaxreid.data.tracklets import frame_decode
from jaxreid.from_video import video as video_lib


class Pictures:
    """A folder of images that are the frames of a video, in the order of their names, where 9 comes before 10."""

    broken_off = ''

    def __init__(self, path: pathlib.Path, *, rate: float | None):
        """Lists a folder; `rate`: images per second, None where nobody knows.

        Raises:
          ValueError: there are no images.
        """
        self.path, self.damaged, self._rate = path, 0, rate
        names = [one.name for one in path.iterdir() if manifest.is_image(one.name)]
        self._names = sorted((one for one in names if not one.startswith(listing.IGNORED)), key=manifest.natural)
        if not self._names:
            raise ValueError(f'{path} holds no images ({", ".join(manifest.IMAGES)}); name a video, or their folder')
        self._shape: tuple[int, ...] = ()

    def __enter__(self) -> 'Pictures':
        return self

    def __exit__(self, *_: object) -> None:
        pass

    @property
    def said(self) -> int:
        """Images that there are."""
        return len(self._names)

    @property
    def length(self) -> float:
        """Seconds that they take, 0 where nobody knows."""
        return len(self._names) / self._rate if self._rate else 0

    def __iter__(self) -> Iterator[video_lib.Frame]:
        """Every image that can be read; others have a number as well, and are counted.

        Raises:
          ValueError: one has another size than those before.
        """
        for number in range(1, len(self._names) + 1):
            image = self._read(number - 1)
            if image is not None:
                yield video_lib.Frame(number, (number - 1) / self._rate if self._rate else None, image)

    def samples(self, count: int) -> list[np.ndarray]:
        """At most `count` images [H, W, 3] uint8 BGR, evenly spread."""
        chosen = np.unique(np.linspace(0, len(self._names) - 1, count).round().astype(int))
        images = [self._read(int(place)) for place in chosen]
        self.damaged = 0
        return [image for image in images if image is not None]

    def _read(self, place):
        path = self.path / self._names[place]
        try:
            image = frame_decode.decode_as_stored(path.read_bytes())
        except ValueError:
            self.damaged += 1
            return None
        self._shape = self._shape or image.shape
        if image.shape != self._shape:
            (h, w), (height, width) = image.shape[:2], self._shape[:2]
            raise ValueError(f'{path} has {h}x{w} pixels, and images before it {height}x{width}; expected one camera')
        return np.ascontiguousarray(image[..., ::-1])


def open_any(path: video_lib.Place, *, rate: float | None = None) -> video_lib.Video | Pictures:
    """Opens what a path or an address names; errors as `Video` and `Pictures`, whose `rate` it is.

    Raises:
      ValueError: a rate is none, or is given for a video, which has times of its own.
    """
    if rate is not None and not rate > 0:
        raise ValueError(f'--fps {rate:g}: expected images per second')
    if isinstance(path, pathlib.Path) and path.is_dir():
        return Pictures(path, rate=rate)
    if rate is not None:
        raise ValueError(f'--fps is for a folder of images; {video_lib.name(path)} has times of its own')
    return video_lib.Video(path)


def progress(footage: video_lib.Video | Pictures, until: float | None) -> Iterator[video_lib.Frame]:
    """The frames before `until` (seconds, None: all) with a bar; says where the video breaks off."""
    length = footage.length if until is None else min(until, footage.length or until)
    number, called = 0, video_lib.name(footage.path)
    with tqdm.tqdm(total=round(length) or None, desc=video_lib.stem(footage.path), unit='s', leave=False) as bar:
        for frame in footage:
            if until is not None and frame.seconds is not None and frame.seconds >= until:
                return
            number = frame.number
            if frame.seconds is not None:
                bar.update(max(int(frame.seconds) - bar.n, 0))
            bar.set_postfix_str(f'frame {number}', refresh=False)
            yield frame
    if footage.broken_off:
        tqdm.tqdm.write(f'{called} breaks off after frame {number}: {footage.broken_off}')
    elif number < 0.9 * footage.said:
        tqdm.tqdm.write(f'{called} says that it has {footage.said} frames, but only {number} can be read')
