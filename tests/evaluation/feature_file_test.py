"""Feature files are read whole or refused with a reason, whatever is in them."""

import io
import json
import pickle
import warnings
import zipfile

import numpy as np
import pytest

from jaxreid.evaluation import feature_file
from jaxreid.process import array_file


def arrays(n=12, d=4):
    """A file with everything in it."""
    rng = np.random.default_rng(0)
    return {
        'embedding': rng.normal(size=(n, d)).astype(np.float32),
        'embedding_before_neck': rng.normal(size=(n, d + 1)).astype(np.float32),
        'pid': np.arange(n) // 3,
        'camera': np.arange(n) % 3,
        'query': np.arange(n) % 3 == 0,
        'gallery': np.ones(n, bool),
        'name': np.array([f't{i}' for i in range(n)]),
        'frames': np.arange(n) + 1,
        'meta': np.array(json.dumps({'dataset': 'mars'})),
    }


def write(path, **changed):
    """Saves `arrays` with some replaced, or left out where None."""
    np.savez(path, **{k: v for k, v in (arrays() | changed).items() if v is not None})
    return path


def test_what_was_saved_is_read(tmp_path):
    ours = feature_file.Features(**(arrays() | {'meta': {'dataset': 'mars'}}))
    ours.save(tmp_path / 'a.npz')
    found = feature_file.load(tmp_path / 'a.npz')
    for name in ('embedding', 'pid', 'camera', 'query', 'gallery', 'name', 'frames'):
        np.testing.assert_array_equal(getattr(found, name), getattr(ours, name))
    assert found.meta == {'dataset': 'mars'}
    assert found.embedding_before_neck is None
    before = feature_file.load(str(tmp_path / 'a.npz'), neck='before')
    np.testing.assert_array_equal(before.embedding, ours.embedding_before_neck)


def test_no_flipped_bit_gives_other_features(tmp_path):
    feature_file.Features(**(arrays() | {'meta': {'dataset': 'mars'}})).save(tmp_path / 'a.npz')
    data, rng = (tmp_path / 'a.npz').read_bytes(), np.random.default_rng(0)
    wanted, named = feature_file.load(tmp_path / 'a.npz'), 0
    for place in rng.integers(0, len(data), 150):
        changed = bytearray(data)
        changed[place] ^= 1 << rng.integers(8)
        (tmp_path / 'b.npz').write_bytes(changed)
        try:
            found = feature_file.load(tmp_path / 'b.npz')
        except ValueError as e:
            named += str(tmp_path / 'b.npz') in str(e)
            continue
        for name in arrays().keys() - {'meta', 'embedding_before_neck'}:
            np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name))
        assert found.meta == wanted.meta
    assert named > 75


def test_the_largest_ids_are_read_and_those_beyond_refused(tmp_path):
    most = 2**31 - 1
    for name, ends in (('pid', (-most, most)), ('camera', (-most, most)), ('frames', (0, most))):
        for end, beyond in zip(ends, (ends[0] - 1, ends[1] + 1), strict=True):
            column = arrays()[name]
            column[4] = end
            assert getattr(feature_file.load(write(tmp_path / 'a.npz', **{name: column})), name)[4] == end
            column[4] = beyond
            with pytest.raises(ValueError, match=f'{name} of row 4 is {beyond}, expected'):
                feature_file.load(write(tmp_path / 'a.npz', **{name: column}))


def test_the_smallest_file_of_another_framework_is_enough(tmp_path):
    found = feature_file.load(
        write(
            tmp_path / 'a.npz', embedding_before_neck=None, name=None, frames=None, meta=None,
            embedding=arrays()['embedding'].astype(np.float16), pid=arrays()['pid'].astype(np.uint8),
        )
    )  # fmt: skip
    assert found.embedding.dtype == np.float32
    assert found.pid.dtype == np.int64
    assert found.name[3] == 'row 3'
    assert not found.frames.any()
    assert found.meta == {}
    found.save(tmp_path / 'b.npz')
    assert feature_file.load(tmp_path / 'b.npz').embedding_before_neck is None
    beyond = np.full((12, 1), 0x7FFFFFFF, np.uint32).view('U1')[:, 0]  # no character at all
    assert set(feature_file.load(write(tmp_path / 'c.npz', name=beyond)).name[0]) == {'\N{REPLACEMENT CHARACTER}'}
    half = np.array(['caf\ud800'] * 12)  # half a character, which cannot be printed
    assert feature_file.load(write(tmp_path / 'c.npz', name=half)).name[0] == 'caf?'
    bytes_ = np.array([b'caf\xc3\xa9'] * 12)
    assert feature_file.load(write(tmp_path / 'c.npz', name=bytes_)).name[0] == 'café'


def not_a_number():
    broken = arrays()['embedding']
    broken[[4, 7], 1] = np.nan, np.inf
    return broken


WRONG = {
    r'lacks camera, query \(it holds embedding,': {'camera': None, 'query': None},
    r'embedding is int64 \[12, 4\]; expected float \[N, D\]': {'embedding': np.ones((12, 4), int)},
    r'embedding is complex64': {'embedding': np.ones((12, 4), np.complex64)},
    r'embedding is float32 \[12, 4, 1\]': {'embedding': np.ones((12, 4, 1), np.float32)},
    r'embedding is \[12, 0\], it holds no features': {'embedding': np.ones((12, 0), np.float32)},
    r'2 of 12 rows of embedding hold NaN or infinity, the first in row 4': {'embedding': not_a_number()},
    r"lengths differ: \{'embedding': 12, 'pid': 12, 'camera': 78": {'camera': np.ones(78, int)},
    r'pid is float64 \[12\]; expected integers': {'pid': np.ones(12)},
    r'query is int64 \[4\]; expected bool \[N\], one mark per tracklet': {'query': np.arange(4)},
    r'none of its 12 tracklets is marked query': {'query': np.zeros(12, bool)},
    r'none of its 12 tracklets is marked gallery': {'gallery': np.zeros(12, bool)},
    r'name holds Python objects \(pickles\), which are never loaded': {'name': np.array(['a'] * 12, object)},
    r'pid holds Python objects': {'pid': np.array([1] * 12, object)},
    r'frames is float64': {'frames': np.ones(12)},
    r'meta does not hold JSON: it is no JSON text': {'meta': np.array('{"a": ')},
    r'meta is list; expected a JSON object': {'meta': np.array('[1]')},
    r'meta is <U2 \[2\]; expected one JSON text': {'meta': np.array(['{}', '{}'])},
    r'meta is int64; expected JSON text': {'meta': np.array(3)},
}  # fmt: skip


@pytest.mark.parametrize('message', list(WRONG))
def test_what_is_wrong_is_named_with_the_file(tmp_path, message):
    path = write(tmp_path / 'wrong.npz', **WRONG[message])
    with pytest.raises(ValueError, match=r'wrong\.npz.*' + message):
        feature_file.load(path)


def test_empty_files_have_no_tracklets(tmp_path):
    path = tmp_path / 'empty.npz'
    np.savez(path, **{k: v[:0] if v.ndim else v for k, v in arrays().items()})
    with pytest.raises(ValueError, match=r'embedding is \[0, 4\], it holds no features'):
        feature_file.load(path)


class Bomb:
    """Says so when it is unpickled."""

    def __reduce__(self):
        return pytest.fail, ('unpickled',)


def test_what_is_no_feature_file_is_refused_and_never_unpickled(tmp_path):
    (tmp_path / 'text.npz').write_text('hello')
    (tmp_path / 'nothing.npz').write_bytes(b'')
    (tmp_path / 'pickle.npz').write_bytes(pickle.dumps(Bomb()))
    with (tmp_path / 'array.npz').open('wb') as file:
        np.save(file, np.ones(3))
    whole = write(tmp_path / 'whole.npz').read_bytes()
    (tmp_path / 'cut.npz').write_bytes(whole[: len(whole) // 2])
    with zipfile.ZipFile(tmp_path / 'torch.npz', 'w') as archive:
        archive.writestr('archive/data.pkl', pickle.dumps(Bomb()))
    with zipfile.ZipFile(tmp_path / 'bomb.npz', 'w') as archive:
        archive.writestr('embedding.npy', pickle.dumps(Bomb()))
    for name in ('text', 'nothing', 'pickle', 'array', 'cut', 'torch', 'bomb'):
        with pytest.raises(ValueError, match=rf'{name}\.npz is no readable \.npz file'):
            feature_file.load(tmp_path / f'{name}.npz')
    with pytest.raises(ValueError, match='is a folder; name the feature file'):
        feature_file.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r'absent\.npz does not exist'):
        feature_file.load(tmp_path / 'absent.npz')


def header(shape, dtype='<f4'):
    """An .npy header without its data."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {'descr': dtype, 'fortran_order': False, 'shape': shape})
    return file.getvalue()


def test_an_absurd_size_is_refused_before_memory_is_taken(tmp_path, monkeypatch):
    path = tmp_path / 'huge.npz'
    with zipfile.ZipFile(path, 'w') as archive:
        archive.writestr('embedding.npy', header((10**15, 2048)))
    with pytest.raises(ValueError, match=r'embedding says that it is float32 \(1000000000000000, 2048\)'):
        feature_file.load(path)
    monkeypatch.setattr(array_file, 'memory', lambda: 100)
    with pytest.raises(ValueError, match=r'arrays take 0 GiB \(embedding is \[12, 4\]\), this machine has'):
        feature_file.load(write(tmp_path / 'a.npz'))


def test_whatever_is_in_a_file_the_answer_is_features_or_a_value_error(tmp_path):
    rng = np.random.default_rng(1)
    whole = write(tmp_path / 'whole.npz').read_bytes()
    members = {f'{k}.npy': _npy(v) for k, v in arrays().items()}
    path, refused = tmp_path / 'fuzzed.npz', []
    for trial in range(500):
        if trial % 2:  # bytes of the archive
            content = bytearray(whole[: rng.integers(1, len(whole))] if trial % 5 == 0 else whole)
            for at in rng.integers(0, len(content), rng.integers(1, 6)):
                content[at] = rng.integers(0, 256)
            path.write_bytes(content)
        else:  # bytes of a header, in an archive whose sums are right
            changed = dict(members)
            name = rng.choice(list(members))
            content = bytearray(changed[name])
            for at in rng.integers(0, 80, rng.integers(1, 4)):
                content[at] = rng.choice([rng.integers(0, 256), *b"(),'0918<fOUV{}"])
            changed[name] = bytes(content)
            with zipfile.ZipFile(path, 'w') as archive:
                for member, content in changed.items():
                    archive.writestr(member, content)
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of NumPy, about headers
            try:
                assert isinstance(feature_file.load(path), feature_file.Features)
            except ValueError as e:
                refused.append(str(e))
    assert 100 < len(refused) < 500
    assert all('fuzzed.npz' in message for message in refused)


def _npy(array):
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


@pytest.mark.parametrize(
    ('name', 'value'), [('frames', 2**62), ('frames', -1), ('pid', 2**64 - 1), ('camera', 2**40)]
)  # fmt: skip
def test_numbers_that_cannot_be_are_named(tmp_path, name, value):
    arrays = {
        'embedding': np.eye(3, dtype=np.float32),
        'pid': np.array([1, 1, 2]),
        'camera': np.array([1, 2, 1]),
        'query': np.array([True, False, False]),
        'gallery': np.array([True, True, True]),
        'frames': np.array([5, 6, 7]),
    }
    arrays[name] = np.array([1, value, 2], np.uint64 if value > 2**62 else np.int64)
    np.savez(tmp_path / 'f.npz', **arrays)
    with pytest.raises(ValueError, match=rf'f.npz: {name} of row 1 is {value}'):
        feature_file.load(tmp_path / 'f.npz')


def test_a_name_that_stands_for_two_arrays_is_refused(tmp_path):
    """NumPy would take the one without an ending, and its header need not be that of the other."""
    path = write(tmp_path / 'a.npz')
    other = io.BytesIO()
    np.save(other, np.ones((3, 4), np.float32))
    with zipfile.ZipFile(path, 'a') as archive:
        archive.writestr('embedding', other.getvalue())
    with pytest.raises(ValueError, match=r'no readable .npz file \(it holds embedding twice'):
        feature_file.load(path)
