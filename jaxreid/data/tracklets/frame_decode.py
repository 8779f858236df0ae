"""Bytes of an image file -> uint8 RGB of the wanted size: the one decoder of all stores."""

import io
import struct
import zlib

import cv2
import numpy as np
from PIL import Image, ImageOps

_JPEG_START = b'\xff\xd8'
_JPEG_SCAN = b'\xff\xda'
_JPEG_END = b'\xff\xd9'
_PNG_START = b'\x89PNG\r\n\x1a\n'
_MAX_PIXELS = 2**26  # more is a damaged header: no crop of a person is 8192 pixels high and wide


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
    return resized(decode_as_stored(data), height=height, width=width, resize=resize)


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
    if data.startswith(_PNG_START) and (damage := _damage_of_png(data)):
        raise ValueError(f'no image, or a damaged one, of {len(data)} bytes: {damage}')
    height, width = _claimed_size(data)
    if height * width > _MAX_PIXELS:  # decoders would fill gigabytes
        raise ValueError(f'no image, or a damaged one, of {len(data)} bytes: it claims {height}x{width} pixels')
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


def _damage_of_png(data: bytes) -> str:
    """What is wrong with a PNG's chunks; '' if nothing is.

    OpenCV believes a damaged length and fills gigabytes for seconds, so that it must not see one.
    """
    place = len(_PNG_START)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, place)
        end = place + 12 + length
        if end > len(data):
            return 'truncated PNG'
        if place == len(_PNG_START) and kind != b'IHDR':
            return 'PNG without a header'
        critical = not kind[0] & 0x20  # the others may be skipped, and so may their errors
        if critical and zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], 'big'):
            return f'the check sum of PNG chunk {kind.decode("latin-1")!r} is wrong'
        if kind == b'IEND':
            return ''
        place = end
    return 'truncated PNG'


def _claimed_size(data: bytes) -> tuple[int, int]:
    """Height and width in the header of a PNG or JPEG; (0, 0) where none is found."""
    if data.startswith(_PNG_START):
        width, height = struct.unpack_from('>II', data, 16)
        return height, width
    if not data.startswith(_JPEG_START):
        return 0, 0
    place = 2
    while place + 9 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):  # start of frame
            return struct.unpack_from('>HH', data, place + 5)
        place += 1 if marker == 0xFF else 2 + int.from_bytes(data[place + 2 : place + 4], 'big')
    return 0, 0


def _decode_with_pillow(data: bytes) -> np.ndarray:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(ImageOps.exif_transpose(image).convert('RGB'))  # OpenCV turns by EXIF too
    except Exception as error:  # Pillow's plug-ins raise many kinds
        raise ValueError(f'no image, or a damaged one, of {len(data)} bytes: {error}') from error
