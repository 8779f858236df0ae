"""Commands end with a message and a status, whatever a user did."""

import signal

import pytest

from jaxreid import config
from jaxreid.process import exit_status, interrupt
from jaxreid.training import checkpoint, in_flight


def raising(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize(
    ('error', 'status', 'message'),
    [
        (ValueError('sampler.num_ids is 0'), 1, 'sampler.num_ids is 0'),
        (config.ConfigError('no such field'), 1, 'no such field'),
        (checkpoint.CheckpointError('no checkpoint under x'), 1, 'no checkpoint under x'),
        (in_flight.NonFiniteLoss('the loss is nan'), 1, 'the loss is nan'),
        (FileNotFoundError(2, 'No such file or directory', 'a.npz'), 1, "No such file or directory: 'a.npz'"),
        (ImportError("needs pip install 'jaxreid[torch]'"), 1, "needs pip install 'jaxreid[torch]'"),
        (KeyboardInterrupt(), 130, 'interrupted; run the same command again'),
        (interrupt.Interrupted(signal.SIGTERM, 'stopped at step 3'), 143, 'stopped at step 3'),
    ],
)
def test_what_a_user_can_mend_is_one_message_and_a_status(capsys, monkeypatch, error, status, message):
    monkeypatch.delenv('JAXREID_TRACEBACK', raising=False)
    assert exit_status.run(raising(error)) == status
    shown = capsys.readouterr()
    assert (shown.out, shown.err.startswith('\njaxreid: '), message in shown.err) == ('', True, True)


def test_errors_of_ours_keep_their_traceback(monkeypatch):
    with pytest.raises(AssertionError):
        exit_status.run(raising(AssertionError('ours')))
    monkeypatch.setenv('JAXREID_TRACEBACK', '1')
    with pytest.raises(ValueError, match='shown'):
        exit_status.run(raising(ValueError('shown')))


def test_a_command_that_returns_nothing_succeeded():
    assert [exit_status.run(lambda: None), exit_status.run(lambda: 3)] == [0, 3]
