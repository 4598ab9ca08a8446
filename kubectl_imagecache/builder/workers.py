"""Brings all layers of a job, several at once, each worker in its own process."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from kubectl_imagecache.builder.failures import CRASHED, BuildFailed, printable
from kubectl_imagecache.builder.job import Job
from kubectl_imagecache.builder.layers import LayerDone, LayerTask, bring
from kubectl_imagecache.builder.registry import Registry
from kubectl_imagecache.builder.report import Reporter

_LEAST = 8  # a registry often limits each connection, not the VM
_MOST = 32
_TELL_S = 0.25
_GRACE_S = 5.0


class _Worker:
    """One process and the task that it has now."""

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self.process = process
        self.connection = connection
        self.task: LayerTask | None = None
        self.bytes = 0


def bring_all(
    job: Job, tasks: Sequence[LayerTask], reporter: Reporter, on_done: Callable[[LayerDone], None]
) -> dict[str, LayerDone]:
    """Do TASKS, the largest first; by chain ID. Raises the first BuildFailed, all workers ended by then."""
    pending = sorted(tasks, key=lambda task: task.layer.size)
    total = sum(task.layer.size for task in tasks)
    done: dict[str, LayerDone] = {}
    finished_bytes = 0
    workers: list[_Worker] = []
    try:
        for _ in range(min(len(tasks), job.workers or _usual_number())):
            workers.append(_start(job, [worker.connection for worker in workers]))
        for worker in workers:
            _give(worker, pending)
        while len(done) < len(tasks):
            for connection in wait([worker.connection for worker in workers], timeout=1.0):
                worker = next(w for w in workers if w.connection is connection)
                result = _hear(worker, reporter)
                if result is not None:
                    done[result.chain_id] = result
                    finished_bytes += worker.task.layer.size if worker.task else 0
                    on_done(result)
                    _give(worker, pending)
            busy = {w.task.layer.chain_id: (w.bytes, w.task.layer.size) for w in workers if w.task}
            reporter.progress(finished_bytes + sum(now for now, _ in busy.values()), total, busy)
        return done
    finally:
        _end(workers)


def _usual_number() -> int:
    return min(_MOST, max(_LEAST, 2 * len(os.sched_getaffinity(0))))


def _start(job: Job, others: list[Connection]) -> _Worker:
    # Fork: the program may be a zip file that is gone by now, and nothing here has threads yet.
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_work, args=(job, theirs, [*others, ours]), daemon=True)
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _give(worker: _Worker, pending: list[LayerTask]) -> None:
    worker.task = pending.pop() if pending else None
    worker.bytes = 0
    if worker.task is not None:
        worker.connection.send(worker.task)


def _hear(worker: _Worker, reporter: Reporter) -> LayerDone | None:
    try:
        kind, what = worker.connection.recv()
    except (EOFError, OSError) as error:
        worker.process.join(_GRACE_S)
        code = worker.process.exitcode
        how = signal.Signals(-code).name if code is not None and code < 0 else f"status {code}"
        raise BuildFailed(
            CRASHED, f"a worker died ({how})", "SIGKILL is often a lack of memory: take a larger machine type"
        ) from error
    if kind == "bytes":
        worker.bytes = what
    elif kind == "retry":
        reporter.say("retry", why=what)
    elif isinstance(what, BuildFailed):
        raise what
    elif isinstance(what, LayerDone):
        return what
    return None


def _end(workers: list[_Worker]) -> None:
    for worker in workers:
        worker.connection.close()
        if worker.task is not None:
            worker.process.terminate()
    for worker in workers:
        worker.process.join(_GRACE_S)
        if worker.process.is_alive():
            worker.process.kill()
            worker.process.join()


def _work(job: Job, connection: Connection, others: list[Connection]) -> None:
    """A worker's life: tasks in, results out, until the other end closes."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for other in others:
        other.close()
    registries: dict[str, Registry] = {}
    told_at = 0.0

    def tell(kind: str, what: object) -> None:
        # The other end is gone only if the build has ended, and then this process ends too.
        with contextlib.suppress(BrokenPipeError):
            connection.send((kind, what))

    def on_bytes(count: int) -> None:
        nonlocal told_at
        if time.monotonic() - told_at >= _TELL_S:
            told_at = time.monotonic()
            tell("bytes", count)

    while True:
        try:
            task: LayerTask = connection.recv()
        except EOFError:
            return
        host = task.layer.host
        try:
            if host not in registries:
                registries[host] = Registry(job.access(host), on_retry=lambda why: tell("retry", why))
            tell("done", bring(task, registries[host], on_bytes))
        except BuildFailed as failure:
            tell("failed", failure)
        except Exception as error:  # noqa: BLE001 - the client sees nothing but the report
            words = printable(f"{type(error).__name__}: {error}")
            tell("failed", BuildFailed(CRASHED, words, "please report this"))
