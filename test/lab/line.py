#!/usr/bin/env python3
"""A slow line between two network namespaces: an end of it in each, and this process in between.

    line.py --ends NAMESPACE=ADDRESS NAMESPACE=ADDRESS --up MBIT --down MBIT [--delay-ms 100] [--buffer-ms 2000]

The first end is the near one: what it sends goes up. A direction lets so many bits a second through, holds what waits for that in a buffer of so
many milliseconds at that rate, drops what does not fit, and delivers everything `delay-ms` after it has left the buffer. 0 Mbit is no limit.
Prints READY when packets pass. A line on stdin is answered with the bytes that have passed and been dropped, up and down: "UP DOWN LOST_UP LOST_DOWN";
"cut" and "mend" take the line away and bring it back. It ends with its stdin, and both ends with it.
"""
import argparse, collections, ctypes, fcntl, os, select, struct, subprocess, sys, time

TUNSETIFF, IFF_TUN, IFF_NO_PI, CLONE_NEWNET = 0x400454CA, 1, 0x1000, 0x40000000
libc = ctypes.CDLL(None, use_errno=True)


def open_end(namespace, address, other):
    """Makes the end in its namespace, and stays there: a descriptor works from anywhere."""
    with open(f"/run/netns/{namespace}") as place:
        if libc.setns(place.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    end = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(end, TUNSETIFF, struct.pack("16sH22x", b"line", IFF_TUN | IFF_NO_PI))
    for words in (["addr", "add", address, "peer", other, "dev", "line"], ["link", "set", "line", "up", "txqueuelen", "5000"]):
        subprocess.run(["ip", *words], check=True)
    return end


class Direction:
    def __init__(self, mbit, delay_ms, buffer_ms):
        self.bytes_per_s, self.delay_s, self.buffer_s = mbit * 125_000, delay_ms / 1000, buffer_ms / 1000
        self.under_way = collections.deque()
        self.free_at = 0.0
        self.passed = self.lost = 0

    def take(self, packet, now):
        start = max(now, self.free_at)
        if self.bytes_per_s and start - now > self.buffer_s:
            self.lost += len(packet)
            return
        self.free_at = start + (len(packet) / self.bytes_per_s if self.bytes_per_s else 0)
        self.under_way.append((self.free_at + self.delay_s, packet))

    def deliver(self, end, now, mended):
        while self.under_way and self.under_way[0][0] <= now:
            packet = self.under_way.popleft()[1]
            if not mended:
                continue
            self.passed += len(packet)
            try:
                os.write(end, packet)
            except OSError:
                self.lost += len(packet)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--ends", nargs=2, required=True)
    for name in ("--up", "--down"):
        parser.add_argument(name, type=float, default=0)
    parser.add_argument("--delay-ms", type=float, default=100)
    parser.add_argument("--buffer-ms", type=float, default=2000)
    options = parser.parse_args()
    (near, near_address), (far, far_address) = (word.split("=") for word in options.ends)
    ends = [open_end(near, near_address, far_address), open_end(far, far_address, near_address)]
    ways = [Direction(rate, options.delay_ms, options.buffer_ms) for rate in (options.up, options.down)]
    mended = True
    print("READY", flush=True)
    while True:
        due = min((way.under_way[0][0] for way in ways if way.under_way), default=None)
        wait = 1.0 if due is None else max(0.0, due - time.monotonic())
        ready, _, _ = select.select([*ends, 0], [], [], wait)
        if 0 in ready:
            words = os.read(0, 4096).decode()
            if words == "":
                return
            for word in words.split("\n")[:-1]:
                mended = word == "mend" or (mended and word != "cut")
                print(*(way.passed for way in ways), *(way.lost for way in ways), flush=True)
        for end, way in zip(ends, ways):
            for _ in range(256):
                if end not in ready:
                    break
                try:
                    packet = os.read(end, 65536)
                except BlockingIOError:
                    break
                if mended:
                    way.take(packet, time.monotonic())
        now = time.monotonic()
        ways[0].deliver(ends[1], now, mended)
        ways[1].deliver(ends[0], now, mended)


main()
