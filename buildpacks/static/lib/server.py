"""Serves a folder of files over HTTP; settings in static.json, port in $PORT. Python 3.9+, no packages.

Settings (all optional): root, clean_urls, https_only, error_page, routes {pattern: file},
redirects {pattern: {"url", "status"}}, headers {pattern: {name: value}}. In a pattern `*` is one path
segment and `**` any number; the longest pattern that matches counts.
"""

import collections
import gzip
import hashlib
import json
import mimetypes
import os
import re
import signal
import sys
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

CONNECTIONS_MAX = 256
IDLE_TIMEOUT_S = 90  # longer than any router keeps a connection, so that the router closes first
GZIP_BYTES_MIN = 860
GZIP_BYTES_MAX = 4 << 20
CACHE_BYTES_MAX = 32 << 20
CHUNK_BYTES = 64 << 10
TEXT = re.compile(r"text/|application/(javascript|json|manifest\+json|xml|wasm)|image/svg|.*\+xml")
# Names with a content hash in them never change, so browsers may keep them.
FINGERPRINT = re.compile(r"[.-][0-9a-fA-F]{8,}\.|-[0-9A-Za-z_-]{8}\.(js|css|woff2?)$")

mimetypes.add_type("text/javascript", ".mjs")
mimetypes.add_type("font/woff2", ".woff2")
mimetypes.add_type("application/wasm", ".wasm")
mimetypes.add_type("application/manifest+json", ".webmanifest")


class SettingsError(Exception):
    """static.json says something that cannot be served."""


class Settings:
    KNOWN = {
        "root": str, "clean_urls": bool, "https_only": bool, "error_page": str,
        "routes": dict, "redirects": dict, "headers": dict,
    }

    def __init__(self, app):
        given = self.read(os.path.join(app, "static.json"))
        default = "public" if os.path.isfile(os.path.join(app, "public/index.html")) else "."
        if os.path.isfile(os.path.join(app, "static.json")):
            default = "public_html"
        self.root = os.path.realpath(os.path.join(app, given.get("root", default)))
        if os.path.commonpath([self.root, os.path.realpath(app)]) != os.path.realpath(app):
            raise SettingsError("root is outside the app")
        if not os.path.isdir(self.root):
            raise SettingsError(f"root {given.get('root', default)!r} is not a folder")
        self.clean_urls = given.get("clean_urls", True)
        self.https_only = given.get("https_only", False)
        self.error_page = given.get("error_page", "404.html")
        self.routes = patterns(given.get("routes", {}), str)
        self.headers = patterns(given.get("headers", {}), dict)
        self.redirects = patterns(given.get("redirects", {}), dict)

    def read(self, path):
        try:
            with open(path, encoding="utf-8") as file:
                given = json.load(file)
        except FileNotFoundError:
            return {}
        except (ValueError, UnicodeDecodeError) as error:
            raise SettingsError(f"it is not valid JSON: {error}") from error
        if not isinstance(given, dict):
            raise SettingsError("it is not a JSON object")
        for name, value in given.items():
            kind = self.KNOWN.get(name)
            if kind is None:
                print(f" !     static.json: {name!r} is not known here and has no effect")
            elif not isinstance(value, kind):
                raise SettingsError(f"{name!r} must be a {kind.__name__}")
        return given


def patterns(table, kind):
    """(expression, value) pairs, the longest pattern first."""
    for pattern, value in table.items():
        if not isinstance(value, kind):
            raise SettingsError(f"what {pattern!r} maps to must be a {kind.__name__}")
    longest_first = sorted(table, key=len, reverse=True)
    return [(re.compile(expression(pattern)), table[pattern]) for pattern in longest_first]


def expression(pattern):
    parts = re.split(r"(\*\*|\*)", pattern)
    return "".join({"**": ".*", "*": "[^/]*"}.get(part, re.escape(part)) for part in parts) + r"\Z"


def first_match(table, path):
    return next((value for expression, value in table if expression.match(path)), None)


class Site:
    """Which file answers which path. A file is served only if it truly lies below the root."""

    def __init__(self, settings):
        self.settings = settings
        self.lock = threading.Lock()
        self.tags = {}
        self.zipped = collections.OrderedDict()
        self.zipped_bytes = 0

    def find(self, path):
        candidates = [path + "index.html"] if path.endswith("/") else [path]
        if self.settings.clean_urls and not path.endswith("/"):
            candidates.append(path + ".html")
        return next(filter(None, map(self.file, candidates)), None)

    def file(self, path):
        segments = path.split("/")
        if "\0" in path or any(s.startswith(".") and s != ".well-known" for s in segments):
            return None
        if path.lstrip("/").split("/")[0] in ("static.json", "Procfile"):
            return None
        real = os.path.realpath(os.path.join(self.settings.root, path.lstrip("/")))
        inside = real.startswith(self.settings.root.rstrip("/") + "/")
        hidden = "/.heroku/" in real[len(self.settings.root):]
        return real if inside and not hidden and os.path.isfile(real) else None

    def is_folder(self, path):
        return self.file(path + "/index.html") is not None

    def tag(self, file):
        """From the content: in a slug every file has the same time. Files of a slug do not change."""
        with self.lock:
            if file in self.tags:
                return self.tags[file]
        digest = hashlib.sha256()
        with open(file, "rb") as stream:
            for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""):
                digest.update(chunk)
        with self.lock:
            return self.tags.setdefault(file, f'"{digest.hexdigest()[:32]}"')

    def gzipped(self, file):
        with self.lock:
            if file in self.zipped:
                self.zipped.move_to_end(file)
                return self.zipped[file]
        with open(file, "rb") as stream:
            body = gzip.compress(stream.read(), 6, mtime=0)
        with self.lock:
            if file not in self.zipped:
                self.zipped[file] = body
                self.zipped_bytes += len(body)
            while self.zipped_bytes > CACHE_BYTES_MAX:
                self.zipped_bytes -= len(self.zipped.popitem(last=False)[1])
        return body


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "static"
    sys_version = ""
    timeout = IDLE_TIMEOUT_S
    wbufsize = CHUNK_BYTES
    site = None

    def do_GET(self):
        self.answer(with_body=True)

    def do_HEAD(self):
        self.answer(with_body=False)

    def answer(self, with_body):
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body nobody reads must not become the next request
        settings = self.site.settings
        url = urlsplit(self.path)
        # Leading slashes are folded: "//host" in a Location would lead to another site.
        path = "/" + unquote(url.path, errors="replace").lstrip("/\\")
        target = self.elsewhere(path, url.query)
        if target:
            return self.redirect(*target)
        file = self.site.find(path)
        if file is None:
            route = first_match(settings.routes, path)
            file = route and self.site.file("/" + route.lstrip("/"))
        if file:
            return self.send_file(file, path, HTTPStatus.OK, with_body)
        error_page = self.site.file("/" + settings.error_page.lstrip("/"))
        if error_page:
            return self.send_file(error_page, path, HTTPStatus.NOT_FOUND, with_body)
        return self.send_text(HTTPStatus.NOT_FOUND, with_body)

    def elsewhere(self, path, query):
        settings, suffix = self.site.settings, f"?{query}" if query else ""
        if settings.https_only and self.headers.get("X-Forwarded-Proto") == "http":
            host = re.sub(r"[^\w.:\[\]-]", "", self.headers.get("Host", ""))
            return f"https://{host}{self.path if self.path.startswith('/') else path}", 301
        redirect = first_match(settings.redirects, path)
        if redirect:
            return str(redirect.get("url", "/")), int(redirect.get("status", 302))
        clean = settings.clean_urls and path.endswith(".html") and self.site.file(path)
        if clean:
            name = path[: -len(".html")]
            return quoted(name[: -len("index")] if name.endswith("/index") else name) + suffix, 301
        if not path.endswith("/") and not self.site.find(path) and self.site.is_folder(path):
            return quoted(path) + "/" + suffix, 301
        return None

    def redirect(self, location, status):
        self.send_response(status)
        self.send_header("Location", re.sub(r"[\r\n]", "", location))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_file(self, file, path, status, with_body):
        kind = mimetypes.guess_type(file)[0] or "application/octet-stream"
        size, tag = os.path.getsize(file), self.site.tag(file)
        text = TEXT.match(kind) is not None
        zipped = text and GZIP_BYTES_MIN <= size <= GZIP_BYTES_MAX and self.takes_gzip()
        if zipped:
            tag = tag[:-1] + '-gz"'
        if status == HTTPStatus.OK and tag in self.headers.get("If-None-Match", ""):
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.common(file, path, tag, text)
            return self.end_headers()
        body = self.site.gzipped(file) if zipped else None
        span = None if zipped or status != HTTPStatus.OK else self.span(size, tag)
        if span == ():
            self.send_response(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        first, last = span or (0, size - 1)
        self.send_response(HTTPStatus.PARTIAL_CONTENT if span else status)
        charset = "; charset=utf-8" if kind.startswith("text/") or text and "json" in kind else ""
        self.send_header("Content-Type", kind + charset)
        self.send_header("Content-Length", str(len(body) if zipped else last - first + 1))
        if zipped:
            self.send_header("Content-Encoding", "gzip")
        elif span:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.common(file, path, tag, text)
        self.end_headers()
        if with_body:
            self.wfile.write(body) if zipped else self.copy(file, first, last - first + 1)
        return None

    def common(self, file, path, tag, text):
        own = first_match(self.site.settings.headers, path) or {}
        keep = "public, max-age=31536000, immutable" if FINGERPRINT.search(file) else "no-cache"
        headers = {"Cache-Control": keep, "X-Content-Type-Options": "nosniff", **own}
        headers["ETag"] = tag
        if text:
            headers["Vary"] = "Accept-Encoding"
        else:
            headers["Accept-Ranges"] = "bytes"
        for name, value in headers.items():
            self.send_header(re.sub(r"[^\w-]", "", name), re.sub(r"[\r\n]", " ", str(value)))

    def takes_gzip(self):
        offers = self.headers.get("Accept-Encoding", "").lower().split(",")
        refused = r"gzip\s*;\s*q=0(\.0*)?\s*\Z"
        return any(re.match(r"gzip\b", o.strip()) and not re.match(refused, o.strip()) for o in offers)

    def span(self, size, tag):
        """First and last byte of a single range; None for all, () for one that does not exist."""
        asked = re.match(r"bytes=(\d*)-(\d*)\Z", self.headers.get("Range", ""))
        if not asked or asked.group(0) == "bytes=-" or self.headers.get("If-Range", tag) != tag:
            return None
        first, last = asked.groups()
        if not first:
            return (max(0, size - int(last)), size - 1) if int(last) and size else ()
        end = min(int(last), size - 1) if last else size - 1
        return (int(first), end) if int(first) <= end else ()

    def copy(self, file, start, count):
        with open(file, "rb") as stream:
            stream.seek(start)
            while count > 0:
                chunk = stream.read(min(count, CHUNK_BYTES))
                if not chunk:
                    break
                self.wfile.write(chunk)
                count -= len(chunk)

    def send_text(self, status, with_body):
        body = f"{status.value} {status.phrase}\n".encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def version_string(self):
        return self.server_version

    def log_message(self, format, *args):
        pass  # the router logs every request


def quoted(path):
    return re.sub(r"[^A-Za-z0-9/._~!$&'()*+,;=:@-]", lambda m: "".join(f"%{b:02X}" for b in m[0].encode()), path)


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
    Handler.site = Site(settings)
    server = Server(("0.0.0.0", int(os.environ.get("PORT", "5000"))), Handler)
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
    print(f"Serving {settings.root} on port {server.server_port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
