"""Weak scaling, predicted from what the compiled training step sends: 8 to 1,024 devices with 32 clips each.

    python -m benchmarks.scaling [--config configs/strf_mars.py] [--step-ms 11.8]

Compiles the step for 8 simulated devices of this CPU, counts its collectives (`benchmarks/collectives.py`) and puts
their bytes into the model below. Nothing is run on more than one real device: the figures are predictions.

The model. A device's own work takes the same time T on any number of devices. One all-reduce of s bytes takes
2 (n - 1) / n * s / bandwidth + latency, where latency grows with log2(n) on GPUs and with the length of a side on a
torus. The gradient's all-reduce runs beside the backward pass (two thirds of T), only what is longer counts. All other
collectives are waited for: the statistics of BatchNorm layers one after the other, the gather for mining with n - 1
blocks, or the ring with n - 1 hops, each as long as the slower of sending and mining a block. No jitter, no stragglers.
"""

import argparse
import dataclasses
import math
import os
import runpy

DEVICES = (8, 64, 256, 1024)
ROW_BYTES = 2048 * 4  # an embedding in float32
MINE_BLOCK = 10e-6  # seconds to mine one block of the ring: a few small kernels, assumed
FORMS = (  # what, train.bn_groups on 8 devices, loss.mining
    ('BatchNorm over all devices, gather', 1, 'gather'),
    ('BatchNorm of each device, gather', 8, 'gather'),
    ('BatchNorm of each device, ring', 8, 'ring'),
)


@dataclasses.dataclass(frozen=True)
class Links:
    """Assumed links: bandwidths in bytes/s per device, latencies in seconds.

    inside, between: of devices of a node and of different ones. node: devices. A torus has `node` 0.
    """

    name: str
    inside: float
    between: float
    hop_inside: float
    hop_between: float
    node: int

    def bandwidth(self, n: int) -> float:
        return self.inside if not self.node or n <= self.node else self.between

    def latency(self, n: int) -> float:
        """Of one small all-reduce."""
        if not self.node:
            return 2 * 1.5 * n ** (1 / 3) * self.hop_inside
        doublings = math.log2(min(n, self.node)), math.log2(max(1, n / self.node))
        return doublings[0] * self.hop_inside + doublings[1] * self.hop_between

    def hop(self, n: int) -> float:
        return self.hop_inside if not self.node or n <= self.node else self.hop_between


# NVLink 4 and 400 Gb/s InfiniBand per GPU; one link of TPU v5p. Effective figures, assumed, not measured.
LINKS = (
    Links('GPU, nodes of 8', 360e9, 45e9, 4e-6, 7e-6, 8),
    Links('TPU torus', 90e9, 90e9, 1e-6, 1e-6, 0),
)


def efficiency(
    n: int, links: Links, *, step: float, gradient: int, statistics: tuple[int, int], rows: int, mining: str,
    mine_block: float,
) -> float:  # fmt: skip
    """T over the time of a step on n devices.

    Args:
      n: devices.
      links: between them.
      step: T in seconds.
      gradient: bytes of the gradient.
      statistics: number and bytes of the all-reduces that are waited for.
      rows: clips per device.
      mining: 'gather' | 'ring'.
      mine_block: seconds to mine one block of the ring.
    """
    share = 2 * (n - 1) / n / links.bandwidth(n)
    shown = max(0.0, share * gradient + links.latency(n) - 2 / 3 * step)
    waited = statistics[0] * links.latency(n) + share * statistics[1]
    block = rows * ROW_BYTES / links.bandwidth(n)
    match mining:
        case 'gather':  # forward, and the gradient's way back
            mined = 2 * ((n - 1) * block + links.latency(n))
        case 'ring':  # forward block by block beside the mining, backward with the slopes alone
            mined = (n - 1) * (max(block + links.hop(n), mine_block) + block + links.hop(n))
    return step / (step + shown + waited + mined)


def predict(traffic: dict, *, step: float, gradient: int, rows: int, mining: str, links: Links) -> list[float]:
    """Efficiency at DEVICES of a program whose collectives are `traffic` (`Collectives` as a dict)."""
    # All but one of the all-reduces, which carries the gradient, stand in the way of the next layer.
    statistics = traffic['count']['all-reduce'] - 1, traffic['bytes']['all-reduce'] - gradient
    return [
        efficiency(
            n, links, step=step, gradient=gradient, statistics=statistics, rows=rows, mining=mining,
            mine_block=MINE_BLOCK,
        )
        for n in DEVICES
    ]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or '').split('\n')[0])
    parser.add_argument('--config', default='configs/strf_mars.py', help='config file, with :variant')
    parser.add_argument('--step-ms', type=float, default=11.8, help="a device's own step; default: docs/performance.md")
    options = parser.parse_args()
    # Before JAX starts; the number of collectives does not depend on how well the rest is compiled.
    os.environ['XLA_FLAGS'] = '--xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0'
    os.environ['JAX_PLATFORMS'] = 'cpu'
    from benchmarks import collectives, mars_size

    path, _, variant = options.config.partition(':')
    module = runpy.run_path(path)
    rows = []
    for what, groups, mining in FORMS:
        e = module['get_config'](variant) if variant else module['get_config']()
        e.data.height, e.data.width, e.sampler.frames = 64, 32, 4  # no collective depends on the picture
        e.train.bn_groups, e.loss.mining = groups, mining
        traffic, gradient = collectives.of_train_step(e, 8)
        traffic = dataclasses.asdict(traffic)
        clips = e.sampler.num_ids * e.sampler.tracklets_per_id
        predicted = {
            links.name: predict(
                traffic, step=options.step_ms / 1e3, gradient=gradient, rows=clips, mining=mining, links=links
            )
            for links in LINKS
        }
        rows.append(
            {'what': what, 'config': options.config, 'step_ms': options.step_ms, **traffic, 'predicted': predicted}
        )
        print(
            f'{what}: '
            + ', '.join(f'{n} {k} ({traffic["bytes"][k] / 2**20:.2f} MiB)' for k, n in traffic['count'].items())
        )
    print(f'\npredicted weak scaling, {options.step_ms} ms a step on one device, 32 clips each; devices: {DEVICES}')
    for row in rows:
        for name, values in row['predicted'].items():
            print(f'{row["what"]:<40}{name:<20}' + ''.join(f'{v:8.0%}' for v in values))
    print(mars_size.write('scaling', rows))


if __name__ == '__main__':
    main()
