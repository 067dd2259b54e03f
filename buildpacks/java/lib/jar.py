"""Packs a folder as a jar: `jar.py FOLDER JAR MANIFEST`. The same files make the same bytes."""

import os
import sys
import zipfile

EPOCH = (1980, 1, 1, 0, 0, 0)


def main():
    folder, target, manifest = sys.argv[1:]
    paths = (os.path.join(at, name) for at, _, names in os.walk(folder) for name in names)
    files = sorted((os.path.relpath(path, folder), path) for path in paths)
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as jar:
        # Readers of streams want the manifest first.
        for name, path in [("META-INF/MANIFEST.MF", manifest), *files]:
            with open(path, "rb") as file:
                jar.writestr(zipfile.ZipInfo(name, EPOCH), file.read(), zipfile.ZIP_DEFLATED)


main()
