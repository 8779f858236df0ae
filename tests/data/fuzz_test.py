"""Thousands of damaged files and tables: each is an error of ours that names the place, or a skip that is counted.

Never another exception (it would fail the test), a hang (`slow_is_a_failure`), or other counts without a word.
"""

import dataclasses
import io
import os
import shutil
import time

import numpy as np
import pytest
import scipy.io
from PIL import Image

from data_pipelines import verify
from jaxreid import config
from jaxreid.data import source
from jaxreid.data.datasets import catalogue, dukev, ilids, lsvid, mars, prid
from jaxreid.data.stores import folder_store
from jaxreid.data.tracklets import frame_decode, tracklet
from tests.fixtures import dukev_folder, field_folders, ilids_folder, lsvid_folder
from tests.fixtures import listed_folder as listing_fixture
from tests.fixtures import mars_folder as mars_fixture

EXPECTED = (config.ConfigError, ValueError, OSError)


def saved(kind, **options):
    coarse = np.random.default_rng(3).integers(0, 256, (8, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(coarse).resize((24, 48)).save(file, kind, **options)
    return file.getvalue()


IMAGES = {
    'jpeg': saved('JPEG'),
    'progressive': saved('JPEG', progressive=True),
    'png': saved('PNG'),
    'grey png': saved('PNG', compress_level=0),
}


@pytest.fixture(autouse=True)
def slow_is_a_failure():
    start = time.process_time()
    yield
    assert time.process_time() - start < 20


def mutated(data, rng):
    """Bytes with one kind of damage."""
    data = bytearray(data)
    match rng.integers(8):
        case 0:  # cut off
            del data[rng.integers(len(data)) :]
        case 1:  # bits flipped
            for place in rng.integers(0, len(data), rng.integers(1, 6)):
                data[place] ^= 1 << rng.integers(8)
        case 2:  # bytes overwritten
            for place in rng.integers(0, len(data), rng.integers(1, 6)):
                data[place] = rng.integers(256)
        case 3:  # a block of the disk is zeros
            start = rng.integers(len(data))
            end = min(len(data), start + int(rng.integers(1, 200)))
            data[start:end] = bytes(end - start)
        case 4:  # bytes lost
            start = rng.integers(len(data))
            del data[start : start + rng.integers(1, 20)]
        case 5:  # bytes doubled
            start = rng.integers(len(data))
            data[start:start] = data[start : start + rng.integers(1, 20)]
        case 6:  # something else altogether
            data = bytearray(rng.bytes(rng.integers(1, 300)))
        case 7:  # nothing
            data = bytearray()
    return bytes(data)


def attempt(function):
    """What it gives and '', or None and what it says."""
    try:
        return function(), ''
    except EXPECTED as error:
        return None, str(error) or repr(error)


@pytest.mark.slow
@pytest.mark.parametrize('kind', IMAGES)
def test_damaged_images_are_named_or_replaced_and_counted(tmp_path, kind):
    rng = np.random.default_rng(list(IMAGES).index(kind))
    good = IMAGES[kind]
    whole = [good, IMAGES['jpeg']]
    names = tuple(f'{number}.img' for number in range(3))
    rows = [tracklet.Tracklet('t', 1, 1, names)]

    def store(policy):  # a new one for each file: one that has looked a file through does not do so again
        how = folder_store.Reading(height=48, width=24, resize='bicubic', on_corrupt=policy)
        return folder_store.FolderStore(tmp_path, rows, how)

    for name, data in zip(names, (good, whole[1], whole[1])):
        (tmp_path / name).write_bytes(data)
    neighbour = store('error').read(0, np.array([1]))[0]
    refused = 0
    for _ in range(700):
        (tmp_path / names[0]).write_bytes(mutated(good, rng))
        skipping = store('skip_frame')
        frames = skipping.read(0, np.array([0, 1]))
        assert frames.shape == (2, 48, 24, 3)
        np.testing.assert_array_equal(frames[1], neighbour)
        images, problem = attempt(lambda: store('error').read(0, np.array([0])))
        np.testing.assert_array_equal(frames[0], neighbour if problem else images[0])
        assert not problem or str(tmp_path / names[0]) in problem
        assert skipping.skipped == bool(problem)
        refused += bool(problem)
    assert 300 < refused < 700  # JPEG has no check sums; and some damage is none, as zeros over zeros
    if 'png' in kind:
        assert refused > 650


@pytest.mark.parametrize('kind', IMAGES)
def test_an_image_cut_off_anywhere_is_never_taken_for_a_whole_one(kind):
    data = IMAGES[kind]
    for keep in range(len(data)):
        with pytest.raises(ValueError, match=r'empty|truncated|damaged'):
            frame_decode.decode_as_stored(data[:keep])


def counts(dataset):
    """What must not change without a word."""
    return (
        len(dataset.train),
        len(dataset.test),
        sum(len(t.frames) for t in (*dataset.train, *dataset.test)),
        len({t.pid for t in dataset.train}),
        int(dataset.query.sum()),
        int(dataset.gallery.sum()),
    )


def fuzz_files(root, paths, read, *, times, seed=0, mutate=mutated):
    """Damages one file after the other; returns how often that was refused."""
    rng = np.random.default_rng(seed)
    expected = counts(read())
    refused = 0
    for path in paths:
        good = path.read_bytes()
        for _ in range(times):
            path.write_bytes(mutate(good, rng))
            found, problem = attempt(read)
            assert str(root) in problem if problem else counts(found) == expected
            refused += bool(problem)
        path.write_bytes(good)
    assert counts(read()) == expected
    return refused


def changed_lines(data, rng):
    """Text with one kind of damage that keeps lines whole, as an editor or a script would do it."""
    lines = data.decode('latin-1').splitlines()
    row = rng.integers(len(lines))
    other = rng.integers(len(lines))
    match rng.integers(7):
        case 0:
            del lines[row]
        case 1:
            lines.insert(other, lines[row])
        case 2:
            lines[row] = lines[other][::-1]
        case 3:
            lines[row] = ''.join(rng.permutation(list(lines[row])))
        case 4:
            lines = lines[: row + 1]
        case 5:
            lines[row] = lines[row] + ' ' + lines[other]
        case 6:
            lines[row] = '../' * 3 + lines[row]
    return '\n'.join(lines).encode('latin-1')


def test_damaged_name_lists_and_tables_of_mars(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars', train=mars_fixture.TRAIN[:3], query=(3, 5))
    lists = [root / 'info' / f'{split}_name.txt' for split in ('train', 'test')]
    tables = [root / 'info' / f'{name}.mat' for name in ('tracks_train_info', 'tracks_test_info', 'query_IDX')]

    def read():
        return mars.read(root)

    assert fuzz_files(root, lists, read, times=150) > 280
    assert fuzz_files(root, lists, read, times=150, mutate=changed_lines) > 200
    assert fuzz_files(root, tables, read, times=250) > 450


def test_tables_of_mars_with_other_numbers_in_them(tmp_path):
    root = mars_fixture.write(tmp_path / 'mars')
    rng = np.random.default_rng(0)
    expected = counts(mars.read(root))
    for split, rows in (('train', mars_fixture.TRAIN), ('test', mars_fixture.TEST)):
        name, path = f'track_{split}_info', root / 'info' / f'tracks_{split}_info.mat'
        good = mars_fixture.table(rows)
        for _ in range(200):
            table = good.astype([np.float64, np.int16, np.uint8][rng.integers(3)])
            row, column = rng.integers(len(table)), rng.integers(4)
            match rng.integers(6):
                case 0:
                    table[row, column] += rng.choice([-1, 1])
                case 1:
                    table[row, column] = rng.integers(200)
                case 2:
                    table = np.delete(table, row, 0)
                case 3:
                    table = table[rng.permutation(len(table))]
                case 4:
                    table = np.insert(table, row, table[row], 0)
                case 5:
                    table = table.T
            scipy.io.savemat(path, {name: table})
            if np.array_equal(table, good):
                assert counts(mars.read(root)) == expected
                continue
            with pytest.raises(ValueError, match=name) as error:
                mars.read(root)
            assert str(root) in str(error.value)
        scipy.io.savemat(path, {name: good})


def test_damaged_split_files_of_ilids(tmp_path):
    root = ilids_folder.write(tmp_path)
    refused = fuzz_files(root, [root / ilids_folder.SPLITS], lambda: ilids.read(root, split=1), times=400)
    assert refused > 200
    rng = np.random.default_rng(0)
    good = np.stack([rng.permutation(6) + 1 for _ in range(2)])
    for _ in range(300):  # a whole file of something else
        wrong = good.astype(float)
        match rng.integers(5):
            case 0:
                wrong[1, rng.integers(6)] = rng.choice([0, 7, -1, 2.5, np.nan, np.inf, good[1, 0]])
            case 1:
                wrong = wrong[:, : rng.integers(6)]
            case 2:
                wrong = wrong.T
            case 3:
                wrong = wrong[:1]
            case 4:
                wrong = rng.integers(0, 9, rng.integers(0, 7, rng.integers(1, 4)))
        ilids_folder.write_splits(root, wrong)
        dataset, problem = attempt(lambda: ilids.read(root, split=1))
        if problem:
            assert str(root / ilids_folder.SPLITS) in problem
        else:
            assert counts(dataset) == (6, 6, 36, 3, 3, 3)
            assert np.array_equal(np.sort(wrong[1]), np.arange(1, 7))


def test_damaged_lists_and_hdf5_tables_of_ls_vid(tmp_path):
    pytest.importorskip('h5py')
    root = lsvid_folder.write(tmp_path)
    table = root / 'test' / 'data' / 'info_test.mat'

    def read():
        return lsvid.read(root)

    def damaged_part(data, rng):  # most of the file is empty: damage where there is something
        places = [place for place in np.flatnonzero(np.frombuffer(data, np.uint8)) if place >= 512]
        data = bytearray(data)
        for place in rng.choice(places, rng.integers(1, 4)):
            data[place] ^= 1 << rng.integers(8)
        return bytes(data)

    lists = [root / 'list_sequence' / f'list_seq_{split}.txt' for split in ('train', 'test')]
    expected = counts(read())

    def mutate(data, rng):
        return (mutated if rng.integers(2) else changed_lines)(data, rng)

    # A list that lost whole lines is a shorter list; of the test list, the table knows the length.
    refused = fuzz_files(root, lists[1:], read, times=200, mutate=mutate)
    assert refused > 100
    rng = np.random.default_rng(1)
    good = lists[0].read_bytes()
    for _ in range(200):
        lists[0].write_bytes(mutate(good, rng))
        found, problem = attempt(read)
        if problem:
            assert str(root) in problem
        else:
            kept = {line.rsplit(maxsplit=1)[0] for line in lists[0].read_text(errors='replace').splitlines() if line}
            assert len(found.train) <= len(kept)
            assert counts(found)[1:2] == expected[1:2]
    lists[0].write_bytes(good)
    for mutate_table in (mutated, damaged_part):
        refused = 0
        whole = table.read_bytes()
        rng = np.random.default_rng(2)
        for _ in range(200):
            table.write_bytes(mutate_table(whole, rng))
            found, problem = attempt(read)
            refused += bool(problem)
            if problem:
                assert str(root) in problem
            else:
                assert counts(found)[:4] == expected[:4]
                assert 1 <= counts(found)[4] <= 4
        table.write_bytes(whole)
        assert refused > 50


def lose(root, rng):
    """Takes something out of a folder tree, or puts something in, or moves it; returns how to put it right again."""
    everything = sorted(root.rglob('*'))
    path = everything[rng.integers(len(everything))]
    spare = root.parent / 'spare'
    match rng.integers(4):
        case 0:  # gone
            path.rename(spare)
            return lambda: spare.rename(path)
        case 1:  # another name
            other = path.with_name(''.join(rng.permutation(list(path.name.replace('.', '')))) + path.suffix)
            if other.exists():
                return lambda: None
            path.rename(other)
            return lambda: other.rename(path)
        case 2:  # a file where there should be a folder, or the other way round
            path.rename(spare)
            path.mkdir() if spare.is_file() else path.write_bytes(b'')

            def back():
                path.rmdir() if path.is_dir() else path.unlink()
                spare.rename(path)

            return back
        case _:  # what does not belong there
            folder = path if path.is_dir() else path.parent
            name = ['0001', 'person001', 'x.jpg', 'y.png', 'Thumbs.db', 'person_0001', '0001.png'][rng.integers(7)]
            stray = folder / name
            if stray.exists():
                return lambda: None
            stray.mkdir() if rng.integers(2) else stray.write_bytes(b'')
            return lambda: stray.rmdir() if stray.is_dir() else stray.unlink()


def write_prid(root):
    for camera in 'ab':
        people = range(1, 201)
        listing_fixture.touch(
            root, [f'multi_shot/cam_{camera}/person_{p:04d}/{f:04d}.png' for p in people for f in (1, 2)]
        )
    return root


@pytest.mark.parametrize('dataset', ['mars', 'dukev', 'ilids', 'lsvid', *field_folders.WRITERS])
def test_trees_in_which_something_is_lost_renamed_or_added(tmp_path, dataset):
    root = tmp_path / 'data'
    root.mkdir()
    match dataset:
        case 'mars':
            mars_fixture.write(root, train=mars_fixture.TRAIN[:3])
        case 'dukev':
            dukev_folder.write(root)
        case 'ilids':
            ilids_folder.write(root)
        case 'lsvid':
            lsvid_folder.write(root)
        case new:
            field_folders.WRITERS[new](root)
    data = config.Data(dataset=dataset, root=str(root))
    names = {str(path.relative_to(root)) for path in root.rglob('*')}
    expected = source.read(data)
    used = {frame for t in (*expected.train, *expected.test) for frame in t.frames}
    rng = np.random.default_rng(5)
    refused = 0
    for _ in range(250):
        put_right = lose(root, rng)
        found, problem = attempt(lambda: source.read(data))
        refused += bool(problem)
        if problem:
            assert str(root) in problem
        else:
            # What was read is what is there: each frame exists, and none of the old ones that exist is left out
            # unless its whole tracklet is.
            frames = {frame for t in (*found.train, *found.test) for frame in t.frames}
            assert all(os.path.exists(root / frame) for frame in frames)
            lost = {frame for frame in used - frames if os.path.isfile(root / frame)}
            assert not lost
            if dataset == 'mars':  # its lists tell
                assert counts(found) == counts(expected)
        put_right()
    assert refused > (30 if dataset == 'detreidx' else 60)  # two of its three cases are not read here
    assert {str(path.relative_to(root)) for path in root.rglob('*')} == names
    assert listing_fixture.same(source.read(data), expected)


def test_what_a_reader_cannot_know_is_lost_shows_in_the_counts_of_verify(tmp_path, monkeypatch):
    root = dukev_folder.write(tmp_path / 'data')
    report = verify.verify('dukev', root, workers=1, progress=False)
    found = {name: count['found'] for name, count in report['counts'].items()}
    found = {name: tuple(count) if isinstance(count, list) else count for name, count in found.items()}
    monkeypatch.setitem(catalogue.by_name(), 'dukev', dataclasses.replace(dukev.FACTS, published=found))
    assert verify.verify('dukev', root, workers=1, progress=False)['problems'] == []
    rng = np.random.default_rng(0)
    frames = sorted(root.rglob('*.jpg'))
    tracklets = sorted({path.parent for path in frames})
    for _ in range(100):
        victim = [frames, tracklets][rng.integers(2)]
        path = victim[rng.integers(len(victim))]
        path.rename(tmp_path / 'spare')
        report, problem = attempt(lambda: verify.verify('dukev', root, workers=1, progress=False))
        assert str(root) in problem if problem else report['problems']
        (tmp_path / 'spare').rename(path)


def test_a_missing_person_of_prid_is_named(tmp_path):
    root = write_prid(tmp_path / 'data')
    rng = np.random.default_rng(0)
    train, test = prid.people(split=4, persons=178)
    for _ in range(10):
        number, camera = rng.choice(train + test), 'ab'[rng.integers(2)]
        folder = root / 'multi_shot' / f'cam_{camera}' / f'person_{number:04d}'
        folder.rename(tmp_path / 'spare')
        with pytest.raises(
            FileNotFoundError, match=f'cam_{camera} lacks 1 of the 178 persons .*{folder.name}'
        ) as error:
            prid.read(root, split=4)
        assert str(root) in str(error.value)
        (tmp_path / 'spare').rename(folder)
    assert counts(prid.read(root, split=4)) == (178, 178, 712, 89, 89, 89)


def test_a_folder_that_may_not_be_listed_is_named(tmp_path, monkeypatch):
    root = dukev_folder.write(tmp_path)
    scandir = os.scandir

    def forbidden(path):
        if str(path).endswith('2201'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scandir(path)

    monkeypatch.setattr(os, 'scandir', forbidden)
    with pytest.raises(PermissionError, match='gallery/0002/2201'):
        dukev.read(root)
    shutil.rmtree(root / 'train')
    with pytest.raises(FileNotFoundError, match='no folder train'):
        dukev.read(root)
