"""A storage server: every GET is answered with 200. `/paced?seconds=N` takes that long for its body, which `load.py` knows."""

import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

CHUNK = 16384
PAUSE = 0.1


def chunk(number):
    return number.to_bytes(8, "big") * (CHUNK // 8)


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        where = urlsplit(self.path)
        chunks = 0
        if where.path == "/paced":
            chunks = int(float(parse_qs(where.query)["seconds"][0]) / PAUSE)
        self.send_response(200)
        self.send_header("Content-Length", str(chunks * CHUNK if chunks else 3))
        self.end_headers()
        if not chunks:
            self.wfile.write(b"ok\n")
        began = time.monotonic()
        for number in range(chunks):
            self.wfile.write(chunk(number))
            time.sleep(max(0, began + (number + 1) * PAUSE - time.monotonic()))

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


if __name__ == "__main__":
    Server(("10.77.0.3", 9000), Answer).serve_forever()
