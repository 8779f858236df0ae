"""Dense optical flow between frames by TV-L1 (Zach, Pock, Bischof, DAGM 2007), as STAR uses it.

Two engines compute it: OpenCV, one pair at a time on the CPU, and JAX, many pairs at a time on its device.
"""

import functools
from collections.abc import Callable, Sequence

import cv2
import numpy as np
from PIL import Image

from jaxreid.data.flow import tv_l1_jax
from jaxreid.data.tracklets import frame_decode


def decoder(engine: str, *, height: int, width: int) -> Callable[..., np.ndarray]:
    """What makes of an image file the frame that an engine looks at.

    OpenCV takes frames in their own size. JAX compiles a program for every size that it meets, and some data sets crop
    every frame anew: it takes all in the size of the result.
    """
    if engine == 'opencv':
        return frame_decode.decode_as_stored
    return functools.partial(frame_decode.decode, height=height, width=width, resize='bilinear')


def between(
    pairs: Sequence[tuple[np.ndarray, np.ndarray]], *, engine: str, height: int, width: int
) -> list[np.ndarray]:
    """Flow of pairs of frames [H, W, 3] uint8 RGB that the engine's `decoder` made: [height, width, 2] float16 of each
    pair, pixels of the result.

    Raises:
      ValueError: OpenCV lacks the algorithm.
    """
    if engine == 'opencv':
        return [resize(tv_l1(*pair), height=height, width=width).astype(np.float16) for pair in pairs]
    first, second = (np.stack(frames) for frames in zip(*pairs, strict=True))
    return [flow.astype(np.float16) for flow in tv_l1_jax.of_frames(first, second)]


def pairs_at_once(engine: str, *, height: int, width: int) -> int:
    """How many pairs an engine works on at the same time."""
    return 1 if engine == 'opencv' else tv_l1_jax.pairs_at_once(height, width)


def tv_l1(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where the content of each pixel moves to from one frame to the next, by OpenCV.

    tau 0.25, lambda 0.15, theta 0.3, 5 scales, 5 warps, epsilon 0.01; the scale step of 0.8, 10 outer and 30 inner
    iterations and the median filter of 5 pixels, of which STAR says nothing, are OpenCV's. Frames of less than 16
    pixels a side are not scaled down.

    Args:
      first: [H, W, 3] uint8, RGB.
      second: [H', W', 3] uint8, RGB; brought to the size of `first` where it has another.

    Returns:
      [H, W, 2] float32 in pixels of `first`: (u, v), u to the right and v downwards.

    Raises:
      ValueError: this OpenCV has no contrib modules.
    """
    # Where plain OpenCV was installed over the contrib modules, the folder of optflow is left and holds nothing.
    if not hasattr(getattr(cv2, 'optflow', None), 'DualTVL1OpticalFlow'):
        raise ValueError(
            f'OpenCV {cv2.__version__} at {cv2.__file__} has no optical flow by TV-L1: that is in its contrib modules. '
            "Install them, pip install 'jaxreid[flow]'; where that changes nothing, another OpenCV was installed over "
            'them: pip install --force-reinstall --no-deps opencv-contrib-python-headless. Or set '
            'data.flow_engine=jax, which needs nothing of OpenCV.'
        )
    size = (first.shape[1], first.shape[0])
    if second.shape != first.shape:
        second = np.asarray(Image.fromarray(second).resize(size, Image.Resampling.BILINEAR))
    # Made anew each time: it keeps buffers, which threads must not share.
    algorithm = cv2.optflow.DualTVL1OpticalFlow.create(
        tau=0.25, lambda_=0.15, theta=0.3, nscales=5, warps=5, epsilon=0.01
    )
    grey = [cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (first, second)]
    return algorithm.calc(grey[0], grey[1], None)


def resize(flow: np.ndarray, *, height: int, width: int) -> np.ndarray:
    """Flow [H, W, 2] float32 of a resized frame, [height, width, 2] float32, each in its own pixels: the map is resized
    (antialiased, bilinear), u and v scale with width and height.
    """
    before = flow.shape[:2]
    if before == (height, width):
        return flow
    channels = [
        np.asarray(
            Image.fromarray(np.ascontiguousarray(flow[..., i])).resize((width, height), Image.Resampling.BILINEAR)
        )
        for i in range(2)
    ]
    return np.stack(channels, -1) * np.asarray([width / before[1], height / before[0]], np.float32)
