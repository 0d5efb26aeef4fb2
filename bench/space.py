"""Network namespaces, and processes in them, that end with the benchmark however it ends.

A namespace lives as long as the process that holds it: `cat`, reading a pipe from here. When this program is killed
the pipe closes, `cat` ends, and the kernel takes the namespace with its links, rules and BPF programs away. Nothing has
a name in the file system. Without root the first namespace brings a user namespace, and the others belong to it.
"""

import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile
import time

ROOT = os.geteuid() == 0
DEADLINE = 120
HOLD = ["setpriv", "--pdeathsig", "KILL", "cat"]
# Debian's tools for administrators are not on everybody's PATH.
os.environ["PATH"] += ":/usr/sbin:/sbin"


class Skip(Exception):
    """A path that cannot be measured here, with the reason."""


class Failed(Exception):
    """A command that failed, with what it said."""


def command(words, deadline=DEADLINE, **more):
    """Runs a command, gives back what it printed."""
    try:
        done = subprocess.run(words, text=True, capture_output=True, timeout=deadline, start_new_session=True, **more)
    except subprocess.TimeoutExpired:
        raise Failed(f"`{' '.join(words)}` did not end in {deadline:.0f} s") from None
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        errors = [line for line in said if "error:" in line] or said[-1:] or [f"exit {done.returncode}"]
        raise Failed(f"`{' '.join(words)}`: {errors[0]}")
    return done.stdout


def needs(*tools):
    """Skips a path whose tools are not installed."""
    missing = [tool for tool in tools if not shutil.which(tool)]
    if missing:
        raise Skip(f"{', '.join(missing)}: not installed (scripts/setup --bench)")


class Processes:
    """What was started and must end, in the opposite order, and its files."""

    def __init__(self):
        self.running = []
        self.directories = []

    def directory(self):
        """A directory for their files, that goes when they have ended. Its path is short, as Unix sockets want it."""
        made = tempfile.mkdtemp(prefix="atoll-bench-")
        self.directories.append(made)
        # Should this program be killed, somebody else takes it away.
        self.start(["sh", "-c", 'cat; rm -rf "$0"', made])
        return pathlib.Path(made)

    def start(self, words, ready=None, **more):
        """Starts a process in a session of its own, so that Ctrl-C reaches this program alone.

        With `ready`, waits until it prints that line. Its stdin is a pipe that closes when this program ends.
        """
        more.setdefault("stdout", subprocess.PIPE if ready else subprocess.DEVNULL)
        more.setdefault("stderr", subprocess.DEVNULL)
        process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **more,
        )
        self.running.append(process)
        if ready and process.stdout.readline().strip() != ready:
            raise Failed(f"`{' '.join(words)}` did not start")
        return process

    def hold(self, words, otherwise):
        """Starts what ends as `cat` and so keeps the namespace that it is in by then; fails with `otherwise`."""
        holder = self.start(words, stdout=subprocess.PIPE)
        # Its answer says that it is `cat` by now.
        holder.stdin.write("there\n")
        holder.stdin.flush()
        if holder.stdout.readline() != "there\n":
            raise Failed(otherwise)
        return holder

    def end(self, process, patience=5):
        """Ends one process: its stdin closes, then SIGTERM, then SIGKILL."""
        if process in self.running:
            self.running.remove(process)
        process.stdin.close()
        for step in (lambda: None, process.terminate, process.kill):
            step()
            try:
                process.wait(timeout=0.3 if step is not process.terminate else patience)
                break
            except subprocess.TimeoutExpired:
                continue
        process.wait(timeout=patience)
        if process.stdout:
            process.stdout.close()

    def close(self):
        for process in reversed(list(self.running)):
            self.end(process)
        while self.directories:
            shutil.rmtree(self.directories.pop(), ignore_errors=True)


class Space:
    """A network namespace to run commands in."""

    def __init__(self, processes, prefix, namespace):
        self.processes = processes
        self.prefix = prefix
        # What `ip link ... netns` takes: a process in it, or nothing where it is somebody else's.
        self.pid = namespace

    @classmethod
    def make(cls, processes, beside=None):
        """A new one, without root in the user namespace of `beside`, or in a new one."""
        if ROOT:
            words = ["unshare", "--net"]
        elif beside:
            words = [*beside.prefix, "unshare", "--net"]
        else:
            words = ["unshare", "--user", "--map-root-user", "--net"]
        why = "unshare failed" if ROOT else "are user namespaces allowed?"
        holder = processes.hold([*words, *HOLD], f"no new network namespace: {why}")
        user = [] if ROOT else ["--user", "--preserve-credentials"]
        space = cls(processes, ["nsenter", "--target", str(holder.pid), *user, "--net"], holder.pid)
        space.run("ip", "link", "set", "lo", "up")
        return space

    def run(self, *words, **more):
        return command([*self.prefix, *words], **more)

    def lines(self, text):
        """Runs each line of `text` as a command."""
        for line in text.strip().splitlines():
            self.run(*line.split())

    def set(self, **values):
        """Writes sysctls: `net_ipv4_ip_forward=1` by its last part, `/` for dots that are in names."""
        for name, value in values.items():
            path = "/proc/sys/net/" + name.replace("__", "/")
            self.run("sh", "-c", f"echo '{value}' > {path}")

    def start(self, words, **more):
        # setpriv comes last: entering a user namespace clears what it sets.
        return self.processes.start([*self.prefix, "setpriv", "--pdeathsig", "KILL", *words], **more)

    def end_point(self):
        """What an end of a path wants of its kernel, the same in all paths: closed ports are free again after a quarter second.

        connect() takes every other port first, and looks through all of them for each connection when none of those is
        free. Where they rest a whole second, as before Linux 6.14, 14,000 connections a second that are closed by FIN are
        all that any path has.
        """
        self.set(ipv4__tcp_tw_reuse=1)
        with contextlib.suppress(Failed):
            self.set(ipv4__tcp_tw_reuse_delay=250)

    def listens(self, port):
        """Waits until a TCP server listens at `port`: 0A is LISTEN."""
        wanted = re.compile(rf":{port:04X} [0:]* 0A")
        end = time.monotonic() + 20
        while not wanted.search(self.run("cat", "/proc/net/tcp", "/proc/net/tcp6")):
            if time.monotonic() > end:
                raise Failed(f"nothing listens on port {port}")
            time.sleep(0.02)


def veth(one, name, other, peer, mtu=9001):
    """Joins two spaces by a veth pair, both ends up."""
    there = ["peer", "name", peer, "mtu", str(mtu), "netns", str(other.pid)]
    one.run("ip", "link", "add", name, "mtu", str(mtu), "type", "veth", *there)
    one.run("ip", "link", "set", name, "up")
    other.run("ip", "link", "set", peer, "up")


class Found(Space):
    """A network namespace that somebody else made, held by file descriptors."""

    def __init__(self, processes, inode):
        self.files = []
        pid = self.process_in(inode)
        prefix = ["nsenter"]
        for kind in ("net",) if ROOT else ("user", "net"):
            self.files.append(os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY))
            prefix.append(f"--{kind}=/proc/{os.getpid()}/fd/{self.files[-1]}")
        if not ROOT:
            prefix.append("--preserve-credentials")
        super().__init__(processes, prefix, None)

    @staticmethod
    def process_in(inode):
        for path in pathlib.Path("/proc").glob("[0-9]*/ns/net"):
            try:
                if os.readlink(path) == inode:
                    return path.parts[2]
            except OSError:
                continue
        raise Failed(f"no process to be seen in {inode}")

    def close(self):
        while self.files:
            os.close(self.files.pop())
