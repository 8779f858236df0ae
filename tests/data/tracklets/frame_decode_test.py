import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from jaxreid.data.tracklets import frame_decode
from tests.fixtures import mars_folder as mars_fixture


def _decode(data, *, height=16, width=8, resize='bicubic'):
    return frame_decode.decode(data, height=height, width=width, resize=resize)


def _pillow(data, *, size=None, resample=None):
    image = Image.open(io.BytesIO(data)).convert('RGB')
    return np.asarray(image if size is None else image.resize(size, resample))


def _saved(array, kind, **options):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **options)
    return file.getvalue()


def _photo(seed=0, *, height=48, width=24):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 3, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def test_jpeg_that_fits_is_decoded_as_pillow_does_and_not_resized():
    data = mars_fixture.jpeg(3)
    image = _decode(data)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, _pillow(data))


def test_channels_are_red_green_blue():
    red = np.zeros((16, 8, 3), np.uint8)
    red[..., 0] = 255
    assert _decode(_saved(red, 'JPEG'))[8, 4].tolist()[0] > 200


@pytest.mark.parametrize(
    ('resize', 'resample'),
    [('bicubic', Image.Resampling.BICUBIC), ('bilinear', Image.Resampling.BILINEAR)],
)
@pytest.mark.parametrize('size', [(8, 16), (24, 50), (40, 90)])
def test_other_sizes_are_resized_with_pillows_filter(resize, resample, size):
    data = _saved(_photo(), 'PNG')
    image = _decode(data, height=size[1], width=size[0], resize=resize)
    np.testing.assert_array_equal(image, _pillow(data, size=size, resample=resample))


def test_png_grey_transparent_and_gif_images_become_rgb():
    photo = _photo(1, height=16, width=8)
    np.testing.assert_array_equal(_decode(_saved(photo, 'PNG')), photo)
    grey = _decode(_saved(photo[..., 0], 'PNG'))
    np.testing.assert_array_equal(grey, np.repeat(photo[..., :1], 3, axis=2))
    opaque = np.concatenate([photo, np.full((16, 8, 1), 255, np.uint8)], axis=2)
    np.testing.assert_array_equal(_decode(_saved(opaque, 'PNG')), photo)
    assert _decode(_saved(photo, 'GIF')).shape == (16, 8, 3)


def test_image_that_only_pillow_reads_is_read(monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: None)
    photo = _photo(2, height=16, width=8)
    np.testing.assert_array_equal(_decode(_saved(photo, 'PNG')), photo)


@pytest.mark.parametrize('keep', [1, 2, 10, 100, 300, 500, 0.7, -40, -2, -1])
@pytest.mark.parametrize('progressive', [False, True])
def test_truncated_jpeg_is_corrupt_wherever_it_is_cut(keep, progressive):
    data = _saved(_photo(), 'JPEG', quality=95, progressive=progressive)
    cut = data[: int(keep * len(data)) if isinstance(keep, float) else keep]
    with pytest.raises(ValueError, match=r'truncated|damaged'):
        _decode(cut)


def test_truncated_jpeg_is_corrupt_where_opencv_fills_the_rest_silently(monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: np.zeros((16, 8, 3), np.uint8))
    data = _saved(_photo(), 'JPEG', quality=95)
    assert _decode(data + b'\0' * 100).shape == (16, 8, 3)  # bytes after the end are harmless
    for cut in (data[:-2], data[:-60], data[: len(data) // 2] + b'\0' * 200, data[:300]):
        with pytest.raises(ValueError, match='truncated JPEG'):
            _decode(cut)


def test_truncated_jpeg_with_a_whole_thumbnail_is_corrupt():
    thumbnail = _saved(_photo(5, height=16, width=8), 'JPEG')
    data = _saved(_photo(), 'JPEG', exif=b'Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0' + thumbnail)
    assert thumbnail in data
    assert _decode(data).shape == (16, 8, 3)
    with pytest.raises(ValueError, match='truncated JPEG'):
        _decode(data[:-50])


@pytest.mark.parametrize('data', [b'', b'no image at all', b'\xff\xd8\xff\xd9'])
def test_what_is_no_image_is_corrupt(data):
    with pytest.raises(ValueError, match=r'empty|no image'):
        _decode(data)


@pytest.mark.parametrize('compress', [0, 9])
def test_truncated_png_is_corrupt_wherever_it_is_cut(compress):
    data = _saved(_photo(), 'PNG', compress_level=compress)
    assert _decode(data + b'more').shape == (16, 8, 3)  # bytes after the end are harmless
    for keep in range(1, len(data)):
        with pytest.raises(ValueError, match=r'truncated PNG|no image'):
            _decode(data[:keep])


def _chunk(kind, content):
    return struct.pack('>I', len(content)) + kind + content + struct.pack('>I', zlib.crc32(kind + content))


def test_png_whose_bits_flipped_is_corrupt_and_no_gigabytes_are_allocated_for_it(monkeypatch):
    data = _saved(_photo(), 'PNG')
    seen = []
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: seen.append(1))  # hangs for seconds on a damaged length
    for place in range(8, len(data)):
        with pytest.raises(ValueError, match=r'check sum of PNG chunk|truncated PNG|without a header'):
            _decode(data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :])
    assert not seen
    for broken in (data[:8] + _chunk(b'IEND', b''), data[:8] + _chunk(b'IDAT', b'x' * 20) + _chunk(b'IEND', b'')):
        with pytest.raises(ValueError, match='PNG without a header'):
            _decode(broken)


def test_png_with_an_odd_note_is_read():
    photo = _photo(1, height=16, width=8)
    data = _saved(photo, 'PNG')
    end = data.index(b'IEND') - 4
    note = bytearray(_chunk(b'teXt', b'a note'))
    note[-1] ^= 1  # its check sum is wrong, as some programs leave it; libpng skips it as well
    np.testing.assert_array_equal(_decode(data[:33] + bytes(note) + data[33:end] + data[end:]), photo)


def test_images_that_claim_an_absurd_size_are_not_allocated():
    header = struct.pack('>IIBBBBB', 2**14, 2**13, 8, 2, 0, 0, 0)
    png = b'\x89PNG\r\n\x1a\n' + _chunk(b'IHDR', header) + _chunk(b'IDAT', zlib.compress(b'')) + _chunk(b'IEND', b'')
    jpeg = bytearray(_saved(_photo(), 'JPEG', progressive=False))
    start = jpeg.index(b'\xff\xc0')
    jpeg[start + 5 : start + 9] = struct.pack('>HH', 2**13, 2**14)
    padded = jpeg[:start] + b'\xff\xff' + jpeg[start:]  # fill bytes may stand before a marker
    for data, claim in ((png, '8192x16384'), (jpeg, '8192x16384'), (padded, '8192x16384')):
        with pytest.raises(ValueError, match=f'it claims {claim} pixels'):
            _decode(bytes(data))


def test_unknown_filter_is_refused():
    with pytest.raises(ValueError, match=r"data.resize = 'nearest'"):
        _decode(mars_fixture.jpeg(0), height=9, resize='nearest')
