"""Serves a folder of files over HTTP, as static.json says, on $PORT. Python 3.9+, no packages."""

import os
import signal
import sys
import threading
from http.server import ThreadingHTTPServer

from answer import Answer
from files import Files
from settings import Settings, SettingsError

CONNECTIONS_MAX = 256


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512
    slots = threading.BoundedSemaphore(CONNECTIONS_MAX)

    def process_request(self, request, client_address):
        self.slots.acquire()
        super().process_request(request, client_address)

    def process_request_thread(self, request, client_address):
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, request, client_address):
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)


def main():
    try:
        settings = Settings(os.getcwd())
    except SettingsError as error:
        sys.exit(f" !     static.json: {error}")
    if "--check" in sys.argv[1:]:
        count = sum(len(files) for _, _, files in os.walk(settings.root))
        print(f"       Serving {count} files from {os.path.relpath(settings.root)}/")
        return
    Answer.files = Files(settings)
    server = Server(("0.0.0.0", int(os.environ.get("PORT", "5000"))), Answer)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"Serving {settings.root} on port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
