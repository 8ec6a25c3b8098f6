"""The size of a tree: the same number on every file system that it may lie on. Runs alone; knows nothing of cc_images.

measure.py TREE     prints KiB and the path, as `du -s` does
"""

from __future__ import annotations

import os
import stat
import sys

BLOCK = 4096


def size(tree: str) -> int:
    """Return how many bytes a tree takes in blocks of 4 KiB: files once and without their holes, and folders."""
    device = os.lstat(tree).st_dev
    seen: set[int] = set()
    total, folders = BLOCK, [tree]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for each in entries:
                status = each.stat(follow_symlinks=False)
                if status.st_dev != device:
                    continue
                if stat.S_ISDIR(status.st_mode):
                    folders.append(each.path)
                    total += BLOCK
                elif stat.S_ISREG(status.st_mode) and status.st_ino not in seen:
                    if status.st_nlink > 1:
                        seen.add(status.st_ino)
                    total += -(-_held(each.path, status) // BLOCK) * BLOCK
    return total


def _held(path: str, status: os.stat_result) -> int:
    """Return the bytes of a file that has holes, or is kept compressed, without its holes."""
    if status.st_blocks * 512 >= status.st_size:
        return status.st_size
    held = position = 0
    with open(path, "rb") as file:
        while position < status.st_size:
            try:
                begin = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            position = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            held += position // BLOCK * BLOCK - begin // BLOCK * BLOCK + (BLOCK if position % BLOCK else 0)
    return held


if __name__ == "__main__":
    print(f"{size(sys.argv[1]) // 1024}\t{sys.argv[1]}")
