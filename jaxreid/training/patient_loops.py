"""Event loops that let what they began come to its end before they close.

Orbax closes its loop at the first read or write that fails. The others are still under way: they would write into a
folder that is given up, and each would tell the terminal that its loop is closed.
"""

import asyncio

_SECONDS = 60.0  # at most; a file system that hangs must not keep the message from its reader


class _Loop(asyncio.SelectorEventLoop):
    def close(self):
        if not (self.is_closed() or self.is_running()) and (left := asyncio.all_tasks(self)):
            done, _ = self.run_until_complete(asyncio.wait(left, timeout=_SECONDS))
            for task in done:
                task.cancelled() or task.exception()  # which somebody has asked for then
        super().close()


class _Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        return _Loop()


def use() -> None:
    """All loops of this process are such from here on, unless somebody chose others; `asyncio.run` leaves nothing over,
    so that nothing changes for it.
    """
    if type(asyncio.get_event_loop_policy()) is asyncio.DefaultEventLoopPolicy:
        asyncio.set_event_loop_policy(_Policy())
