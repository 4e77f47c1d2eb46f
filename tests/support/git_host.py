"""A git host as the poll sees it: GitHub's lists of branches and tags, paged, with ETags and rate limits, from a script.
Shapes as GitHub documents them, written by us."""
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlparse


class GitHost:
    """refs: full name -> commit, as the host has them now. A test may hold an older copy up as what is answered (stale),
    or make every answer a given one (failure: status and headers)."""

    def __init__(self, page_size=3, token="the-token"):
        self.refs, self.page_size, self.token = {}, page_size, token
        self.stale, self.failure = None, None
        self.requests = []  # (path, status)
        self.lock = threading.Lock()
        host = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                host.answer(self)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
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

    def page(self, handler):
        """(status, headers, body) of a request."""
        if self.failure is not None:
            return self.failure[0], self.failure[1], b'{"message":"no"}'
        if handler.headers["Authorization"] != f"Bearer {self.token}" or not handler.headers["User-Agent"]:
            return 401, {}, b'{"message":"Bad credentials"}'
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
        with self.lock:
            status, headers, body = self.page(handler)
            self.requests.append((handler.path, status))
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        if status != 304:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)
