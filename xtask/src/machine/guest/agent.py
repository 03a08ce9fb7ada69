"""Runs what xtask sends over the virtio port, one command at a time, so that a test needs neither network nor login.

    NONCE ping                          -> NONCE 0 LENGTH, the id of this boot
    NONCE run SECONDS LENGTH, command   -> NONCE STATUS LENGTH, output
    NONCE put MODE LENGTH PATH, bytes   -> NONCE 0 0

A line that is none of these is passed over: a reboot may have cut it.
"""

import os
import signal
import subprocess
import tempfile
import time

PORT = "/dev/virtio-ports/machine.agent"


class Port:
    def __init__(self):
        while not os.path.exists(PORT):
            time.sleep(0.1)
        self.file = os.open(PORT, os.O_RDWR)
        self.buffer = bytearray()

    def more(self):
        # Empty while no program is connected at the other end.
        read = os.read(self.file, 1 << 16)
        if not read:
            time.sleep(0.1)
        self.buffer += read

    def line(self):
        while b"\n" not in self.buffer:
            self.more()
        return self.exactly(self.buffer.index(b"\n") + 1)[:-1].decode(errors="replace")

    def exactly(self, length):
        while len(self.buffer) < length:
            self.more()
        taken = bytes(self.buffer[:length])
        del self.buffer[:length]
        return taken

    def answer(self, nonce, status, output=b""):
        left = f"{nonce} {status} {len(output)}\n".encode() + output
        while left:
            left = left[os.write(self.file, left[: 1 << 15]):]


def run(command, seconds):
    # A file and not a pipe: a daemon that a command leaves behind must not keep it open. In memory: a test fills the disk.
    with tempfile.TemporaryFile(dir="/run") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", command], stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            status = 124
        output.seek(0)
        return status, output.read()


def serve(port):
    words = port.line().split(" ")
    match words:
        case [nonce, "ping"]:
            with open("/proc/sys/kernel/random/boot_id", "rb") as file:
                port.answer(nonce, 0, file.read())
        case [nonce, "run", seconds, length]:
            status, output = run(port.exactly(int(length)), float(seconds))
            port.answer(nonce, status, output)
        case [nonce, "put", mode, length, path]:
            content = port.exactly(int(length))
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as file:
                file.write(content)
            os.chmod(path, int(mode, 8))
            port.answer(nonce, 0)


if __name__ == "__main__":
    port = Port()
    while True:
        serve(port)
