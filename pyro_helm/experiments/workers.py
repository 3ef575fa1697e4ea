"""Who carries the runs of a study out: this process, one after another, or the workers of a Dask cluster."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pyro_helm.experiments.own_names import importable_folders
from pyro_helm.experiments.progress_bar import StudyBar
from pyro_helm.experiments.run_folders import (
    Outcome,
    TrainingInterrupted,
    carried_out,
    failed,
    folder_of,
    outcome_in,
)
from pyro_helm.experiments.run_plans import Run
from pyro_helm.runtime.signals import end_blocks_of

OnDone = Callable[[Run, Outcome], None]

SECONDS_BETWEEN_LOOKS = 0.1
SECONDS_TO_ANSWER = 5.0
SECONDS_TO_SAVE = 10.0
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_INSTALL = "pip install 'pyro-helm[study]'"
_BEGUN, _OVER = "pyro-helm-begun", "pyro-helm-over"
"""Topics of the scheduler's log on which a worker says which run it begins, and what came of it."""

_THREAD_OF: dict[str, int] = {}
"""In a worker, the thread of each run that it is at, by the run's key."""


def number_of_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def carry_out_here(runs: Sequence[Run], study: Path, bar: StudyBar, on_done: OnDone, *, raising: bool = False) -> None:
    """One run after another, in this process; ``raising`` its errors, which otherwise are outcomes."""
    for run in runs:
        bar.show([str(run)])
        outcome = carried_out(run, study, raising=raising)
        bar.advance()
        on_done(run, outcome)


def carry_out_on(client: Any, runs: Sequence[Run], study: Path, bar: StudyBar, on_done: OnDone) -> None:
    """On the workers of a Dask cluster, which see the study's folder under the same path.

    A run whose worker is killed is begun again on another, where it goes on from what is saved. One that kills its
    workers again and again fails, and the others go on. Ctrl-C lets the runs that are being trained save where they
    are, within :data:`SECONDS_TO_SAVE`.

    Raises:
        ConnectionError: if the scheduler is lost; what is done is on disk.

    """
    study = study.absolute()
    client.register_plugin(_imports_from(importable_folders()))
    doing: dict[str, str] = {}
    told: dict[str, Outcome] = {}
    client.subscribe_topic(_BEGUN, lambda event: doing.update(event[1]))
    client.subscribe_topic(_OVER, lambda event: told.update(event[1]))
    futures = {client.submit(_carried_out, run, study, key=_key(run), pure=False): run for run in runs}
    try:
        while futures:
            time.sleep(SECONDS_BETWEEN_LOOKS)
            for future in [future for future in futures if future.done()]:
                run = futures.pop(future)
                outcome = told.pop(future.key, None) or _outcome(future, run, study)
                bar.advance()
                on_done(run, outcome)
            if futures and client.status not in ("running", "connecting"):
                raise _lost(len(futures))
            bar.show(_at_work(doing, {future.key: str(run) for future, run in futures.items()}))
    except KeyboardInterrupt:
        _end(client, futures)
        raise
    finally:
        if client.status == "running":
            client.unsubscribe_topic(_BEGUN)
            client.unsubscribe_topic(_OVER)
            client.cancel(list(futures), force=True)


def _key(run: Run) -> str:
    """A run's name for Dask, which begins alike for all runs.

    Dask learns from the beginning how long its tasks take. With a beginning for each run it does not know it of those
    that wait, and leaves them with a worker that is busy while another has nothing to do.
    """
    return f"run-{run.digest}-{run}"


def _carried_out(run: Run, study: Path) -> None:
    """In a worker: a run carried out, after saying that it is begun, and then what came of it unless it was to end.

    It is said and not returned: Dask asks the worker for what is returned, for a minute and a half if it is gone.
    """
    from distributed import get_worker

    worker = get_worker()
    key = worker.get_current_task()
    worker.log_event(_BEGUN, {worker.address: key})
    _THREAD_OF[key] = threading.get_ident()
    try:
        worker.log_event(_OVER, {key: carried_out(run, study)})
    except TrainingInterrupted:
        pass
    finally:
        del _THREAD_OF[key]


def _end(client: Any, futures: Mapping[Any, Run]) -> None:
    """Begin no more of the runs, and let those under way save; no longer than a while, as a worker may not answer."""
    if client.status != "running":
        return
    client.cancel(list(futures), force=True)
    asking = threading.Thread(target=client.run, args=(_saved, [future.key for future in futures]), daemon=True)
    asking.start()
    asking.join(SECONDS_TO_SAVE + SECONDS_TO_ANSWER)


async def _saved(keys: Sequence[str]) -> None:
    """In a worker: end the trainings of these runs as Ctrl-C does, and wait until they have saved."""
    threads = [_THREAD_OF[key] for key in keys if key in _THREAD_OF]
    until = time.monotonic() + SECONDS_TO_SAVE
    while any([end_blocks_of(thread) for thread in threads]) and time.monotonic() < until:
        await asyncio.sleep(SECONDS_BETWEEN_LOOKS)


def _imports_from(folders: list[str]) -> Any:
    """What lets every worker, also one that comes later, import the user's modules from the folders of this process."""
    from distributed import WorkerPlugin

    class Imports(WorkerPlugin):  # type: ignore[misc]
        name = "pyro-helm-imports"

        def setup(self, worker: Any) -> None:
            sys.path.extend(folder for folder in folders if folder not in sys.path)

    return Imports()


def _outcome(future: Any, run: Run, study: Path) -> Outcome:
    """Of a run of which no worker has said it."""
    from distributed.scheduler import KilledWorker

    if future.status != "error":  # cancelled or lost, with the scheduler
        known = outcome_in(folder_of(run, study))
        if known is None:
            raise _lost(1)
        return known
    error = future.exception()
    if isinstance(error, KilledWorker):
        error = RuntimeError("its worker was killed again and again, perhaps because the memory was not enough")
    return failed(run, study, error)


def _lost(number: int) -> ConnectionError:
    return ConnectionError(
        f"the scheduler of the workers was lost with {number} runs unfinished; the same command goes on from what is "
        "saved"
    )


def _at_work(doing: Mapping[str, str], unfinished: Mapping[str, str]) -> list[str]:
    """Names of the runs that workers have begun, by worker, and that are not over."""
    return [unfinished[key] for key in dict.fromkeys(list(doing.values())) if key in unfinished]


def _deaf_to_ctrl_c() -> Any:
    """What keeps Ctrl-C, which a terminal sends to all processes, from workers that are to save when they are asked."""
    from distributed import WorkerPlugin

    class Deaf(WorkerPlugin):  # type: ignore[misc]
        name = "pyro-helm-deaf-to-ctrl-c"

        def setup(self, worker: Any) -> None:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGINT, signal.SIG_IGN)

    return Deaf()


@contextmanager
def local_client(workers: int) -> Iterator[Any]:
    """A client of a cluster of so many processes on this computer, of one thread each.

    Raises:
        ImportError: if Dask is not installed.
        RuntimeError: in a worker, which a script becomes that starts them where it is imported.

    """
    if multiprocessing.parent_process() is not None:
        raise RuntimeError(
            "workers were asked for by a process that is a worker itself; put what starts them under "
            "if __name__ == '__main__', or take workers=1"
        )
    distributed = _distributed()
    import dask

    settings = {
        # without Dask's MALLOC_TRIM_THRESHOLD_, by which every tensor goes back to the system at once, and with which
        # a step takes twice the time
        "distributed.nanny.pre-spawn-environ": dict.fromkeys(_THREADS, 1),
        "distributed.worker.profile.enabled": False,
        "distributed.admin.system-monitor.gil.enabled": False,
        # looking at itself so often takes Dask 14 % of a core with two workers, and so 2 %
        "distributed.admin.tick.interval": "1s",
        "distributed.admin.system-monitor.interval": "60s",
        "distributed.worker.memory.monitor-interval": "1s",
        "distributed.scheduler.work-stealing-interval": "1s",
        "distributed.comm.retry.count": 3,
    }
    with (
        tempfile.TemporaryDirectory() as scratch,
        dask.config.set(settings),
        distributed.LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            processes=True,
            dashboard_address=":0",  # any free port, as another cluster may have the usual one
            local_directory=scratch,
            silence_logs="CRITICAL",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        client.register_plugin(_deaf_to_ctrl_c())
        yield client


@contextmanager
def client_at(address: str) -> Iterator[Any]:
    """A client of the scheduler at an address.

    Raises:
        ConnectionError: if none answers within five seconds.

    """
    distributed = _distributed()
    try:
        client = distributed.Client(address, timeout=SECONDS_TO_ANSWER)
    except (OSError, ValueError, TimeoutError) as error:
        raise ConnectionError(
            f"no scheduler answers at {address} within {SECONDS_TO_ANSWER:g} seconds; start one with 'dask scheduler'"
        ) from error
    with client:
        yield client


def _distributed() -> Any:
    try:
        import distributed
    except ImportError as error:
        raise ImportError(
            f"several workers need Dask, which is not installed; {_INSTALL}, or take workers=1"
        ) from error
    return distributed
