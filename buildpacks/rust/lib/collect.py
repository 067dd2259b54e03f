"""Copies the binaries that cargo's messages (stdin) name into the folder given: those of this build,
and none a cached target folder still holds from an earlier one."""

import json
import os
import shutil
import sys


def main():
    folder = sys.argv[1]
    messages = [json.loads(line) for line in sys.stdin if line.startswith("{")]
    if not any(m["reason"] == "build-finished" and m["success"] for m in messages):
        sys.exit(1)
    binaries = sorted(
        m["executable"]
        for m in messages
        if m["reason"] == "compiler-artifact" and m.get("executable") and "bin" in m["target"]["kind"]
    )
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    for path in binaries:
        shutil.copy(path, folder)
        print(f"target/release/{os.path.basename(path)}")
    if not binaries:
        print("There is no binary in this package: nothing to run.")


main()
