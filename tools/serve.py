"""Show the built book on this machine only: `serve.py [PORT]`."""

import errno
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

HTML = Path(__file__).resolve().parent.parent / "_build" / "html"
FIRST_PORT, LAST_PORT = 8000, 8019


class Handler(SimpleHTTPRequestHandler):
    """Serves files as they are now: a rebuilt page is not answered from the browser's cache. Logs errors only."""

    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-cache")
        super().end_headers()

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        if int(code) >= 400:
            super().log_request(code, size)


def listen(ports: range) -> ThreadingHTTPServer:
    """A server on the first free port of `ports`."""
    for port in ports:
        try:
            return ThreadingHTTPServer(("127.0.0.1", port), partial(Handler, directory=HTML))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
    taken = f"port {ports[0]} is" if len(ports) == 1 else f"the ports {ports[0]} to {ports[-1]} are"
    sys.exit(f"{taken} taken; name a free one: make serve PORT=8080")


def main() -> None:
    """Serve until interrupted."""
    if len(sys.argv) > 1:
        if not (sys.argv[1].isdecimal() and 0 < int(sys.argv[1]) < 65536):
            sys.exit(f"PORT is a number from 1 to 65535, not {sys.argv[1]!r}")
        ports = range(int(sys.argv[1]), int(sys.argv[1]) + 1)
    else:
        ports = range(FIRST_PORT, LAST_PORT + 1)
    try:
        server = listen(ports)
    except PermissionError:
        sys.exit(f"port {ports[0]} needs root; name one above 1023: make serve PORT=8080")
    print(f"==> the book is at http://127.0.0.1:{server.server_port}/ ; Ctrl-C stops it", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print()


if __name__ == "__main__":
    main()
