"""Which tracklets make a training batch: P identities x K tracklets, as a function of (seed, step) alone.

Six meanings of "8 x 4" are in use, and they decide how often a frequent identity is seen:

  tracklet_epoch           AP3D, TCLNet: each identity's shuffled tracklets are cut into groups of K, the remainder is
                           dropped, all groups are shuffled. A batch may hold two groups of one identity.
  tracklet_epoch_distinct  torchreid, TF-CLIP: the same groups, but the identities of a batch differ. The epoch ends
                           when fewer than P identities have groups left.
  camera_epoch_distinct    fast-reid: like it, and the tracklets of a group come from different cameras first.
  identity_epoch           STE-NVAN: each identity once, K tracklets drawn with replacement.
  identity_epoch_cameras   STMN's released code: each identity once, one random tracklet from each of its cameras in
                           random order, the cameras in turn until there are K.
  identity_epoch_unique    VPR: each identity once, K tracklets without replacement where it has K.

In all of them an identity with fewer than K tracklets is drawn with replacement, and an incomplete last batch is
dropped.
"""

from collections.abc import Sequence

import numpy as np

from jaxreid import config


class IdentitySampler:
    """Global step -> tracklets of its batch. Holds no state but a cache; picklable and safe between threads."""

    def __init__(
        self,
        pids: Sequence[int] | np.ndarray,
        cameras: Sequence[int] | np.ndarray,
        *,
        kind: str,
        num_ids: int,
        tracklets_per_id: int,
        seed: int,
    ):
        """Prepares the draw from N training tracklets, of which `pids` and `cameras` [N] are known.

        Raises:
          ValueError: there are fewer identities than P, or no tracklets at all.
        """
        if kind not in config.choices('sampler.kind'):
            raise config.unknown('sampler.kind', kind)
        self._cameras = np.asarray(cameras, np.int64)
        pids = np.asarray(pids, np.int64)
        self._members = [np.flatnonzero(pids == pid) for pid in np.unique(pids)]  # per identity, rows of its tracklets
        if len(self._members) < num_ids:
            raise ValueError(
                f'The training split has {len(self._members)} identities ({len(pids)} tracklets), but a batch needs '
                f'{num_ids} different ones. Set sampler.num_ids to at most {len(self._members)}, or check data.root.'
                if len(pids)
                else 'The training split is empty: it has no tracklets to make batches of. Check data.root.'
            )
        self._kind = kind
        self._num_ids = num_ids
        self._tracklets_per_id = tracklets_per_id
        self._seed = seed
        self._epochs: dict[int, np.ndarray] = {}
        self.steps_per_epoch = self._steps_per_epoch()
        if self.steps_per_epoch == 0:
            raise ValueError(
                f'The groups of {tracklets_per_id} tracklets of the training split do not fill a batch of {num_ids}; '
                'set a smaller sampler.num_ids.'
            )

    def tracklets(self, step: int) -> np.ndarray:
        """[P * K] int32 rows of the training tracklets of global step `step`; an identity's K side by side."""
        epoch, position = divmod(step, self.steps_per_epoch)
        batches = self._epochs.get(epoch)
        if batches is None:
            batches = self._draw_epoch(epoch)
            # Threads that read ahead work on two epochs at once. Rebinding is atomic, so no lock.
            kept = {other: drawn for other, drawn in self._epochs.items() if abs(other - epoch) == 1}
            self._epochs = {**kept, epoch: batches}
        return batches[position]

    def _steps_per_epoch(self) -> int:
        match self._kind:
            case 'identity_epoch' | 'identity_epoch_cameras' | 'identity_epoch_unique':
                return len(self._members) // self._num_ids
            case 'tracklet_epoch':
                groups = sum(max(len(rows) // self._tracklets_per_id, 1) for rows in self._members)
                return groups // self._num_ids
            case _:
                # How many batches of distinct identities come out depends on the draw. Schedules need one number: the
                # length of epoch 0. Later epochs are cut to it, or go on with groups drawn anew.
                return len(self._distinct_batches(self._rng(0)))

    def _draw_epoch(self, epoch: int) -> np.ndarray:
        """[steps_per_epoch, P * K] int32."""
        rng = self._rng(epoch)
        steps = self.steps_per_epoch
        match self._kind:
            case 'tracklet_epoch':
                groups = [group for rows in self._members for group in self._groups(rows, rng)]
                chosen = [groups[i] for i in rng.permutation(len(groups))[: steps * self._num_ids]]
            case 'tracklet_epoch_distinct' | 'camera_epoch_distinct':
                batches = self._distinct_batches(rng)
                while len(batches) < steps:
                    batches += self._distinct_batches(rng)
                chosen = [group for batch in batches[:steps] for group in batch]
            case _:
                order = rng.permutation(len(self._members))[: steps * self._num_ids]
                chosen = [self._one_group(self._members[i], rng) for i in order]
        return np.asarray(chosen, np.int32).reshape(steps, -1)

    def _distinct_batches(self, rng: np.random.Generator) -> list[list[np.ndarray]]:
        """One pass over all groups: batches of P groups of different identities."""
        groups = [self._groups(rows, rng) for rows in self._members]
        available = list(range(len(groups)))
        batches = []
        while len(available) >= self._num_ids:
            picked = rng.choice(available, size=self._num_ids, replace=False)
            batches.append([groups[i].pop() for i in picked])
            available = [i for i in available if groups[i]]
        return batches

    def _groups(self, rows: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """All groups of K of one identity, for the kinds whose epoch visits every tracklet."""
        k = self._tracklets_per_id
        if len(rows) < k:
            return [self._one_group(rows, rng)]
        if self._kind == 'camera_epoch_distinct':
            rows = self._deal_by_camera(rows, rng)
        else:
            rows = rng.permutation(rows)
        return [rows[start : start + k] for start in range(0, len(rows) - k + 1, k)]

    def _one_group(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """[K] tracklets of one identity, for the kinds that visit it once and for those with fewer than K."""
        k = self._tracklets_per_id
        match self._kind:
            case 'identity_epoch_cameras' | 'camera_epoch_distinct':
                cameras = rng.permutation(np.unique(self._cameras[rows]))
                turns = np.resize(cameras, k)
                return np.asarray([rng.choice(rows[self._cameras[rows] == camera]) for camera in turns])
            case 'identity_epoch_unique':
                return rng.choice(rows, size=k, replace=len(rows) < k)
            case _:
                return rng.choice(rows, size=k)

    def _deal_by_camera(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """All rows, in groups of K that hold as many cameras as those with tracklets left allow."""
        left = {
            camera: rng.permutation(rows[self._cameras[rows] == camera]).tolist()
            for camera in np.unique(self._cameras[rows]).tolist()
        }
        dealt: list[int] = []
        while left:
            group: list[int] = []
            while left and len(group) < self._tracklets_per_id:
                for camera in rng.permutation(list(left))[: self._tracklets_per_id - len(group)].tolist():
                    group.append(left[camera].pop())
                    if not left[camera]:
                        del left[camera]
            dealt += group
        return np.asarray(dealt)

    def _rng(self, epoch: int) -> np.random.Generator:
        # Five words: NumPy pads shorter seeds with zeros, so (seed, epoch) would be the stream of the clip drawn with
        # (seed, epoch, 0, 0).
        return np.random.default_rng((self._seed, epoch, 0, 0, 1))
