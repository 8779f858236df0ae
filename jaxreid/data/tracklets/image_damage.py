"""What is wrong with the bytes of an image file, told before a decoder sees them: its size, its end, holes in it.

Decoders fill gigabytes where a header says so, and grey where bytes are missing, without a word.
"""

import io
import re
import struct
import zlib
from collections.abc import Callable, Iterator

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
)

# No crop of a person has as many; decoding takes up to 15 bytes a pixel, and four times as many where a channel may
# have more than 8 bits: 512 MiB hold either [choice].
MAX_PIXELS, MAX_WIDE_PIXELS = 2**25, 2**23
_JPEG, _PNG = b'\xff\xd8', b'\x89PNG\r\n\x1a\n'
_JPEG_SCAN, _JPEG_END = b'\xff\xda', b'\xff\xd9'
_HOLE = bytes(32)
# Of a file's first bytes, what opens it and whether a channel may have more than 8 bits. Nothing is decoded by opening.
_OTHERS: tuple[tuple[int, bytes, Callable[..., ImageFile.ImageFile], bool], ...] = (
    (0, b'BM', BmpImagePlugin.BmpImageFile, False),
    (0, b'GIF8', GifImagePlugin.GifImageFile, False),
    (0, b'II', TiffImagePlugin.TiffImageFile, True),
    (0, b'MM', TiffImagePlugin.TiffImageFile, True),
    (0, b'P', PpmImagePlugin.PpmImageFile, True),
    (4, b'jP  ', Jpeg2KImagePlugin.Jpeg2KImageFile, True),
    (0, b'\xff\x4f\xff\x51', Jpeg2KImagePlugin.Jpeg2KImageFile, True),
    (4, b'ftyp', AvifImagePlugin.AvifImageFile, True),
)


def check(data: bytes, *, whole: bool) -> bool:
    """Refuses what must not be decoded.

    Args:
      data: the file.
      whole: whether to look for holes too, which takes as long as decoding. A JPEG has no check sums: what shows is a
        hole, and a part that is missing, repeated or of another file, in an image of one scan (not in a progressive
        one); single bits may be others without a trace.

    Returns:
      Whether OpenCV, too, would read it without a word, or refuse it: libjpeg warns the terminal of other JPEGs, and of
      PNM and JPEG 2000 it leaves the numbers as they are, whatever their maximum.

    Raises:
      ValueError: empty, cut off, damaged, of no known format, or of more pixels than any crop has.
    """
    if not data:
        raise ValueError('the file is empty')
    size, plain = f'of {len(data)} bytes', True
    if data.startswith(_JPEG):
        if _is_cut_off_jpeg(data):
            raise ValueError(f'truncated JPEG {size}, its end marker is missing')
        problem, one_scan = _claims(*_jpeg_size(data)), _is_of_one_scan(data)
        plain = one_scan and _is_plain(data)
        if not problem and whole and one_scan:
            problem = _hole_in_jpeg(data)
    elif data.startswith(_PNG):
        problem = _damage_of_png(data) or _claims(*_png_size(data), data[24] > 8)
    elif data.startswith(b'RIFF') and data[8:12] == b'WEBP':
        problem = _claims(*_webp_size(data))
    else:
        problem = _claims(*_other_size(data))
        plain = not data.startswith((b'P', b'\xff\x4f')) and data[4:8] != b'jP  '
    if problem:
        raise ValueError(f'no image, or a damaged one, {size}: {problem}')
    return plain


def _claims(width: int, height: int, wide: bool = False) -> str:
    """What is wrong with a size that a header claims; '' where nothing is."""
    if not (width and height):
        return 'no header of a JPEG, PNG, BMP, WebP, TIFF, GIF, PNM, JPEG 2000 or AVIF says its size'
    limit = MAX_WIDE_PIXELS if wide else MAX_PIXELS
    return '' if width * height <= limit else f'it claims {height}x{width} pixels, more than {limit:,} are not read'


def _is_cut_off_jpeg(data: bytes) -> bool:
    """Whether no end marker follows the last scan. Some versions of OpenCV fill what is missing with grey, silently.

    Neither marker can occur inside compressed data, and a thumbnail, which has both, stands before the scan.
    """
    if data.endswith(_JPEG_END):
        return False
    return data.rfind(_JPEG_END) <= data.rfind(_JPEG_SCAN)  # equal where there is neither


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end of what belongs to it, to the first scan; passes what lies between, as decoders do."""
    place = 2
    while (place := data.find(b'\xff', place)) >= 0 and place + 4 <= len(data):
        marker = data[place + 1]
        if marker == 0xFF:
            place += 1
            continue
        place += 2
        if marker in (0x00, 0x01, 0xD8) or 0xD0 <= marker <= 0xD7:  # nothing follows these
            continue
        end = place + int.from_bytes(data[place : place + 2], 'big')
        yield marker, place + 2, end
        if marker in (0xD9, 0xDA):
            return
        place = end


def _jpeg_size(data: bytes) -> tuple[int, int]:
    for marker, start, _ in _jpeg_segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC) and start + 5 <= len(data):  # start of frame
            height, width = struct.unpack_from('>HH', data, start + 1)
            return width, height
    return 0, 0


class _InPieces(io.BytesIO):
    """Gives the header as a file does, then pieces, one at a time."""

    pieces: list[bytes] | None = None

    def read(self, size=-1):
        if self.pieces is None:
            return super().read(size)
        return self.pieces.pop(0) if self.pieces else b''


def _is_of_one_scan(data: bytes) -> bool:
    """Whether one scan holds all channels: not of progressive ones."""
    begins = {marker: begin for marker, begin, _ in _jpeg_segments(data)}
    frame, scan = begins.get(0xC0) or begins.get(0xC1), begins.get(0xDA)
    return frame is not None and scan is not None and data[frame + 5 : frame + 6] == data[scan : scan + 1]


def _is_plain(data: bytes) -> bool:
    """Whether libjpeg has nothing to say about the header, and no restarts, at which it says what it passes over."""
    before = 2
    for marker, start, end in _jpeg_segments(data):
        strange_version = data[start : start + 5] == b'JFIF\0' and data[start + 5 : start + 6] != b'\1'
        if data[before : start - 4].strip(b'\xff') or marker == 0xDD or strange_version:
            return False
        before = end
    return True


def _hole_in_jpeg(data: bytes) -> str:
    """Whether an image of one scan needs just the bytes that it has; '' where it does.

    Blocks have no positions: where a part is missing, repeated or of something else, another number of bytes makes
    them all. libjpeg notes that and goes on. Pillow reads in pieces: the last byte of the scan must be asked for, and
    nothing behind it.
    """
    segments = list(_jpeg_segments(data))
    begins = {marker: begin for marker, begin, _ in segments}
    frame, start = begins.get(0xC0) or begins[0xC1], segments[-1][2]
    end = data.find(_JPEG_END, start)  # phones put more images behind it
    if 0xDD in begins and (interval := int.from_bytes(data[begins[0xDD] : begins[0xDD] + 2], 'big')):
        restarts = [one[1] & 7 for one in re.findall(rb'\xff[\xd0-\xd7]', data[start:end])]
        wanted = -(-_blocks(data, frame) // interval) - 1
        if restarts != [number % 8 for number in range(wanted)]:
            return f'{len(restarts)} restarts in its data, expected {wanted} in order'
    if _HOLE in data[start:end] and not _zeros_are_flat(data, segments):
        return f'a hole in its data: {len(_HOLE)} zeros follow each other'
    file = _InPieces(data)
    try:
        with Image.open(file, formats=('JPEG',)) as image:
            image.draft('L', (1, 1))  # an eighth of the size: what takes time is left out
            # Decoders look a few bytes ahead.
            file.pieces = [data[: end - 1], data[end - 1 : end] + b'\x55' * 16]
            image.load()
    except Exception as error:  # of several kinds
        return f'bytes are missing in its data ({error})'
    return 'its data are more than its blocks' if file.pieces else ''


def _blocks(data: bytes, frame: int) -> int:
    """Number of MCUs, the blocks of all channels that lie together."""
    height, width, channels = struct.unpack_from('>HHB', data, frame + 1)
    sampling = [divmod(factors, 16) for factors in data[frame + 7 : frame + 6 + 3 * channels : 3]]
    across, down = map(max, zip(*sampling)) if channels > 1 else (1, 1)
    return -(-width // (8 * max(across, 1))) * -(-height // (8 * max(down, 1)))


def _zeros_are_flat(data: bytes, segments: list[tuple[int, int, int]]) -> bool:
    """Whether the code of zeros says 'the rest of the block is zero', of which flat images are full."""
    for marker, start, end in segments:
        place = start
        while marker == 0xC4 and place + 17 <= min(end, len(data)):  # tables: kind, counts by length, symbols
            symbols = sum(data[place + 1 : place + 17])
            if data[place] == 0x10 and symbols:  # of the coefficients of brightness
                return data[place + 17 : place + 18] == b'\0'
            place += 17 + symbols
    return True


def _damage_of_png(data: bytes) -> str:
    """What is wrong with a PNG's chunks; '' if nothing is.

    OpenCV believes a damaged length and fills gigabytes for seconds, so that it must not see one.
    """
    place = len(_PNG)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from('>I4s', data, place)
        end = place + 12 + length
        if end > len(data):
            return 'truncated PNG'
        if place == len(_PNG) and kind != b'IHDR':
            return 'PNG without a header'
        critical = not kind[0] & 0x20  # the others may be skipped, and so may their errors
        if critical and zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end], 'big'):
            return f'the check sum of PNG chunk {kind.decode("latin-1")!r} is wrong'
        if kind == b'IEND':
            return ''
        place = end
    return 'truncated PNG'


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from('>II', data, 16)
    return width, height


def _webp_size(data: bytes) -> tuple[int, int]:
    """Of the canvas, or of the one frame."""
    match data[12:16]:
        case b'VP8X' if len(data) >= 30:
            return 1 + int.from_bytes(data[24:27], 'little'), 1 + int.from_bytes(data[27:30], 'little')
        case b'VP8 ' if len(data) >= 30:
            width, height = struct.unpack_from('<HH', data, 26)
            return width & 0x3FFF, height & 0x3FFF
        case b'VP8L' if len(data) >= 25:
            bits = int.from_bytes(data[21:25], 'little')
            return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return 0, 0


def _other_size(data: bytes) -> tuple[int, int, bool]:
    known = next((one for one in _OTHERS if data.startswith(one[1], one[0])), None)
    if known is None:
        return 0, 0, False
    *_, opened_by, wide = known
    try:
        image = opened_by(io.BytesIO(data))
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):
            tags = image.tag_v2
            wide = max(tags.get(258, (1,))) > 8 or tags.get(277, 1) > 4  # bits, channels
            width = max(width, tags.get(322, 0))  # of a tile
            height = max(height, tags.get(323, 0))
    except Exception as error:  # Pillow's plug-ins raise many kinds
        raise ValueError(f'no image, or a damaged one, of {len(data)} bytes: {error}') from error
    return width, height, wide
