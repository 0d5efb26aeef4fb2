"""A daemon of a test's own, and boto3 clients that call it as they would call AWS."""

import json
import os
import signal
import subprocess
import tempfile

import boto3
import botocore.exceptions
from botocore.config import Config

HERE = os.path.dirname(os.path.abspath(__file__))
ATOLL = os.environ.get("ATOLL", os.path.join(HERE, "../../target/debug/atoll"))
# One for all clients: it reads EC2's model once.
SESSION = boto3.session.Session()


class Daemon:
    """`atoll serve` without a data plane, in directories of its own."""

    def __init__(self, data=None):
        self.home = tempfile.TemporaryDirectory(prefix="atoll-clients-")
        self.data = data
        self.process = None
        self.start()

    def environment(self):
        run = os.path.join(self.home.name, "run")
        os.makedirs(run, mode=0o700, exist_ok=True)
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return {**kept, "HOME": self.home.name, "XDG_STATE_HOME": self.home.name, "XDG_RUNTIME_DIR": run}

    def start(self):
        keep = ["--data-dir", self.data] if self.data else ["--ephemeral"]
        command = [ATOLL, "serve", "--listen", "127.0.0.1:0", "--data-plane", "none", *keep]
        self.process = subprocess.Popen(
            command, env=self.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        said = self.process.stdout.readline()
        self.endpoint = said.strip().rsplit(" ", 1)[-1]
        assert self.endpoint.startswith("http://"), f"the daemon does not serve: {said!r}"
        env = [ATOLL, "env", "--json", "--endpoint", self.endpoint]
        self.env = json.loads(subprocess.run(env, env=self.environment(), check=True, capture_output=True).stdout)

    def kill(self):
        """As `kill -9` does."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def close(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait()
        self.process.stdout.close()
        self.home.cleanup()

    def client(self, service="ec2", **other):
        """A client that tries once, so that nothing is hidden by a retry."""
        settings = {
            "endpoint_url": self.endpoint,
            "region_name": self.env["AWS_REGION"],
            "aws_access_key_id": self.env["AWS_ACCESS_KEY_ID"],
            "aws_secret_access_key": self.env["AWS_SECRET_ACCESS_KEY"],
            "config": Config(retries={"total_max_attempts": 1}, read_timeout=120, max_pool_connections=16),
            **other,
        }
        return SESSION.client(service, **settings)


def refused(call, **parameters):
    """The code and the sentence that a call is refused with."""
    try:
        answer = call(**parameters)
    except botocore.exceptions.ClientError as error:
        return error.response["Error"]["Code"], error.response["Error"]["Message"]
    raise AssertionError(f"not refused: {parameters}: {answer}")


def tagged(kind, name):
    return [{"ResourceType": kind, "Tags": [{"Key": "Name", "Value": name}]}]


def where(**filters):
    """Filters from keyword arguments: `vpc_id="vpc-1"`; a dot is a double underscore."""
    return [
        {"Name": name.replace("__", ".").replace("_", "-"), "Values": value if isinstance(value, list) else [value]}
        for name, value in filters.items()
    ]


def soon(waiter, **parameters):
    """Waits as a client does, only oftener: until the state is reached, for two minutes at most."""
    waiter.wait(WaiterConfig={"Delay": 0.1, "MaxAttempts": 1200}, **parameters)
