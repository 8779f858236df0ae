import functools

import h5py
import numpy as np
import pytest
import scipy.io

from jaxreid.data.datasets import matlab

TABLE = np.arange(1, 49).reshape(12, 4)


def write_hdf5(path, **variables):
    with h5py.File(path, 'w') as file:
        for key, value in variables.items():
            file[key] = np.asarray(value).T  # MATLAB stores columns first


def write_old(path, *, do_compression=False, **variables):
    scipy.io.savemat(path, variables, do_compression=do_compression)


WRITERS = (write_old, functools.partial(write_old, do_compression=True), write_hdf5)


@pytest.mark.parametrize('write', WRITERS)
@pytest.mark.parametrize('dtype', ['i1', 'u1', 'i2', 'u2', 'i4', 'u4', 'i8', 'u8', 'f4', 'f8'])
def test_tables_have_matlab_s_orientation_in_all_formats(tmp_path, write, dtype):
    path = tmp_path / 'a.mat'
    write(path, table=TABLE.astype(dtype), x=np.ones((1, 1), dtype), empty=np.zeros((0, 1), dtype))
    found = matlab.read_all(path, ('table', 'x', 'empty', 'absent'))
    assert found.keys() == {'table', 'x', 'empty'}
    np.testing.assert_array_equal(found['table'], TABLE)
    assert found['x'].tolist() == [[1]]
    assert found['empty'].shape == (0, 1)
    with pytest.raises(ValueError, match=r'a.mat has no variable absent; it is not the file of the download'):
        matlab.read(path, 'absent')


def test_real_tables_are_read_as_scipy_reads_them(shared):
    for name, key in (
        ('tracks_train_info', 'track_train_info'),
        ('tracks_test_info', 'track_test_info'),
        ('query_IDX', 'query_IDX'),
    ):
        path = shared / 'protocols' / 'mars' / f'{name}.mat'
        np.testing.assert_array_equal(matlab.read(path, key), scipy.io.loadmat(path)[key])


def test_other_kinds_of_variables_are_passed_over_and_refused_where_wanted(tmp_path):
    write_old(tmp_path / 'a.mat', text='words', cells=np.array([1, 'b'], object), z=np.array([1j]), table=TABLE)
    np.testing.assert_array_equal(matlab.read(tmp_path / 'a.mat', 'table'), TABLE)
    for key in ('text', 'cells', 'z'):
        with pytest.raises(ValueError, match=f'a.mat cannot be read .*its variable {key} is not a table of real'):
            matlab.read(tmp_path / 'a.mat', key)


def test_a_big_endian_file_is_read(tmp_path):
    data = bytearray(128)
    data[124:128] = b'\x01\x00MI'

    def element(kind, content):
        tag = np.array([kind, len(content)], '>u4').tobytes()
        return tag + content + bytes(-len(content) % 8)

    parts = (
        element(6, np.array([6, 0], '>u4').tobytes()),
        element(5, np.array(TABLE.shape, '>i4').tobytes()),
        np.array([2 << 16 | 1], '>u4').tobytes() + b'ab\0\0',  # a short name stands in its tag
        element(4, TABLE.T.astype('>u2').tobytes()),
    )
    (tmp_path / 'a.mat').write_bytes(bytes(data) + element(14, b''.join(parts)))
    np.testing.assert_array_equal(matlab.read(tmp_path / 'a.mat', 'ab'), TABLE)


def test_a_variable_that_claims_more_than_it_can_have_is_not_allocated(tmp_path):
    with h5py.File(tmp_path / 'a.mat', 'w') as file:
        file.create_dataset('query', shape=(1, 2**50), dtype='f8', chunks=(1, 1024))
    with pytest.raises(ValueError, match=r'a.mat cannot be read .*its variable query claims 9007199254740992 bytes'):
        matlab.read(tmp_path / 'a.mat', 'query')


@pytest.mark.parametrize('write', WRITERS)
def test_damaged_files_give_an_error_with_their_name_and_no_other(tmp_path, write):
    path = tmp_path / 'damaged.mat'
    write(path, ls_set=TABLE.astype(np.uint16), other=np.ones(3))
    good = path.read_bytes()
    rng = np.random.default_rng(0)
    messages = []
    for trial in range(500):
        damaged = bytearray(good[: rng.integers(1, len(good))] if trial % 4 == 0 else good)
        for place in rng.integers(0, len(damaged), rng.integers(1, 9)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            matlab.integers(matlab.read(path, 'ls_set'), f'ls_set of {path}')
        except ValueError as error:
            messages.append(str(error))
    assert len(messages) > 100
    assert all('damaged.mat' in message for message in messages)


@pytest.mark.parametrize('bad', [[1.5], [np.nan], [np.inf], [1e48], [2**64 - 1], ['a'], [1j]])
def test_what_is_not_a_whole_number_is_refused(bad):
    with pytest.raises(ValueError, match=r'rows of a.mat holds .* not whole numbers'):
        matlab.integers(np.array(bad), 'rows of a.mat')


@pytest.mark.parametrize('dtype', [np.uint8, np.uint16, np.int64, np.float32])
def test_whole_numbers_of_any_type_are_counted_in_64_bits(dtype):
    found = matlab.integers(np.array([[0, 200]], dtype), 'rows')
    assert found.dtype == np.int64
    assert (found - 1).tolist() == [[-1, 199]]  # 0 - 1 would wrap around in unsigned numbers
