"""Serves what Node.js has made."""

import http.server
import os


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with open("page.html", "rb") as file:
            body = file.read() + b", served by python\n"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Page).serve_forever()
