"""A git host from a script. For the poll GitHub's lists of branches and tags, paged, with ETags and rate limits; for the
notifier the commit statuses of GitHub, GitLab, Gitea and both Bitbuckets. Shapes as the hosts document them, written by us."""
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlparse


# Where a status is posted to: provider, what names the commit, and what must be in the body.
STATUSES = {
    "github": (r"/repos/([^/]+/[^/]+)/statuses/([0-9a-f]+)", "context", {"error", "failure", "pending", "success"}, "target_url"),
    "gitea": (r"/api/v1/repos/([^/]+/[^/]+)/statuses/([0-9a-f]+)", "context", {"error", "failure", "pending", "success"}, "target_url"),
    "gitlab": (r"/api/v4/projects/([^/]+)/statuses/([0-9a-f]+)", "name", {"pending", "running", "success", "failed", "canceled"}, "target_url"),
    "bitbucket": (r"/2\.0/repositories/([^/]+/[^/]+)/commit/([0-9a-f]+)/statuses/build", "key",
                  {"SUCCESSFUL", "FAILED", "INPROGRESS", "STOPPED"}, "url"),
    "bitbucket-server": (r"/rest/api/latest/projects/([^/]+/repos/[^/]+)/commits/([0-9a-f]+)/builds", "key",
                         {"SUCCESSFUL", "FAILED", "INPROGRESS"}, "url"),
}


class GitHost:
    """refs: full name -> commit, as the host has them now. A test may hold an older copy up as what is answered (stale),
    or make every answer a given one (failure: status and headers)."""

    def __init__(self, page_size=3, token="the-token"):
        self.refs, self.page_size, self.token = {}, page_size, token
        self.stale, self.failure = None, None
        self.requests = []  # (path, status)
        self.posts = []  # (repository, commit, what names the status, state, description, link), as far as they were accepted
        self.lock = threading.Lock()
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                host.answer(self)

            def do_POST(self):
                host.answer(self)

            def log_message(self, *_):
                pass

        self.handler, self.port = Handler, 0
        self.open()
        self.url = f"http://127.0.0.1:{self.port}"

    def open(self):
        """Also again after close, at the same address."""
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), self.handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def set(self, **changes):
        """Several changes at once: refs, stale, failure."""
        with self.lock:
            for name, value in changes.items():
                setattr(self, name, value)

    def move(self, ref, commit):
        with self.lock:
            refs = dict(self.refs)
            refs.pop(ref, None)
            if commit is not None:
                refs[ref] = commit
            self.refs = refs

    def count(self, status=None):
        with self.lock:
            return len([1 for _, one in self.requests if status in (None, one)])

    def knows(self, headers):
        """The token, as any of the hosts wants it."""
        return f"Bearer {self.token}" == headers["Authorization"] or f"token {self.token}" == headers["Authorization"] or \
            self.token == headers["PRIVATE-TOKEN"]

    def take_status(self, path, body):
        """(status, headers, body) of a posted status. As strict as the hosts are."""
        told = json.loads(body)
        for pattern, name, states, link in STATUSES.values():
            found = re.fullmatch(pattern, path)
            if found and name in told and told.get("state") in states and len(told["description"]) <= 140:
                if link == "url" and (not told.get("url") or len(told["key"]) > 40):
                    return 400, {}, b'{"error":{"message":"url is required, key has at most 40 characters"}}'
                self.posts.append((unquote(found[1]).replace("/repos/", "/"), found[2], told[name], told["state"], told["description"],
                                   told.get(link)))
                return 201, {}, b"{}"
        return 404, {}, b'{"message":"Not Found"}'

    def page(self, handler, body):
        """(status, headers, body) of a request."""
        if self.failure is not None:
            return self.failure[0], self.failure[1], b'{"message":"no"}'
        if not self.knows(handler.headers) or not handler.headers["User-Agent"]:
            return 401, {}, b'{"message":"Bad credentials"}'
        if handler.command == "POST":
            return self.take_status(handler.path, body)
        url = urlparse(handler.path)
        kind = url.path.rpartition("/")[2]
        prefix = {"tags": "refs/tags/", "branches": "refs/heads/"}.get(kind)
        if url.path != f"/repos/acme/app/{kind}" or prefix is None:
            return 404, {}, b'{"message":"Not Found"}'
        refs = self.stale if self.stale is not None else self.refs
        rows = sorted((name.removeprefix(prefix), commit) for name, commit in refs.items() if name.startswith(prefix))
        number = int(parse_qs(url.query).get("page", ["1"])[0])
        shown = rows[(number - 1) * self.page_size:number * self.page_size]
        body = json.dumps([{"name": name, "commit": {"sha": commit, "url": "https://example.com/"}} for name, commit in shown]).encode()
        headers = {}
        if number * self.page_size < len(rows):
            headers["Link"] = f'<{self.url}{url.path}?per_page=100&page={number + 1}>; rel="next", <{self.url}{url.path}?page=99>; rel="last"'
        headers["ETag"] = 'W/"' + hashlib.sha256(body + headers.get("Link", "").encode()).hexdigest() + '"'
        if handler.headers["If-None-Match"] == headers["ETag"]:
            return 304, headers, b""
        return 200, headers, body

    def answer(self, handler):
        body = handler.rfile.read(int(handler.headers["Content-Length"] or 0))
        with self.lock:
            status, headers, body = self.page(handler, body)
            self.requests.append((handler.path, status))
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status != 304:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
