"""Answers requests: pages, redirects, errors, and what browsers may keep."""

import mimetypes
import os
import re
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from urllib.parse import unquote, urlsplit

from files import CHUNK_BYTES
from settings import first_match

IDLE_TIMEOUT_S = 90  # longer than any router keeps a connection, so that the router closes first
GZIP_BYTES_MIN = 860
GZIP_BYTES_MAX = 4 << 20
TEXT = re.compile(r"text/|application/(javascript|json|manifest\+json|xml|wasm)|image/svg|.*\+xml")
# Names with a content hash in them never change, so browsers may keep them.
FINGERPRINT = re.compile(r"[.-][0-9a-fA-F]{8,}\.|-[0-9A-Za-z_-]{8}\.(js|css|woff2?)$")

mimetypes.add_type("text/javascript", ".mjs")
mimetypes.add_type("font/woff2", ".woff2")
mimetypes.add_type("application/wasm", ".wasm")
mimetypes.add_type("application/manifest+json", ".webmanifest")


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version = "static"
    sys_version = ""
    timeout = IDLE_TIMEOUT_S
    wbufsize = CHUNK_BYTES
    files = None

    def do_GET(self):
        self.answer(with_body=True)

    def do_HEAD(self):
        self.answer(with_body=False)

    def answer(self, with_body):
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # a body nobody reads must not become the next request
        settings = self.files.settings
        url = urlsplit(self.path)
        # Leading slashes are folded: "//host" in a Location would lead to another site.
        path = "/" + unquote(url.path, errors="replace").lstrip("/\\")
        target = self.elsewhere(path, url.query)
        if target:
            return self.redirect(*target)
        file = self.files.find(path)
        if file is None:
            route = first_match(settings.routes, path)
            file = route and self.files.file("/" + route.lstrip("/"))
        if file:
            return self.send_file(file, path, HTTPStatus.OK, with_body)
        error_page = self.files.file("/" + settings.error_page.lstrip("/"))
        if error_page:
            return self.send_file(error_page, path, HTTPStatus.NOT_FOUND, with_body)
        return self.send_text(HTTPStatus.NOT_FOUND, with_body)

    def elsewhere(self, path, query):
        settings, suffix = self.files.settings, f"?{query}" if query else ""
        if settings.https_only and self.headers.get("X-Forwarded-Proto") == "http":
            host = re.sub(r"[^\w.:\[\]-]", "", self.headers.get("Host", ""))
            return f"https://{host}{self.path if self.path.startswith('/') else path}", 301
        redirect = first_match(settings.redirects, path)
        if redirect:
            return str(redirect.get("url", "/")), int(redirect.get("status", 302))
        clean = settings.clean_urls and path.endswith(".html") and self.files.file(path)
        if clean:
            name = path[: -len(".html")]
            return quoted(name[: -len("index")] if name.endswith("/index") else name) + suffix, 301
        if not path.endswith("/") and not self.files.find(path) and self.files.is_folder(path):
            return quoted(path) + "/" + suffix, 301
        return None

    def redirect(self, location, status):
        self.send_response(status)
        self.send_header("Location", re.sub(r"[\r\n]", "", location))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def send_file(self, file, path, status, with_body):
        kind = mimetypes.guess_type(file)[0] or "application/octet-stream"
        size, tag = os.path.getsize(file), self.files.tag(file)
        text = TEXT.match(kind) is not None
        zipped = text and GZIP_BYTES_MIN <= size <= GZIP_BYTES_MAX and self.takes_gzip()
        if zipped:
            tag = tag[:-1] + '-gz"'
        if status == HTTPStatus.OK and self.is_known(tag):
            self.send_response(HTTPStatus.NOT_MODIFIED)
            self.common(file, path, tag, text)
            return self.end_headers()
        body = self.files.gzipped(file) if zipped else None
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
        own = first_match(self.files.settings.headers, path) or {}
        keep = "public, max-age=31536000, immutable" if FINGERPRINT.search(file) else "no-cache"
        headers = {"Cache-Control": keep, "X-Content-Type-Options": "nosniff", **own}
        headers["ETag"] = tag
        if text:
            headers["Vary"] = "Accept-Encoding"
        else:
            headers["Accept-Ranges"] = "bytes"
        for name, value in headers.items():
            self.send_header(re.sub(r"[^\w-]", "", name), re.sub(r"[\r\n]", " ", str(value)))

    def is_known(self, tag):
        """RFC 9110, 13.1.2: weak tags are as good as strong ones here."""
        known = [one.strip().removeprefix("W/") for one in self.headers.get("If-None-Match", "").split(",")]
        return tag in known or "*" in known

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
