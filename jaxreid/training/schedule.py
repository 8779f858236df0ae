"""What the host does after which training step, and which steps go to the devices together."""

import dataclasses
from collections.abc import Callable, Iterator

from jaxreid import config


@dataclasses.dataclass(frozen=True)
class Schedule:
    """The steps of a run, counted from 1, and what follows them."""

    settings: config.Train
    steps_per_epoch: int

    @property
    def last_step(self) -> int:
        """Where training ends."""
        all_steps = self.settings.epochs * self.steps_per_epoch
        return min(all_steps, self.settings.max_steps or all_steps)

    def monitored(self, at: int) -> bool:
        """Whether the network is evaluated after a step."""
        every = self.settings.eval_every_epochs * self.steps_per_epoch
        return bool(every) and at > 0 and at % every == 0

    def logged(self, at: int) -> bool:
        """Whether the metrics of a step are reported."""
        return at % self.settings.log_every_steps == 0 or at == self.last_step

    def kept(self, at: int) -> bool:
        """Whether a checkpoint follows a step."""
        return self.monitored(at) or at == self.last_step or at % self.settings.checkpoint_every_steps == 0

    def dispatches(self, start_step: int) -> Iterator[range]:
        """The steps after `start_step` by dispatch."""
        together = self.settings.steps_per_dispatch
        return dispatches(start_step, self.last_step, together, lambda at: self.logged(at) or self.kept(at))


def dispatches(start_step: int, last_step: int, most: int, pauses: Callable[[int], bool]) -> Iterator[range]:
    """Steps that go to the devices together: `most`, or one where a step before the last of them needs the host.

    Nothing between, for every number of steps is a program of its own, which takes long to compile.

    Args:
      start_step, last_step: the steps after the first to the second are made.
      most: steps of a dispatch.
      pauses: whether the host has something to do after a step; it has after `last_step`.
    """
    while start_step < last_step:
        steps = range(start_step + 1, start_step + 1 + most)
        steps = steps[:1] if any(map(pauses, steps[:-1])) else steps
        yield steps
        start_step = steps[-1]
