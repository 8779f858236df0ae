"""Bytes of an image file -> uint8 RGB of the wanted size: the one decoder of all stores."""

import io

import cv2
import numpy as np
from PIL import Image, ImageOps

_JPEG_START = b'\xff\xd8'
_JPEG_SCAN = b'\xff\xda'
_JPEG_END = b'\xff\xd9'


def one_thread_each() -> None:
    """Keeps OpenCV from starting threads of its own beside the pipeline's; a setting of the whole process."""
    cv2.setNumThreads(0)


def decode(data: bytes, *, height: int, width: int, resize: str) -> np.ndarray:
    """Decodes and resizes an image.

    Args:
      data: see `decode_as_stored`.
      height, width: of the result, in pixels.
      resize: 'bicubic' or 'bilinear', Pillow's antialiased filters; an image that fits is left as it is.

    Returns:
      [height, width, 3] uint8, RGB.

    Raises:
      ValueError: the image cannot be decoded or is cut off.
    """
    image = decode_as_stored(data)
    if image.shape[:2] == (height, width):
        return image
    match resize:
        case 'bicubic':
            resample = Image.Resampling.BICUBIC
        case 'bilinear':
            resample = Image.Resampling.BILINEAR
        case _:
            raise ValueError(f"data.resize is '{resize}'; expected 'bicubic' or 'bilinear'")
    return np.asarray(Image.fromarray(image).resize((width, height), resample))


def decode_as_stored(data: bytes) -> np.ndarray:
    """Decodes an image in its own size.

    Args:
      data: content of a JPEG or PNG file or of anything else that OpenCV or Pillow reads.

    Returns:
      [H, W, 3] uint8, RGB.

    Raises:
      ValueError: the image cannot be decoded or is cut off.
    """
    if not data:
        raise ValueError('the file is empty')
    if _is_cut_off_jpeg(data):
        raise ValueError(f'truncated JPEG of {len(data)} bytes, its end marker is missing')
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    except cv2.error:  # for example, a header that promises an absurd size
        image = None
    return _decode_with_pillow(data) if image is None else image


def _is_cut_off_jpeg(data: bytes) -> bool:
    """Whether no end marker follows the last scan. Some versions of OpenCV fill what is missing with grey, silently.

    Neither marker can occur inside compressed data, and a thumbnail, which has both, stands before the scan.
    """
    if not data.startswith(_JPEG_START) or data.endswith(_JPEG_END):
        return False
    return data.rfind(_JPEG_END) <= data.rfind(_JPEG_SCAN)  # equal where there is neither


def _decode_with_pillow(data: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert('RGB'))  # OpenCV turns by EXIF too
    except Exception as error:  # Pillow's plug-ins raise many kinds
        raise ValueError(f'no image, or a damaged one, of {len(data)} bytes: {error}') from error
