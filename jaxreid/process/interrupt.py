"""Ctrl-C and SIGTERM as a polite request: finish the step, save, leave with 128 + the signal's number."""

import contextlib
import os
import signal
from collections.abc import Iterator

import jax
from jax.experimental import multihost_utils


class Interrupted(KeyboardInterrupt):
    """The run was asked to stop and has saved what it needs to continue."""

    def __init__(self, number: int, message: str):
        """`number`: of the signal."""
        super().__init__(message)
        self.number = number


class Requests:
    """Signals received so far. A second one gets through at once."""

    def __init__(self) -> None:
        """Nothing asked for yet."""
        self.number: int | None = None
        self._at_once = False

    def _receive(self, number: int, frame: object) -> None:
        if self._at_once or self.number is not None:
            raise Interrupted(number, 'stopped; run the same command again to continue')
        self.number = number
        with contextlib.suppress(OSError):  # Ctrl-C ends the `tee` that the terminal was read by as well
            os.write(2, b'\nstopping after this step; once more to stop at once\n')
        if jax.process_count() > 1 and number == signal.SIGINT:
            # The distributed runtime listens to SIGTERM and lets all processes agree on a last step.
            os.kill(os.getpid(), signal.SIGTERM)

    def after(self, dispatch: int) -> bool:
        """Whether to stop after this dispatch; with several processes they agree on one (a signal to any of them).

        `dispatch` counts by one: processes agree on the next number, so none may be left out.
        """
        if jax.process_count() > 1:
            if multihost_utils.reached_preemption_sync_point(dispatch):
                self.number = self.number or int(signal.SIGTERM)
                return True
            return False
        return self.number is not None

    def stopped(self, step: int) -> Interrupted:
        """What to raise once the state after `step` is saved."""
        return Interrupted(
            self.number or signal.SIGTERM, f'stopped after step {step}, saved; run the same command again to continue'
        )

    @contextlib.contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, where nothing is left to save, a signal raises `Interrupted` immediately."""
        self._at_once = True
        try:
            if self.number is not None:
                raise Interrupted(self.number, 'stopped; run the same command again to continue')
            yield
        finally:
            self._at_once = False


@contextlib.contextmanager
def listen() -> Iterator[Requests]:
    """Collects signals for the length of the block."""
    requests = Requests()
    # With several processes the distributed runtime listens to SIGTERM itself and tells all of them.
    numbers = [signal.SIGINT] if jax.process_count() > 1 else [signal.SIGINT, signal.SIGTERM]
    old = {n: signal.signal(n, requests._receive) for n in numbers}
    try:
        yield requests
    finally:
        for n, handler in old.items():
            signal.signal(n, handler)
