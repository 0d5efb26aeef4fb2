"""longer.py NAME BYTES: lets super-segments of TCP over IPv4 be as long as that at an interface (Linux 6.3 or newer).

`ip link set … gso_ipv4_max_size` does so from iproute2 6.3 on; here the kernel is told without it.
"""

import os
import socket
import struct
import sys

RTM_NEWLINK, IFLA_GSO_IPV4_MAX_SIZE, REQUEST_AND_ACK = 16, 63, 5


def main():
    index, longest = socket.if_nametoindex(sys.argv[1]), int(sys.argv[2])
    # A header, an ifinfomsg, an attribute.
    asked = struct.pack("=IHHII", 40, RTM_NEWLINK, REQUEST_AND_ACK, 0, 0) + struct.pack("=BxHiII", 0, 0, index, 0, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.send(asked + struct.pack("=HHI", 8, IFLA_GSO_IPV4_MAX_SIZE, longest))
        (error,) = struct.unpack_from("=i", kernel.recv(4096), 16)
    if error:
        sys.exit(f"{sys.argv[1]}: {os.strerror(-error)}")


main()
