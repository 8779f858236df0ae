"""log.txt: what the terminal was told, once, below the command that said it."""

import re
import sys
import time

import pytest
import tqdm

from jaxreid.process import metrics_log, transcript


def test_lines_are_kept_and_bars_are_not(tmp_path, capsys):
    with transcript.kept(tmp_path):
        for step in tqdm.tqdm(range(2), desc='outer', mininterval=0):
            for _ in tqdm.tqdm(range(2), desc='inner', mininterval=0, leave=False):
                time.sleep(0.01)
            metrics_log.say(f'step {step}')
            print('a warning', file=sys.stderr)
        print('\n\x1b[1mbold\x1b[0m')
    header, *lines = (tmp_path / 'log.txt').read_text().splitlines()
    assert re.fullmatch(r'=== \d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: .+', header)
    assert lines == ['step 0', 'a warning', 'step 1', 'a warning', '', 'bold']
    said = capsys.readouterr()
    assert 'step 1\n' in said.out
    assert 'outer: 100%' in said.err
    assert sys.stdout.write.__qualname__ != '_Copied.write'


def test_a_second_command_goes_on_below_the_first_and_its_error_is_the_last_line(tmp_path):
    def command(number):
        with transcript.kept(tmp_path):
            print(f'command {number}')
            raise ValueError(f'bad {number}')

    for number in (1, 2):
        with pytest.raises(ValueError, match='bad'):
            command(number)
    lines = (tmp_path / 'log.txt').read_text().splitlines()
    assert [line[:3] for line in lines] == ['===', 'com', 'bad'] * 2
    assert lines[-2:] == ['command 2', 'bad 2']


def test_a_full_disk_does_not_silence_the_terminal(tmp_path, capsys):
    (tmp_path / 'log.txt').symlink_to('/dev/full')
    with transcript.kept(tmp_path):
        print('still said')
    assert capsys.readouterr().out == 'still said\n'


def test_a_log_that_cannot_be_opened_is_named(tmp_path):
    (tmp_path / 'log.txt').mkdir()
    with (
        pytest.raises(OSError, match=r'cannot write .*log\.txt.*choose a writable --workdir'),
        transcript.kept(tmp_path),
    ):
        pass


class _Gone:
    """A terminal whose reader has ended."""

    def write(self, *text):
        raise BrokenPipeError

    flush = isatty = write


def test_where_nobody_reads_the_terminal_the_file_is_still_written(tmp_path, monkeypatch):
    for stream in ('stdout', 'stderr'):
        monkeypatch.setattr(sys, stream, _Gone())
    with transcript.kept(tmp_path):
        print('step 3: saved', flush=True)
        print('and more', file=sys.stderr, flush=True)
    assert (tmp_path / 'log.txt').read_text().splitlines()[-2:] == ['step 3: saved', 'and more']
