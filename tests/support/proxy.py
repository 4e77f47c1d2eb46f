"""An HTTP proxy in front of a store: keeps what was asked, in order, and plays the faults a real store cannot be made to show.
Headers and Host pass unchanged, so that signatures stay good."""
import http.client
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit


class Request:
    def __init__(self, handler, body):
        self.connection = handler.connection
        parts = urlsplit(handler.path)
        self.method, self.path, self.query = handler.command, unquote(parts.path), parse_qs(parts.query, keep_blank_values=True)
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = body
        self.began = time.monotonic()
        self.ended = None
        self.status = None

    @property
    def is_copy(self):
        return self.method == "PUT" and "x-amz-copy-source" in self.headers

    def wait_for_hang_up(self, seconds):
        """Whether the client closes the connection within this time, instead of waiting for the answer."""
        self.connection.settimeout(seconds)
        try:
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except TimeoutError:
            return False
        except OSError:
            return True

    @property
    def bucket(self):
        return self.path.split("/")[1]

    @property
    def key(self):
        return self.path.split("/", 2)[2] if self.path.count("/") > 1 else ""


class Proxy:
    """`fault(request)` answers None (pass on), a (status, body) pair, a number of seconds to wait before passing on, or "lose": pass on and hang up instead of
    handing the answer back."""

    def __init__(self, url, fault=None):
        self.upstream = urlsplit(url).netloc
        self.fault = fault or (lambda request: None)
        self.requests = []
        self.lock = threading.Lock()
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_):
                pass

            def handle_one(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                request = Request(self, body)
                with proxy.lock:
                    proxy.requests.append(request)
                answer = proxy.fault(request)
                if answer == "lose":
                    request.status = proxy.forward(self, body)[0]
                    self.close_connection = True
                    return
                if isinstance(answer, (int, float)):
                    time.sleep(answer)
                    answer = None
                status, headers, content = proxy.forward(self, body) if answer is None else (
                    answer[0], {"Content-Type": "application/xml"}, answer[1].encode())
                request.status, request.ended = status, time.monotonic()
                try:
                    self.send_response_only(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    if "Content-Length" not in headers:
                        self.send_header("Content-Length", str(len(content)))
                    self.end_headers()
                    self.wfile.write(content)
                except OSError:
                    self.close_connection = True

            do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, *_):
                pass

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def forward(self, handler, body):
        upstream = http.client.HTTPConnection(self.upstream, timeout=60)
        try:
            upstream.putrequest(handler.command, handler.path, skip_host=True, skip_accept_encoding=True)
            for name, value in handler.headers.items():
                upstream.putheader(name, value)
            upstream.endheaders(body)
            answer = upstream.getresponse()
            content = answer.read()
            headers = {name: value for name, value in answer.getheaders()
                       if name.lower() not in ("transfer-encoding", "connection", "content-length", "keep-alive")}
            if handler.command == "HEAD":
                headers["Content-Length"] = answer.getheader("Content-Length") or "0"
            return answer.status, headers, content
        finally:
            upstream.close()

    def parts(self):
        return [one for one in self.requests if one.method == "PUT" and "partNumber" in one.query]

    def copies(self):
        return [one for one in self.requests if one.is_copy]

    def close(self):
        self.server.shutdown()
        self.server.server_close()
