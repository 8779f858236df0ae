"""Files and folders appear whole or not at all, and one process at a time is at a folder."""

import os
import pathlib
import subprocess
import sys
import threading
from concurrent import futures

import pytest

from jaxreid.process import atomic

ROOT = pathlib.Path(__file__).resolve().parents[2]


def write(path, text):
    """Writes through the context manager."""
    with atomic.file(path) as file:
        file.write(text.encode())


def test_a_file_is_replaced_whole_and_no_temporary_stays(tmp_path):
    path = tmp_path / 'new' / 'results.json'
    write(path, 'one')
    write(path, 'two')
    assert path.read_text() == 'two'
    assert os.listdir(path.parent) == ['results.json']


def test_threads_that_write_one_file_do_not_take_it_from_each_other(tmp_path):
    path, both = tmp_path / 'flow.npy', threading.Barrier(2, timeout=5)

    def write_beside_the_other(text):
        with atomic.file(path) as file:
            both.wait()
            file.write(text)

    with futures.ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(write_beside_the_other, text) for text in (b'flow', b'flow')]:
            done.result()
    assert (os.listdir(tmp_path), path.read_bytes()) == (['flow.npy'], b'flow')


def test_a_failed_write_names_the_file_and_keeps_the_old_one(tmp_path):
    (tmp_path / 'results.json').mkdir()
    with pytest.raises(OSError, match=r'cannot write .*results.json'):
        write(tmp_path / 'results.json', 'text')
    assert os.listdir(tmp_path) == ['results.json']


def test_a_path_below_a_file_is_named(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(OSError, match=r'cannot write .*results.json'):
        write(tmp_path / 'file' / 'results.json', 'text')


def test_a_durable_file_is_on_disk_before_its_name_is(tmp_path, monkeypatch):
    path, there = tmp_path / 'records', []
    monkeypatch.setattr(os, 'fsync', lambda number: there.append((os.fstat(number).st_size, path.exists())))
    for durable, expected in ((False, []), (True, [(4, False)])):
        with atomic.file(path, durable=durable) as file:
            file.write(b'text')
        assert there == expected
        path.unlink()


def test_a_file_that_is_not_finished_does_not_appear(tmp_path):
    with pytest.raises(TypeError), atomic.file(tmp_path / 'flow.npy') as file:
        file.writelines([b'half', None])
    assert os.listdir(tmp_path) == []


def test_a_folder_appears_when_its_block_ends_in_place_of_an_empty_one(tmp_path):
    (tmp_path / 'out').mkdir()
    with atomic.folder(tmp_path / 'out') as partial:
        (partial / 'file').write_text('text')
        assert os.listdir(tmp_path / 'out') == []
    assert os.listdir(tmp_path) == ['out']
    assert (tmp_path / 'out' / 'file').read_text() == 'text'


def test_a_folder_that_is_not_finished_or_meets_another_leaves_nothing(tmp_path):
    (tmp_path / 'other').mkdir()
    (tmp_path / 'other' / 'file').write_text('kept')
    with pytest.raises(KeyError), atomic.folder(tmp_path / 'out'):
        raise KeyError
    with pytest.raises(OSError, match='not empty'), atomic.folder(tmp_path / 'other') as partial:
        (partial / 'file').touch()
    assert os.listdir(tmp_path) == ['other']
    assert (tmp_path / 'other' / 'file').read_text() == 'kept'


def test_what_a_killed_process_left_goes_and_what_a_running_one_makes_stays(tmp_path):
    left = [tmp_path / f'.{name}.partial-abcd0123' for name in ('cut', 'cutter', 'cut.partial-x')]
    for path in left:
        (path / 'track').mkdir(parents=True)
    with atomic.folder(tmp_path / 'cut') as running, atomic.folder(tmp_path / 'cut'):
        assert sorted(tmp_path.glob('.cut.partial-????????'))[0] != left[0]
        assert running.is_dir()
        (tmp_path / 'cut').mkdir()  # what the inner block makes replaces it, and the outer block that
    assert sorted(os.listdir(tmp_path)) == sorted(['cut', left[1].name, left[2].name])


def test_what_killed_processes_left_of_files_is_removed_below_a_folder(tmp_path):
    kept = [tmp_path / '.name.json.partial-none', tmp_path / 'info' / 'name.json']
    for path in (*kept, tmp_path / 'info' / '.name.json.partial-0123abcd'):
        path.parent.mkdir(exist_ok=True)
        path.write_text('text')
    with atomic.file(tmp_path / 'running.json') as file:
        atomic.remove_stale(tmp_path)
        file.write(b'{}')
    kept.append(tmp_path / 'running.json')
    assert sorted(p for p in tmp_path.rglob('*') if p.is_file()) == sorted(kept)


@pytest.mark.parametrize('name', ['', '.lock'])
def test_one_at_a_time_is_inside_a_lock(tmp_path, name):
    path, order = tmp_path / name, []

    def second():
        with atomic.lock(path, busy=lambda: order.append('waits')) as held:
            order.append(held)

    with atomic.lock(path) as held, atomic.lock(path, wait=False) as twice:
        assert (held, twice) == (True, False)
        thread = threading.Thread(target=second)
        thread.start()
        while not order:
            pass
        order.append('leaves')
    thread.join()
    assert order == ['waits', 'leaves', True]


def test_whoever_finds_a_lock_taken_may_refuse(tmp_path):
    def refuse():
        raise OSError('at work')

    with atomic.lock(tmp_path), pytest.raises(OSError, match='at work'), atomic.lock(tmp_path, busy=refuse):
        pass


def test_a_second_process_is_kept_out_of_a_folder_until_the_first_ends_however_it_does(tmp_path):
    inside = (
        'import os, pathlib, sys, time\nfrom jaxreid.process import atomic\n'
        'with atomic.alone(pathlib.Path(sys.argv[1]), doing="training in"):\n'
        '    print(os.getpid(), flush=True)\n    time.sleep(60)'
    )
    first = subprocess.Popen([sys.executable, '-c', inside, tmp_path], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    number = first.stdout.readline().strip()
    with pytest.raises(OSError, match=rf'process {number} on .* is training in {tmp_path}; wait') as error:
        atomic.alone(tmp_path, doing='training in').__enter__()
    assert len(str(error.value).splitlines()) == 1
    (tmp_path / '.results.json.partial-0123abcd').touch()
    first.kill()
    first.communicate()
    with atomic.alone(tmp_path, doing='training in'):
        assert os.listdir(tmp_path) == ['.lock']
    with atomic.alone(tmp_path, doing='training in'):
        pass


@pytest.mark.parametrize('mask', [0o077, 0o002])
def test_files_and_folders_are_as_open_as_the_umask_says(tmp_path, mask):
    before = os.umask(mask)
    try:
        write(tmp_path / 'file', 'text')
        with atomic.folder(tmp_path / 'folder'), atomic.lock(tmp_path / '.lock'):
            pass
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {'file': 0o666 & ~mask, 'folder': 0o777 & ~mask, '.lock': 0o666 & ~mask}
