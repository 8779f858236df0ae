"""Dense optical flow between two frames by TV-L1 (Zach, Pock, Bischof, DAGM 2007), as STAR uses it (spec 5.1)."""

import cv2
import numpy as np
from PIL import Image


def tv_l1(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Where the content of each pixel moves to from one frame to the next.

    tau 0.25, lambda 0.15, theta 0.3, 5 scales, 5 warps, epsilon 0.01; the scale step of 0.8, 10 outer and 30 inner
    iterations and the median filter of 5 pixels, of which STAR says nothing, are OpenCV's. Frames of less than 16
    pixels a side are not scaled down.

    Args:
      first: [H, W, 3] uint8, RGB.
      second: [H', W', 3] uint8, RGB; brought to the size of `first` where it has another.

    Returns:
      [H, W, 2] float32 in pixels of `first`: (u, v), u to the right and v downwards.

    Raises:
      ImportError: another build of OpenCV, without the algorithm, is installed over the one that jaxreid requires.
    """
    if not hasattr(cv2, 'optflow'):
        raise ImportError(
            f'OpenCV {cv2.__version__} at {cv2.__file__} has no optical flow by TV-L1. Uninstall every opencv-* '
            'package, then install opencv-contrib-python-headless; or set data.flow=zeros.'
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
    """Flow of a resized frame: the map is resized (antialiased, bilinear), u and v scale with width and height.

    Args:
      flow: [H, W, 2] float32, pixels.
      height, width: of the result.

    Returns:
      [height, width, 2] float32, pixels of the result.
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
