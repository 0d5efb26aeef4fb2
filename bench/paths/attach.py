"""attach.py PIN IFINDEX...: attaches a pinned program at tcx ingress by links, and holds them until stdin closes.

bpftool attaches to tcx only from version 7.5 on; the two calls of bpf(2) are made here instead.
"""

import ctypes
import os
import platform
import struct
import sys

SYSCALL = {"x86_64": 321, "aarch64": 280, "riscv64": 280, "s390x": 351, "ppc64le": 361}
OBJ_GET, LINK_CREATE, TCX_INGRESS = 7, 28, 46


def bpf(what, attributes):
    buffer = ctypes.create_string_buffer(attributes, 64)
    libc = ctypes.CDLL(None, use_errno=True)
    answer = libc.syscall(SYSCALL[platform.machine()], what, buffer, len(buffer))
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def main():
    path = ctypes.create_string_buffer(sys.argv[1].encode())
    program = bpf(OBJ_GET, struct.pack("=QII", ctypes.addressof(path), 0, 0))
    links = [bpf(LINK_CREATE, struct.pack("=IIII", program, int(index), TCX_INGRESS, 0)) for index in sys.argv[2:]]
    print("attached", flush=True)
    sys.stdin.read()
    for link in links:
        os.close(link)


main()
