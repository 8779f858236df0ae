"""Arrays from files: equal to what NumPy wrote; a header that claims what is not there takes no memory."""

import io
import zipfile

import numpy as np
import pytest

from jaxreid.process import array_file


def header(shape, dtype='<f4'):
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {'descr': dtype, 'fortran_order': False, 'shape': shape})
    return file.getvalue()


@pytest.mark.parametrize('mapped', [False, True])
@pytest.mark.parametrize('shape', [(), (0, 3), (5,), (3, 2)])
def test_an_array_is_what_was_written(tmp_path, mapped, shape):
    array = np.arange(np.prod(shape), dtype=np.float16).reshape(shape)
    np.save(tmp_path / 'a.npy', np.asfortranarray(array))
    np.testing.assert_array_equal(array_file.npy(tmp_path / 'a.npy', mapped=mapped), array)


@pytest.mark.parametrize(
    ('content', 'said'),
    [
        (header((10**11,)) + bytes(8), r'says float32 \(100000000000,\), 400000000000 bytes, but has 8'),
        (header((2,)) + bytes(9), r'says float32 \(2,\), 8 bytes, but has 9'),
        (header((-1,)), r'a shape of \(-1,\)'),
        (header((1,), '|O') + bytes(8), 'holds Python objects'),
        (b'no array', 'magic'),
        (b'', 'no readable'),
    ],
)
@pytest.mark.parametrize('mapped', [False, True])
def test_what_is_no_array_is_named_before_anything_is_allocated(tmp_path, content, said, mapped):
    (tmp_path / 'a.npy').write_bytes(content)
    with pytest.raises(ValueError, match=rf'a\.npy is no readable \.npy file.*{said}|{said}'):
        array_file.npy(tmp_path / 'a.npy', mapped=mapped)


def test_of_an_archive_only_what_is_asked_for_is_read(tmp_path):
    np.savez(tmp_path / 'a.npz', one=np.ones(3), two=np.zeros((2, 2), np.uint8))
    assert array_file.npz_headers(tmp_path / 'a.npz') == {'one': ((3,), np.float64), 'two': ((2, 2), np.uint8)}
    assert array_file.npz(tmp_path / 'a.npz', ('two', 'three')).keys() == {'two'}
    np.testing.assert_array_equal(array_file.npz(tmp_path / 'a.npz')['one'], np.ones(3))


def test_a_few_compressed_bytes_do_not_become_gigabytes(tmp_path):
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w', zipfile.ZIP_DEFLATED) as archive, archive.open('x.npy', 'w') as file:
        file.write(header((300 * 2**18,)))
        for _ in range(300):
            file.write(bytes(2**20))
    assert (tmp_path / 'a.npz').stat().st_size < 2**19
    with pytest.raises(ValueError, match=r'a\.npz is no readable .* bytes claim to be 314,572,928'):
        array_file.npz_headers(tmp_path / 'a.npz')


def test_a_damaged_archive_is_named(tmp_path):
    np.savez(tmp_path / 'a.npz', one=np.ones(30000))
    content = bytearray((tmp_path / 'a.npz').read_bytes())
    content[200000] ^= 1
    (tmp_path / 'a.npz').write_bytes(content)
    with pytest.raises(ValueError, match=r'a\.npz is damaged'):
        array_file.npz(tmp_path / 'a.npz')
