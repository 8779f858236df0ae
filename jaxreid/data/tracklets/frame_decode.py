"""Bytes of an image file -> uint8 RGB of the wanted size: the one decoder of all stores."""

import contextlib
import functools
import io
import logging
import warnings

import cv2
import numpy as np
from PIL import Image, ImageOps

from jaxreid.data.tracklets import image_damage
from jaxreid.process import silence


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

    Channels of more than 8 bits are divided by the smallest of 1, 4, 16, 64, 256 that their largest value needs to fit
    in 8: cameras write 10, 12 or 14 bits into 16 and seldom say so. Floats from 0 to 1 become 0 to 255.

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
                return _in_8_bits(np.asarray(turned))
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
        if not (low >= 0 and high < 2**16):
            raise ValueError(f'its numbers go from {low} to {high}; of 0 to 65535 a picture can be made: scale them')
        image = image >> next(bits for bits in (0, 2, 4, 6, 8) if int(high) >> bits < 256)
    image = image.astype(np.uint8)
    return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)
