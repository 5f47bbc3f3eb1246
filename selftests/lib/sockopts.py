# SPDX-License-Identifier: Apache-2.0
"""Options of Linux's sockets that Python's module has no names for; `v6` says whose level it is."""
import socket
import struct

IP_MTU_DISCOVER, IP_RECVERR, IP_MTU = 10, 11, 14
IPV6_MTU_DISCOVER, IPV6_MTU, IPV6_RECVERR = 23, 24, 25
PMTUDISC_DONT, PMTUDISC_DO = 0, 2
UDP_SEGMENT = 103


def discover_mtu(sock, v6=False, how=PMTUDISC_DO):
    """What is too big for the path is refused, and not cut; PMTUDISC_DONT: cut, and no error counts."""
    sock.setsockopt(*(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER) if v6 else
                    (socket.IPPROTO_IP, IP_MTU_DISCOVER), how)


def mtu(sock, v6=False):
    """Of the path to where it is connected, as the kernel knows it."""
    return sock.getsockopt(*(socket.IPPROTO_IPV6, IPV6_MTU) if v6 else (socket.IPPROTO_IP, IP_MTU))


def hear_errors(sock, v6=False):
    """Words of routers are the socket's errors, those too that an unconnected one doesn't hear."""
    sock.setsockopt(*(socket.IPPROTO_IPV6, IPV6_RECVERR) if v6 else (socket.IPPROTO_IP, IP_RECVERR), 1)


def segments(size):
    """The control message with which one call sends datagrams of this size."""
    return [(socket.SOL_UDP, UDP_SEGMENT, struct.pack("=H", size))]
