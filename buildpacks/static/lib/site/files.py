"""Which file answers which path, and its bytes as they are sent."""

import collections
import gzip
import hashlib
import os
import threading

CACHE_BYTES_MAX = 32 << 20
CHUNK_BYTES = 64 << 10


class Files:
    """A file is served only if it truly lies below the root."""

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
