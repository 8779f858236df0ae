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


def _jpeg_of_noise(seed=0, **options):
    """A photograph with the noise of a camera, [256, 128]."""
    photo = _photo(seed, height=256, width=128) + np.random.default_rng(seed).normal(0, 8, (256, 128, 3))
    return _saved(photo.clip(0, 255).astype(np.uint8), 'JPEG', quality=90, **options)


def _damaged(data, kind, rng):
    data = bytearray(data)
    start, end = data.index(b'\xff\xda') + 14, data.rindex(b'\xff\xd9')
    place = start + int((end - start) * rng.uniform(0.1, 0.6))
    length = int((end - start) * rng.uniform(0.05, 0.3))
    match kind:
        case 'zeros':
            data[place : place + length] = bytes(length)
        case 'ones':
            data[place : place + length] = b'\xff' * length
        case 'removed':
            del data[place : place + length]
        case 'repeated':
            data[place:place] = data[place : place + length]
        case 'noise':
            data[place : place + length] = rng.integers(0, 256, length, np.uint8).tobytes()
    return bytes(data)


@pytest.mark.parametrize('kind', ['zeros', 'ones', 'removed', 'repeated', 'noise'])
@pytest.mark.parametrize('options', [{}, {'optimize': True}, {'restart_marker_rows': 1}])
def test_a_jpeg_with_a_hole_is_damaged_though_decoders_make_an_image_of_it(kind, options):
    rng = np.random.default_rng(len(kind))
    for seed in range(8):
        data = _damaged(_jpeg_of_noise(seed, **options), kind, rng)
        if kind in ('zeros', 'removed', 'repeated'):
            assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR) is not None
        with pytest.raises(ValueError, match=r'a hole in|bytes are missing|more than its blocks|restarts in its data'):
            frame_decode.decode_as_stored(data)


@pytest.mark.parametrize('seed', range(12))
def test_whole_jpegs_of_many_kinds_are_whole(seed):
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 300, 2).tolist()
    photo = _photo(seed, height=height, width=width)
    photo = {0: photo, 1: photo[..., 0], 2: np.full_like(photo, 7)}[seed % 3]
    for options in ({}, {'optimize': True}, {'progressive': True}, {'restart_marker_blocks': 3}):
        for quality, subsampling in ((30, 2), (95, 0), (100, 1)):
            data = _saved(photo, 'JPEG', quality=quality, subsampling=subsampling, **options)
            np.testing.assert_array_equal(frame_decode.decode_as_stored(data), _pillow(data))
    # Phones put a second image behind the first one's end.
    np.testing.assert_array_equal(frame_decode.decode_as_stored(data + data), _pillow(data))
    baseline = _saved(photo, 'JPEG')
    np.testing.assert_array_equal(frame_decode.decode_as_stored(baseline + baseline), _pillow(baseline))


BOMBS = {
    # Bytes between segments, which decoders pass: the header behind them was not found.
    'jpeg behind rubbish': lambda: _claiming(b'\xff\xd8' + b'rubbish', 30000, 30000),
    'webp': lambda: b'RIFF\x1a\0\0\0WEBPVP8L\x0d\0\0\0\x2f' + (16382 | 16382 << 14).to_bytes(4, 'little') + bytes(9),
    'webp canvas': lambda: b'RIFF\x16\0\0\0WEBPVP8X\x0a\0\0\0\x10\0\0\0' + b'\xff\x7f\x00' * 2,
    'tiff': lambda: _tiff(30000, 30000),
    'tiff tile': lambda: _tiff(8, 8, tile=2**15),
    'bmp': lambda: b'BM' + bytes(8) + struct.pack('<IIiiHHIIiiII', 54, 40, 30000, 30000, 1, 24, 0, 0, 0, 0, 0, 0),
    'gif': lambda: b'GIF89a' + b'\xff' * 4 + bytes(3) + b',' + bytes(4) + b'\xff' * 4 + b'\0\2\0;',
    'pnm': lambda: b'P6 30000 30000 255\n' + bytes(20),
    'png of 16 bits': lambda: _png_header(4000, 4000, 16),
}  # fmt: skip


def _claiming(start, height, width):
    data = bytearray(_saved(_photo(), 'JPEG'))
    place = data.index(b'\xff\xc0')
    data[place + 5 : place + 9] = struct.pack('>HH', height, width)
    return start + bytes(data[2:])


def _tiff(height, width, tile=0):
    entries = [(256, 4, width), (257, 4, height), (258, 3, 8), (259, 3, 1), (262, 3, 1), (277, 3, 1)]
    entries += [(322, 4, tile), (323, 4, tile), (324, 4, 8), (325, 4, 8)] if tile else [(273, 4, 8), (279, 4, 8)]
    content = b'II*\0' + struct.pack('<IQH', 16, 0, len(entries))
    return content + b''.join(struct.pack('<HHII', tag, kind, 1, value) for tag, kind, value in entries) + bytes(4)


def _png_header(height, width, bits):
    header = struct.pack('>IIBBBBB', width, height, bits, 2, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + _chunk(b'IHDR', header) + _chunk(b'IDAT', zlib.compress(b'')) + _chunk(b'IEND', b'')


@pytest.mark.parametrize('kind', list(BOMBS))
def test_no_decoder_sees_what_claims_an_absurd_size(kind, monkeypatch):
    monkeypatch.setattr(cv2, 'imdecode', lambda *_: pytest.fail('decoded'))
    data = BOMBS[kind]()
    assert len(data) < 1000
    with pytest.raises(ValueError, match=r'it claims \d+x\d+ pixels, more than [\d,]+ are not read'):
        frame_decode.decode_as_stored(data)


GREY = cv2.cvtColor(_photo(4), cv2.COLOR_RGB2GRAY)


def _written(suffix, image):
    return cv2.imencode(suffix, image)[1].tobytes()


def _pgm(image, maximum):
    head = f'P5\n# from a camera\n{image.shape[1]} {image.shape[0]}\n{maximum}\n'.encode()
    return head + image.astype('>u2' if maximum > 255 else np.uint8).tobytes()


@pytest.mark.parametrize('suffix', ['.png', '.tiff', '.pgm', '.jp2'])
def test_pictures_of_16_bits_are_as_bright_as_they_were(suffix):
    large = cv2.resize(GREY, (96, 192))
    image = frame_decode.decode_as_stored(_written(suffix, large.astype(np.uint16) * 257))
    np.testing.assert_array_equal(image, np.repeat(large[..., None], 3, axis=2))


@pytest.mark.parametrize('maximum', [100, 255, 1023, 4095, 16383, 65535])
def test_so_are_those_that_state_their_maximum(maximum):
    image = frame_decode.decode_as_stored(_pgm(np.rint(GREY / 255 * maximum), maximum))
    off = np.abs(image[..., 0].astype(int) - GREY)
    assert off.max() <= (1 if maximum < 255 else 0)


def test_frames_of_one_tracklet_are_scaled_alike_however_bright_each_is():
    for suffix in ('.png', '.tiff', '.pgm'):
        dark, twice, bright = (
            frame_decode.decode_as_stored(_written(suffix, (GREY.astype(np.uint16) * times)))[..., 0].astype(int)
            for times in (25, 50, 100)
        )
        assert np.abs(twice - 2 * dark).max() <= 1
        assert np.abs(bright - 2 * twice).max() <= 1


@pytest.mark.parametrize('bits', [10, 12])
@pytest.mark.parametrize('suffix', ['.png', '.tiff'])
def test_bits_that_nobody_stated_are_refused_with_what_to_do_and_black_is_black(bits, suffix):
    camera = GREY.astype(np.uint16) << (bits - 8)
    with pytest.raises(ValueError, match=r'its numbers go to \d+ of 65535, .*multiply them by 64 or 16'):
        frame_decode.decode_as_stored(_written(suffix, camera))
    assert frame_decode.decode_as_stored(_written(suffix, camera << (16 - bits))).max() >= GREY.max() - 1
    assert not frame_decode.decode_as_stored(_written(suffix, camera * 0)).any()


def test_colours_of_16_bits_keep_their_order():
    photo = _photo(5)
    data = _written('.png', photo[..., ::-1].astype(np.uint16) * 257)
    np.testing.assert_array_equal(frame_decode.decode_as_stored(data), photo)
    ppm = (
        f'P6\n{photo.shape[1]} {photo.shape[0]}\n65535\n'.encode() + (photo.astype('>u2') * 257).astype('>u2').tobytes()
    )
    np.testing.assert_array_equal(frame_decode.decode_as_stored(ppm), photo)


def test_pictures_of_floats_are_scaled_or_refused():
    grey = cv2.cvtColor(_photo(4), cv2.COLOR_RGB2GRAY)
    image = frame_decode.decode_as_stored(cv2.imencode('.tiff', grey.astype(np.float32) / 255)[1].tobytes())
    np.testing.assert_array_equal(image[..., 1], grey)
    with pytest.raises(ValueError, match='no image'):  # Pillow knows no floats of 64 bits
        frame_decode.decode_as_stored(cv2.imencode('.tiff', grey / 255)[1].tobytes())
    for wrong in (grey.astype(np.float32), grey.astype(np.float32) / 255 - 0.5, np.full((9, 9), np.nan, np.float32)):
        with pytest.raises(ValueError, match=r'its floats go from .*scale them'):
            frame_decode.decode_as_stored(cv2.imencode('.tiff', wrong)[1].tobytes())
    with pytest.raises(ValueError, match=r'its numbers are int32, .*write it with 8 or 16 bits'):
        frame_decode.decode_as_stored(cv2.imencode('.tiff', grey.astype(np.int32) * 1000)[1].tobytes())


def test_decoders_write_nothing_to_the_terminal(capfd):
    rng = np.random.default_rng(0)
    whole = [
        _jpeg_of_noise(1),
        _saved(_photo(), 'PNG'),
        *(cv2.imencode(s, _photo())[1].tobytes() for s in ('.tiff', '.webp', '.bmp')),
    ]
    whole.append(cv2.imencode('.tiff', np.ones((9, 9), np.float32))[1].tobytes())
    for data in whole:
        for _ in range(40):
            changed = bytearray(data)
            for place in rng.integers(0, len(data), 3):
                changed[place] = rng.integers(256)
            try:
                frame_decode.decode_as_stored(bytes(changed))
            except ValueError:
                continue
    assert capfd.readouterr() == ('', '')
