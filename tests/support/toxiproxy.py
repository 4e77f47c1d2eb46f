"""A network that can be cut and slowed: TCP proxies of a toxiproxy server, driven over its HTTP API."""
import subprocess
import time

import requests

from tests.support.kafka import TOOLS, die_with_parent, end

ANSWER_SECONDS = 20


class Toxiproxy:
    def __init__(self, log_path, port):
        self.log_path, self.port = log_path, port
        self.process = None
        self.url = f"http://127.0.0.1:{port}"
        self.http = requests.Session()

    def start(self):
        with open(self.log_path, "a") as log:
            self.process = subprocess.Popen([TOOLS / "bin" / "toxiproxy-server", "-host", "127.0.0.1", "-port", str(self.port)],
                                            stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                            preexec_fn=die_with_parent)
        self._until_answered("get", "/version")

    def stop(self):
        if self.process is not None:
            end(self.process)

    def _ask(self, method, path, body=None):
        answer = self.http.request(method, self.url + path, json=body, timeout=5)
        if answer.status_code >= 300:
            raise RuntimeError(f"toxiproxy: {method} {path}: {answer.status_code} {answer.text}")
        return answer

    def _until_answered(self, method, path, body=None):
        deadline = time.monotonic() + ANSWER_SECONDS
        while True:
            try:
                return self._ask(method, path, body)
            except (requests.ConnectionError, RuntimeError):
                if time.monotonic() > deadline or self.process.poll() is not None:
                    raise
                time.sleep(0.1)

    def add(self, name, port, upstream_port):
        self._ask("post", "/proxies", {"name": name, "listen": f"127.0.0.1:{port}", "enabled": True,
                                       "upstream": f"127.0.0.1:{upstream_port}"})

    def cut(self, name):
        """Open connections are closed, new ones refused."""
        self._ask("post", f"/proxies/{name}", {"enabled": False})

    def mend(self, name):
        """Undoes a cut."""
        self._ask("post", f"/proxies/{name}", {"enabled": True})

    def _poison(self, name, kind, stream, attributes):
        self._ask("post", f"/proxies/{name}/toxics",
                  {"name": f"{kind}-{stream}", "type": kind, "stream": stream, "attributes": attributes})

    def black_hole(self, name):
        """Connections stay open and nothing passes, in either direction."""
        for stream in ("upstream", "downstream"):
            self._poison(name, "timeout", stream, {"timeout": 0})

    def slow(self, name, latency_ms, jitter_ms):
        for stream in ("upstream", "downstream"):
            self._poison(name, "latency", stream, {"latency": latency_ms, "jitter": jitter_ms})

    def reset(self, name):
        """Connections end with RST, the old and the new ones."""
        self._poison(name, "reset_peer", "downstream", {"timeout": 0})

    def heal(self, name):
        """Takes away everything but a cut."""
        for toxic in self._ask("get", f"/proxies/{name}/toxics").json():
            self._ask("delete", f"/proxies/{name}/toxics/{toxic['name']}")
