#!/usr/bin/env python3
"""A peerwork Worker over HTTP, with nothing but Python's standard library.

    PEERWORK_API=http://127.0.0.1:8470 PEERWORK_HTTP_TOKEN=... python3 worker.py [channel ...]

Replace the body of `work`. It is called with the job's data and returns a JSON-serializable value; an exception fails
the run, which is retried as often as the job allows. Ctrl-C or SIGTERM gives back the running job.
"""

import json
import os
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request

API = os.environ.get("PEERWORK_API", "http://127.0.0.1:8470").rstrip("/")
TOKEN = os.environ.get("PEERWORK_HTTP_TOKEN")
NAME = os.environ.get("PEERWORK_NAME", f"{socket.gethostname()}-{os.getpid()}")
CHANNELS = sys.argv[1:] or ["default"]


def work(data, job):
    """Runs one job; this one adds up the numbers in its data."""
    return sum(data["numbers"])


class Stop(Exception):
    """Raised by SIGTERM or Ctrl-C."""


def call(path, body, timeout=90):
    body = json.dumps({"worker": {"name": NAME}, **body}).encode()
    headers = {"Content-Type": "application/json"}
    if TOKEN:
        headers["Authorization"] = f"Bearer {TOKEN}"
    with urllib.request.urlopen(urllib.request.Request(API + path, body, headers), timeout=timeout) as response:
        return json.loads(response.read() or b"null")


def call_with_retry(path, body):
    """Retries until the Master has responded. Duplicates are harmless, because the lease number identifies them."""
    wait = 1
    while True:
        try:
            return call(path, body)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code not in (408, 429):
                sys.exit(f"refused: {json.loads(error.read() or b'{}').get('detail', error)}")
        except (OSError, ValueError):
            pass
        time.sleep(wait)
        wait = min(30, wait * 2)


class Beat(threading.Thread):
    """Renews the lease while the job runs."""

    def __init__(self, job, every):
        super().__init__(daemon=True)
        self.key, self.every, self.done = {"id": job["id"], "lease": job["lease"]}, every, threading.Event()

    def run(self):
        while not self.done.wait(self.every):
            try:
                if call("/v1/leases/extend", {"leases": [self.key]}, timeout=10)["lost"]:
                    print(f"{self.key['id']}: the lease is lost, the outcome will not count", file=sys.stderr)
                    return
            except OSError:
                pass  # The next beat may succeed.


def run(job, beat_seconds):
    beat = Beat(job, beat_seconds)
    beat.start()
    started = time.time()
    try:
        outcome = {"state": "completed", "output": work(job["data"], job)}
    except Stop:
        outcome = {"state": "released", "reason": "the worker stops"}
    except Exception as error:  # noqa: BLE001: any exception is an outcome of the job
        message = f"{type(error).__name__}: {error}"[:8000]
        outcome = {"state": "failed", "error": {"code": "task-threw", "message": message}, "retry": True}
    beat.done.set()
    times = {"startedAt": int(started * 1000), "finishedAt": int(time.time() * 1000)}
    (result,) = call_with_retry("/v1/leases/settle", {"results": [{"id": job["id"], "lease": job["lease"], "outcome": outcome, **times}]})["answers"]
    print(f"{job['id']}: {outcome['state']}, {result}", flush=True)
    return outcome["state"] != "released"


def main():
    def stop(*_):
        raise Stop

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        while True:
            leased = call_with_retry("/v1/leases", {"channels": CHANNELS, "limit": 1, "waitMs": 30_000})
            for job in leased["jobs"]:
                if not run(job, leased["beatMs"] / 1000):
                    return
    except Stop:
        pass


if __name__ == "__main__":
    main()
