"""A process that imports spanqa once and forks for every command line it is sent.

One JSON object per line comes in: `argv` of spanqa, `log`, `root`, and the fault, if any:

    at        at the `at`-th event ...
    of, name  ... of those of this kind, with this in the path, where given ...
    fault     ... "kill": SIGKILL, "stop": SIGSTOP, "error": the system call fails with `errno`
    seconds   SIGKILL after so long, whatever it is doing
    size      no file grows beyond so many bytes: `fault` "kill" in the middle of that write, or an
              error of the write
    clock     `time.time` runs backwards
    alone     shards of a batch are answered in the process itself, not by Ray

Events are training steps, and what Python is about to do in the folder `root`: open a file for
writing, rename, remove, make or remove a folder. One JSON object per line goes out: exit status
(minus the signal that ended it), process id, kinds of its events, and seconds. The status of a
process that was stopped is null; `pid` alone, sent later, ends it.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

STEP = "step"
KINDS = {"open": "open", "os.rename": "rename", "os.remove": "remove", "os.mkdir": "mkdir"}
KINDS |= {"os.rmdir": "rmdir", "faults.step": STEP}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


class Events:
    """Counts events, and does at one of them what was asked for."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked, self.root = asked, asked["root"]
        self.count = 0
        self.names: list[str] = []

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        kind = KINDS.get(event)
        if kind is None or not self._ours(kind, args):
            return
        self.names.append(kind)
        if self.asked.get("of", kind) == kind and self.asked.get("name", "") in str(args[0]):
            self.count += 1
            if self.count == self.asked.get("at"):
                self._act(args)

    def _ours(self, kind: str, args: tuple[Any, ...]) -> bool:
        if kind == STEP:
            return True
        if kind == "open" and not (args[2] or 0) & WRITES:
            return False
        path = str(args[0])
        if kind == "mkdir" and os.path.isdir(path):  # nothing is done
            return False
        # What shutil.rmtree removes is named relative to an open folder.
        return path.startswith(self.root) or (kind in ("remove", "rmdir") and "/" not in path)

    def _act(self, args: tuple[Any, ...]) -> None:
        fault = self.asked["fault"]
        if fault == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif fault == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        else:
            code = self.asked["errno"]
            raise OSError(code, os.strerror(code), str(args[0]))


def run(asked: dict[str, Any], report: int) -> None:
    """The forked process: run the command line and end."""
    log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    from spanqa import training
    from spanqa.cli import main

    events = Events(asked)
    step = training.SpanTrainer.training_step

    def training_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        sys.audit("faults.step", "")
        return step(self, *args, **kwargs)

    training.SpanTrainer.training_step = training_step  # type: ignore[method-assign]
    if asked.get("clock"):
        readings = iter(range(10**9, 0, -3600))
        time.time = lambda: float(next(readings))
    if asked.get("alone"):
        batch: Any = import_module("spanqa.batch")
        batch._reports = answered_alone
    if asked.get("size"):
        if asked["fault"] == "kill":
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        _limit_files(asked["size"])
    sys.addaudithook(events)
    status = main(asked["argv"])
    sys.stdout.flush()
    _limit_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])  # the report is a file as well
    said = {"names": events.names, "modules": sorted(sys.modules)}
    with os.fdopen(report, "w") as file:
        json.dump(said, file)
    os._exit(status)


def _limit_files(size: int) -> None:
    """Let no file grow beyond so many bytes, for now."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def answered_alone(job: Any, output: Any, shards: Any, settings: Any) -> Iterator[Any]:
    """The reports of a batch whose shards this process answers, one after the other."""
    worker: Any = import_module("spanqa.worker")
    reader = worker.load(job)
    for shard in shards:
        yield worker.answer_shard(reader, job, shard, output)


def serve(asked: dict[str, Any]) -> dict[str, Any]:
    """Fork, wait, and say how it ended."""
    report = os.memfd_create("report")  # not a pipe, whose writer may have to wait for its reader
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        try:
            run(asked, report)
        finally:
            os._exit(70)
    if asked.get("seconds"):
        handle = os.pidfd_open(pid)
        if not select.select([handle], [], [], asked["seconds"])[0]:
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)
    if asked.get("fault") == "stop":
        _, code = os.waitpid(pid, os.WUNTRACED)
        assert os.WIFSTOPPED(code), "it ended before the event at which to stop"
        os.close(report)
        return {"status": None, "pid": pid, "seconds": time.perf_counter() - began}
    _, code = os.waitpid(pid, 0)
    seconds = time.perf_counter() - began
    status = os.waitstatus_to_exitcode(code)
    os.lseek(report, 0, os.SEEK_SET)  # the process has moved the place that both share
    with os.fdopen(report) as file:
        content = file.read()
    said = json.loads(content) if content and status >= 0 else {}
    warm_up(said.get("modules", ()))
    names = said.get("names", [])
    return {"status": status, "pid": pid, "seconds": seconds, "names": names}


def warm_up(modules: Iterable[str]) -> None:
    """Import what a forked process had to, so that the next one need not."""
    for name in modules:
        with suppress(ImportError, AttributeError):
            import_module(name)
    gc.collect()
    gc.freeze()  # what is not looked at by the collector is not copied by it


def main() -> None:
    """Answer requests until there are no more."""
    # The server itself computes nothing, so that there are no threads when it forks.
    from spanqa import comparison, report  # noqa: F401

    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        asked = json.loads(line)
        answer = serve(asked) if "argv" in asked else _kill(asked["pid"])
        print(json.dumps(answer), file=out, flush=True)


def _kill(pid: int) -> dict[str, Any]:
    os.kill(pid, signal.SIGKILL)
    _, code = os.waitpid(pid, 0)
    return {"status": os.waitstatus_to_exitcode(code), "pid": pid, "seconds": 0.0}


if __name__ == "__main__":
    sys.path.remove(str(Path(__file__).parent))
    main()
