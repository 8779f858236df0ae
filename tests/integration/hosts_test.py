"""What the processes of a run hold together: sums of features, and decoded frames in the memory of their host."""

import json
import sys

import pytest

from tests.fixtures import commands, host_worker


@pytest.fixture(scope='module', params=[2, 4])
def processes(request, command, tmp_path_factory):
    """What each of two or four processes found."""
    out, address = tmp_path_factory.mktemp('hosts'), f'127.0.0.1:{commands.free_port()}'
    worker = [sys.executable, '-m', 'tests.fixtures.host_worker', str(out), address, str(request.param)]
    running = [command.launch([*worker, str(i)], quick=True) for i in range(request.param)]
    for process in running:
        output = process.communicate(timeout=400)[0]
        assert process.returncode == 0, output
    return [json.loads((out / f'{i}.json').read_text()) for i in range(request.param)]


def test_sums_over_processes_need_no_memory_that_grows_with_their_number(processes):
    for found in processes:
        assert found['apart'] < 1e-5
        assert found['grown'] < 0.75 * found['bytes'], found['grown']  # 0.4 to 0.51 seen; gathered, P times the bytes


def test_an_extraction_needs_as_much_memory_on_two_processes_as_on_four(processes):
    clips = 4 * host_worker.CLIPS * len(processes)
    for found in processes:
        assert found['extracted'] == [*range(clips), 0]  # of all processes' clips
        # Sums, and the means that are made of them. Gathered, there would be P times the sums beside them.
        assert found['extraction_grown'] < 2.5 * found['bytes'], found['extraction_grown']


def test_processes_of_a_host_decode_each_frame_once_into_one_memory(processes):
    frames = sum(host_worker.LENGTHS)
    for found in processes:
        assert found['frames'] == list(range(frames))
        assert found['skipped'] == frames
        assert found['written'] == [100 + i for i in range(len(processes))]
        assert found['left'] == []


def test_all_processes_stop_where_one_cannot_decode(processes):
    errors = [found['error'] for found in processes]
    assert 'this frame is corrupt' in errors
    assert all('corrupt' in e or 'could not decode the training frames' in e for e in errors)
