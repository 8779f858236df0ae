"""Metrics on their way from the devices to the host, and how fast training goes meanwhile."""

import collections
import dataclasses
import math
import time

import jax
import jax.numpy as jnp
import numpy as np

from jaxreid.training import checkpoint


class NonFiniteLoss(ValueError):
    """A term of the objective, or the gradient, is no longer a number."""


class InFlight:
    """Metrics that are still on the device: waiting for them would keep the device from the next steps."""

    def __init__(self, checkpoints: checkpoint.Checkpoints, dtype: jnp.dtype):
        """`checkpoints`: of the run, named where it has to stop. `dtype`: that it computes in."""
        self._checkpoints, self._dtype = checkpoints, dtype
        self._pending: collections.deque[tuple[range, dict[str, jax.Array]]] = collections.deque()

    def add(self, steps: range, metrics: dict[str, jax.Array]) -> None:
        """Takes the metrics of a dispatch, [S] each."""
        self._pending.append((steps, metrics))

    def fetch(self, *, leave: int) -> dict[str, float]:
        """The metrics of the newest step but those of the `leave` newest dispatches; empty where nothing is fetched.

        Raises:
          NonFiniteLoss: one that is fetched is not finite; names step, terms and the last good checkpoint.
        """
        newest: dict[str, float] = {}
        while len(self._pending) > leave:
            steps, on_device = self._pending.popleft()
            metrics = jax.device_get(on_device)
            if problem := not_finite(steps, metrics):
                self._checkpoints.wait()
                good = self._checkpoints.latest()
                kept = 'no checkpoint is written yet' if good is None else f'the last good checkpoint is step {good}'
                coarse = jnp.finfo(self._dtype).bits < 32
                finer = ', or --config.train.compute_dtype=float32' if coarse else ''
                raise NonFiniteLoss(
                    f'{problem}; {kept}. Try a lower --config.optim.lr or a warm-up{finer} in a new --workdir.'
                )
            newest = {k: float(v[-1]) for k, v in metrics.items()}
        return newest


def not_finite(steps: range, metrics: dict[str, np.ndarray]) -> str:
    """Names the first of the steps whose metrics, [S] each, are not all finite, and which are not; '' where all are."""
    for i, at in enumerate(steps):
        if terms := [f'{k} is {v[i]}' for k, v in metrics.items() if not math.isfinite(v[i])]:
            return f'step {at}: {", ".join(terms)}'
    return ''


@dataclasses.dataclass
class Window:
    """Rates since the last report."""

    clips_per_step: int
    steps: int = 0
    waited: float = 0.0
    since: float = dataclasses.field(default_factory=time.monotonic)

    def add(self, waited: float, steps: int) -> None:
        """Counts steps that together waited so many seconds for their batches."""
        self.steps += steps
        self.waited += waited

    def restart(self) -> None:
        """Begins anew."""
        self.steps, self.waited, self.since = 0, 0.0, time.monotonic()

    def rates(self) -> dict[str, float]:
        """Clips per second and the share of time spent waiting for data; begins anew."""
        seconds = max(time.monotonic() - self.since, 1e-9)
        rates = {
            'clips_per_second': self.steps * self.clips_per_step / seconds,
            'waiting_for_data': min(self.waited / seconds, 1.0),
        }
        self.restart()
        return rates
