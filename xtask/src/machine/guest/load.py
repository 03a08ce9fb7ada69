"""Clients of a VIP: a long download that the server paces, and all the while a new connection with a request every 100 ms.
Prints one line: how many requests failed, the first failures, and what became of the download."""

import http.client
import sys
import threading
import time

from server import CHUNK, chunk

VIP, SECONDS = sys.argv[1], float(sys.argv[2])
PAUSE = 0.1
PATIENCE = 10
began = time.monotonic()
lock = threading.Lock()
failures, slowest, finished = [], 0.0, 0


def since():
    return time.monotonic() - began


def request():
    global slowest, finished
    at = since()
    try:
        client = http.client.HTTPConnection(VIP, timeout=PATIENCE)
        client.request("GET", "/small")
        answer = client.getresponse()
        fault = None if answer.status == 200 and answer.read() == b"ok\n" else f"status {answer.status}"
        client.close()
    except (OSError, http.client.HTTPException) as error:
        fault = f"{type(error).__name__} {error}"
    with lock:
        finished += 1
        slowest = max(slowest, since() - at)
        if fault:
            failures.append(f"{at:.1f} s: {fault}")


def download():
    global outcome
    number = 0
    try:
        client = http.client.HTTPConnection(VIP, timeout=PATIENCE)
        client.request("GET", f"/paced?seconds={SECONDS:.0f}")
        answer = client.getresponse()
        wanted = int(answer.headers["Content-Length"]) // CHUNK
        while piece := answer.read(CHUNK):
            if piece != chunk(number):
                raise OSError(f"wrong or missing bytes in piece {number}")
            number += 1
        outcome = "whole" if number == wanted else f"cut after {number} of {wanted} pieces at {since():.1f} s"
    except (OSError, http.client.HTTPException) as error:
        outcome = f"cut after {number} pieces at {since():.1f} s: {type(error).__name__} {error}"


outcome = "unfinished"
long = threading.Thread(target=download)
long.start()
threads = []
while since() < SECONDS:
    threads.append(threading.Thread(target=request))
    threads[-1].start()
    time.sleep(max(0, len(threads) * PAUSE - since()))
for thread in threads + [long]:
    thread.join(SECONDS + 3 * PATIENCE)
first = "; ".join(failures[:3]) or "none"
print(f"requests={finished} failed={len(failures)} slowest={slowest:.1f} download={outcome!r} failures={first!r}")
