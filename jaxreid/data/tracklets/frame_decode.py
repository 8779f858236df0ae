"""Bytes of an image file -> uint8 RGB of the wanted size: the one decoder of all stores."""

import contextlib
import functools
import io
import logging
import warnings

import cv2
import numpy as np
from PIL import Image, ImageOps

from jaxreid.data.tracklets import image_damage, silence

_BLACK = 2**12  # of 16 bits: what 12 reach


def one_thread_each() -> None:
    """Keeps OpenCV from starting threads of its own beside the pipeline's; a setting of the whole process."""
    cv2.setNumThreads(0)


@functools.cache
def _quiet() -> None:
    """Keeps decoders from writing to the terminal: what is wrong with an image its error says."""
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    warnings.filterwarnings('ignore', module=r'PIL\.')
    logging.getLogger('PIL').setLevel(logging.CRITICAL)


def decode(data: bytes, *, height: int, width: int, resize: str, known_whole: bool = False) -> np.ndarray:
    """Decodes and resizes an image.

    Args:
      data, known_whole: see `decode_as_stored`.
      height, width: of the result, in pixels.
      resize: 'bicubic' or 'bilinear', Pillow's antialiased filters; an image that fits is left as it is.

    Returns:
      [height, width, 3] uint8, RGB.

    Raises:
      ValueError: the image cannot be decoded or is cut off.
    """
    return resized(decode_as_stored(data, known_whole=known_whole), height=height, width=width, resize=resize)


def resized(image: np.ndarray, *, height: int, width: int, resize: str) -> np.ndarray:
    """An image [H, W, 3] uint8 in the wanted size; see `decode`."""
    if image.shape[:2] == (height, width):
        return image
    match resize:
        case 'bicubic':
            resample = Image.Resampling.BICUBIC
        case 'bilinear':
            resample = Image.Resampling.BILINEAR
        case _:
            raise ValueError(f'data.resize = {resize!r} is no filter that is known')
    return np.asarray(Image.fromarray(image).resize((width, height), resample))


def decode_as_stored(data: bytes, *, known_whole: bool = False) -> np.ndarray:
    """Decodes an image in its own size.

    What is 0 to 65535 in channels of 16 bits, 0 to the maximum that a PNM or JPEG 2000 states, or 0 to 1 in floats,
    becomes 0 to 255, the same in every frame. Cameras also write 10 or 12 bits into 16 and do not say so: such frames,
    which are black by what they say, are refused.

    Args:
      data: content of a JPEG or PNG file or of another format of `image_damage`.
      known_whole: this very file has been looked through for holes before, which takes as long as decoding.

    Returns:
      [H, W, 3] uint8, RGB.

    Raises:
      ValueError: the image cannot be decoded, is cut off or damaged (see `image_damage.check`), or has values that no
        picture has.
    """
    _quiet()
    if not image_damage.check(data, whole=not known_whole):
        return _decode_with_pillow(data)
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_ANYDEPTH)
    except cv2.error:  # for example, a header that promises an absurd size
        image = None
    if image is None:
        return _decode_with_pillow(data)
    return image if image.dtype == np.uint8 else _in_8_bits(image)


def _decode_with_pillow(data: bytes) -> np.ndarray:
    try:
        tiff = data.startswith((b'II', b'MM'))
        # Pillow's libtiff has no switch for what it writes.
        with silence.stderr() if tiff else contextlib.nullcontext(), Image.open(io.BytesIO(data)) as image:
            turned = ImageOps.exif_transpose(image)  # OpenCV turns by EXIF too
            if turned.mode.startswith(('I', 'F')):  # which Pillow cuts off at 255
                numbers = np.asarray(turned)
                return _in_8_bits(numbers.astype(np.uint16) if image.format == 'PPM' else numbers)  # scaled by Pillow
            return np.asarray(turned.convert('RGB'))
    except Exception as error:  # Pillow's plug-ins raise many kinds
        raise ValueError(f'no image, or a damaged one, of {len(data)} bytes: {error}') from error


def _in_8_bits(image: np.ndarray) -> np.ndarray:
    """[H, W] or [H, W, 3] of any numbers -> [H, W, 3] uint8; see `decode_as_stored`."""
    low, high = image.min(), image.max()
    if image.dtype.kind == 'f':
        if not (low >= 0 and high <= 1):
            raise ValueError(f'its floats go from {low:g} to {high:g}; of 0 to 1 a picture can be made: scale them')
        image = np.rint(image * 255)
    else:
        if image.dtype.kind != 'u' or image.dtype.itemsize != 2:
            raise ValueError(
                f'its numbers are {image.dtype}, and nothing says which is white; write it with 8 or 16 bits'
            )
        if 0 < high < _BLACK:
            raise ValueError(
                f'its numbers go to {high} of 65535, which would be black: where a camera wrote 10 or 12 bits into 16, '
                'multiply them by 64 or 16, or write them with 8 bits'
            )
        image = (image.astype(np.uint32) + 128) // 257
    image = image.astype(np.uint8)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
