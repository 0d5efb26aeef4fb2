"""Atoll itself: a daemon of its own for each data plane, with one VPC through which several paths lead."""

import json
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time

from paths import template
from space import DEADLINE, Failed, Found, Skip, command

INTERNET = "198.51.100.10"


class Daemon:
    """`atoll serve` with one data plane, the template deployed."""

    def __init__(self, processes, binary, plane, words=()):
        self.processes, self.binary, self.plane, self.words = processes, str(binary), plane, words
        self.spaces, self.daemon, self.guard, self.addresses = {}, None, None, {}
        if not pathlib.Path(binary).exists():
            raise Skip(f"{binary} is not there (make build)")
        # Short: paths of Unix sockets are bounded.
        self.directory = tempfile.TemporaryDirectory(prefix="atoll-bench-")
        try:
            self.serve()
            self.deploy()
        except BaseException:
            self.close()
            raise

    def serve(self):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.environment = dict(os.environ, AWS_ENDPOINT_URL=f"http://127.0.0.1:{port}", AWS_REGION="us-east-1")
        for name, part in (("XDG_STATE_HOME", "state"), ("XDG_RUNTIME_DIR", "run"), ("HOME", "home")):
            path = pathlib.Path(self.directory.name, part)
            path.mkdir(mode=0o700)
            self.environment[name] = str(path)
        self.log = pathlib.Path(self.directory.name, "serve.log")
        with open(self.log, "w") as log:
            self.daemon = subprocess.Popen(
                [self.binary, "serve", "--listen", f"127.0.0.1:{port}", "--data-plane", self.plane, *self.words],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        # Should this program be killed, its pipe closes, and somebody else takes the daemon and its instances away.
        self.guard = subprocess.Popen(
            ["sh", "-c", 'cat; "$0" down --all; rm -rf "$1"', self.binary, self.directory.name],
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        end = time.monotonic() + 30
        while True:
            if self.daemon.poll() is not None:
                raise Skip(f"atoll refuses: {self.said()}")
            try:
                status = json.loads(self.atoll("status", "--json"))
                break
            except Failed:
                if time.monotonic() > end:
                    raise Failed(f"the daemon did not answer: {self.said()}") from None
                time.sleep(0.05)
        if status.get("data_plane") != self.plane:
            raise Skip(f"the daemon fell back to {status.get('data_plane')}: {self.said()}")

    def said(self):
        """Its refusal: the line of its log that says `error`, or the last one."""
        lines = [line.strip() for line in self.log.read_text().splitlines() if line.strip()]
        errors = [line for line in lines if "error" in line.lower()]
        return (errors or lines or ["nothing"])[0 if errors else -1]

    def deploy(self):
        path = pathlib.Path(self.directory.name, "bench.json")
        path.write_text(json.dumps(template.template()))
        self.atoll("up", str(path), "--stack", "bench")
        for region in json.loads(self.atoll("status", "--json"))["regions"]:
            for instance in region["instances"]:
                # IPv4 first.
                self.addresses[instance["name"]] = instance["addresses"]

    def atoll(self, *words):
        return command([self.binary, *words], env=self.environment)

    def space(self, name):
        """The namespace of an instance, or of the internet side, entered from outside.

        So what runs there has the same rights, limits and files as at the other paths' ends.
        """
        if name not in self.spaces:
            inode = self.atoll("exec", name, "--", "readlink", "/proc/self/ns/net").strip()
            self.spaces[name] = Found(self.processes, inode)
            self.spaces[name].end_point()
        return self.spaces[name]

    def close(self):
        for space in self.spaces.values():
            space.close()
        if self.guard:
            self.guard.kill()
            self.guard.wait()
            # Its `cat` ends with the pipe.
            self.guard.stdin.close()
        if self.daemon:
            down = [self.binary, "down", "--all"]
            try:
                # Also after a daemon that ended by itself: what it had begun is taken away.
                command(down, env=self.environment)
                self.daemon.wait(timeout=DEADLINE)
            except (Failed, subprocess.TimeoutExpired) as failed:
                print(f"bench: {failed}; ending the daemon", file=sys.stderr, flush=True)
                self.daemon.kill()
                self.daemon.wait()
                subprocess.run(down, env=self.environment, timeout=DEADLINE, start_new_session=True)
        self.directory.cleanup()


class AtollPath:
    """A client instance and a server, of one daemon."""

    def __init__(self, daemon, name, about, client, server, more_flows=0):
        self.name, self.about, self.more_flows = name, about, more_flows
        self.client, self.server = daemon.space(client), daemon.space(server)
        self.address = daemon.addresses.get(server, [INTERNET])[1 if name.endswith("6") else 0]


# (name, what it is, client, server, flows that are there beside those measured)
WAYS = [
    ("same", "same subnet", "client", "neighbour", 0),
    ("routed", "routed between subnets", "client", "server", 0),
    ("routed6", "routed between subnets, IPv6", "client", "server", 0),
    ("nat", "through a NAT gateway", "private", "internet", 0),
    ("internet", "through the internet gateway", "public", "internet", 0),
    ("light", "routed, a tenth of the rules and routes", "light-client", "light-server", 0),
    ("flows", "routed, 20,000 more flows", "client", "server", 20_000),
]
