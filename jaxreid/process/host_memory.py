"""How much memory of this host is free to be used."""

import pathlib

import psutil

_CGROUP = pathlib.Path('/sys/fs/cgroup')  # of a container, version 2; its limit may be far below what the host has


def available_bytes() -> int:
    """Bytes that can be allocated without swapping, in this container where it has a limit."""
    free = psutil.virtual_memory().available
    try:
        limit = int((_CGROUP / 'memory.max').read_text())  # 'max' where there is none
        used = int((_CGROUP / 'memory.current').read_text())
        counts = dict(line.split() for line in (_CGROUP / 'memory.stat').read_text().splitlines())
        return min(free, limit - used + int(counts['inactive_file']))  # cached files leave when room is needed
    except (OSError, ValueError, KeyError):
        return free
