"""A real Gitea for the tests, which is Forgejo's ancestor and sends what it sends: on a free loopback port, in a temporary
folder, with SQLite, without mail and SSH, allowed to call webhooks on this machine alone."""
import os
import secrets
import subprocess
import time
from pathlib import Path

import requests

from tests.support.kafka import TOOLS, die_with_parent, end, free_ports

HOME = TOOLS / "gitea"
PROGRAM = HOME / "gitea"
START_SECONDS = 40
OWNER, PASSWORD = "acme", "a-password-of-acme"
PAGE = 4  # refs that an answer of its API holds at most
SETTINGS = """
RUN_MODE = prod
WORK_PATH = {folder}
I_AM_BEING_UNSAFE_RUNNING_AS_ROOT = {is_root}
[server]
PROTOCOL = http
HTTP_ADDR = 127.0.0.1
HTTP_PORT = {port}
ROOT_URL = http://127.0.0.1:{port}/
STATIC_ROOT_PATH = {home}
OFFLINE_MODE = true
DISABLE_SSH = true
LFS_START_SERVER = false
[database]
DB_TYPE = sqlite3
PATH = {folder}/gitea.db
SQLITE_JOURNAL_MODE = WAL
[security]
INSTALL_LOCK = true
SECRET_KEY = {key}
INTERNAL_TOKEN = {token}
PASSWORD_HASH_ALGO = pbkdf2$1000$20
[webhook]
ALLOWED_HOST_LIST = loopback
[api]
MAX_RESPONSE_ITEMS = {page}
DEFAULT_PAGING_NUM = {page}
[service]
DISABLE_REGISTRATION = true
[mailer]
ENABLED = false
[oauth2]
ENABLED = false
[actions]
ENABLED = false
[packages]
ENABLED = false
[queue]
TYPE = channel
[cron]
ENABLED = false
[indexer]
ISSUE_INDEXER_TYPE = db
[log]
MODE = console
LEVEL = warn
"""


class GitServer:
    def __init__(self, directory):
        self.directory = Path(directory).resolve()
        self.directory.mkdir(parents=True, exist_ok=True)
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    @property
    def log(self):
        return (self.directory / "server.log").read_text()

    def _environment(self):
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("GIT_", "GITEA_", "FORGEJO_"))}
        return {**kept, "HOME": str(self.directory), "USER": kept.get("USER", "root" if os.getuid() == 0 else "tests")}

    def _command(self, *words):
        return [str(PROGRAM), *words, "--config", str(self.directory / "app.ini")]

    def start(self):
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        (self.directory / "app.ini").write_text(SETTINGS.format(
            folder=self.directory, home=HOME, port=port, page=PAGE, is_root=str(os.getuid() == 0).lower(),
            key=secrets.token_hex(32), token=secrets.token_hex(32)))
        with open(self.directory / "server.log", "w") as log:
            self.process = subprocess.Popen(self._command("web"), stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=self.directory,
                                            env=self._environment(), start_new_session=True, preexec_fn=die_with_parent)
        self._wait()
        made = subprocess.run(self._command("admin", "user", "create", "--username", OWNER, "--password", PASSWORD, "--email",
                                            "acme@example.com", "--admin", "--must-change-password=false"),
                              capture_output=True, text=True, timeout=START_SECONDS, cwd=self.directory, env=self._environment())
        assert made.returncode == 0, made.stdout + made.stderr

    def _wait(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError("Gitea ended: " + self.log[-2000:])
            try:
                if requests.get(self.url + "/api/healthz", timeout=1).ok:
                    return
            except requests.RequestException:
                pass
            time.sleep(0.05)
        raise RuntimeError("Gitea did not answer in time: " + self.log[-2000:])

    def stop(self):
        if self.process is not None:
            end(self.process, 5)

    def ask(self, method, path, **more):
        """Its API, as the owner."""
        answer = requests.request(method, f"{self.url}/api/v1{path}", auth=(OWNER, PASSWORD), timeout=20, **more)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else None

    def make_token(self, name, *scopes):
        return self.ask("POST", f"/users/{OWNER}/tokens", json={"name": name, "scopes": list(scopes)})["sha1"]

    def make_repository(self, name, folder):
        return Repository(self, name, folder)


class Repository:
    """A private repository of the server, and a clone of it in a folder, worked with by git itself."""

    def __init__(self, server, name, folder):
        self.server, self.name, self.folder = server, f"{OWNER}/{name}", Path(folder)
        self.folder.mkdir(parents=True)
        server.ask("POST", "/user/repos", json={"name": name, "private": True, "default_branch": "main"})
        self.git("init", "-q", "-b", "main")
        self.git("remote", "add", "origin", f"{server.url.replace('://', f'://{OWNER}:{PASSWORD}@')}/{self.name}.git")

    def git(self, *words):
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        done = subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@example.com", "-C", str(self.folder), *words],
                              env={**kept, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "HOME": str(self.folder)},
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, f"git {words}: {done.stderr}"
        return done.stdout.strip()

    def commit(self, message):
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.commit_of("HEAD")

    def commit_of(self, name):
        return self.git("rev-parse", name + "^{commit}")

    def push(self, *words):
        self.git("push", "-q", "origin", *words)

    def add_hook(self, url, secret, events):
        """Its id."""
        config = {"url": url, "content_type": "json", "secret": secret}
        return self.server.ask("POST", f"/repos/{self.name}/hooks",
                               json={"type": "gitea", "active": True, "events": list(events), "config": config})["id"]

    def test_hook(self, hook):
        self.server.ask("POST", f"/repos/{self.name}/hooks/{hook}/tests")
