"""A small STS in front of MinIO: checks role, external id, session name and the caller's signature, then hands out
MinIO's own temporary credentials of the account's user. MinIO alone ignores which role is asked for."""
import datetime
import hashlib
import http.server
import re
import threading
import urllib.parse
from xml.sax.saxutils import escape

import requests
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

SESSION_NAME = re.compile(r"[\w+=,.@-]{2,64}")


class StsFront:
    def __init__(self, minio_url, caller_key, caller_secret):
        self.minio_url = minio_url
        self.caller = {caller_key: caller_secret}
        self.roles = {}      # ARN -> {"external_id", "user", "secret"}
        self.calls = []      # what was asked, in order
        self.issued = []     # secret keys and session tokens that were handed out
        self.failures = {}   # ARN -> list of (status, code)
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, text = front.answer(self.headers, body)
                data = text.encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/xml")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def add_role(self, arn, user, secret, external_id=None):
        self.roles[arn] = {"external_id": external_id, "user": user, "secret": secret}

    def fail(self, arn, times, status=503, code="Throttling"):
        self.failures[arn] = [(status, code)] * times

    @staticmethod
    def error(status, code, message):
        return status, (f"<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code>"
                        f"<Message>{escape(message)}</Message></Error><RequestId>front</RequestId></ErrorResponse>")

    def signature_is_right(self, headers, body):
        authorization = headers.get("Authorization", "")
        match = re.match(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/sts/aws4_request, "
                         r"SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$", authorization)
        if not match or match.group(1) not in self.caller:
            return "InvalidClientTokenId"
        date = headers.get("X-Amz-Date", "")
        try:
            at = datetime.datetime.strptime(date, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
        except ValueError:
            return "SignatureDoesNotMatch"
        if abs((datetime.datetime.now(datetime.timezone.utc) - at).total_seconds()) > 900:
            return "RequestExpired"
        signed = match.group(4).split(";")
        request = AWSRequest("POST", self.url + "/", data=body,
                             headers={name: headers[name] for name in signed if name != "host"})
        request.headers["host"] = headers["Host"]
        request.context["timestamp"] = date
        signer = SigV4Auth(Credentials(match.group(1), self.caller[match.group(1)]), "sts", match.group(3))
        canonical = "\n".join(["POST", "/", "",
                               "".join(f"{n}:{' '.join(headers[n].split())}\n" for n in signed),
                               ";".join(signed), hashlib.sha256(body).hexdigest()])
        text = signer.string_to_sign(request, canonical)
        return None if signer.signature(text, request) == match.group(5) else "SignatureDoesNotMatch"

    def answer(self, headers, body):
        form = dict(urllib.parse.parse_qsl(body.decode()))
        arn = form.get("RoleArn", "")
        self.calls.append(form)
        wrong = self.signature_is_right(headers, body)
        if wrong:
            return self.error(403, wrong, "the request is not signed by a known caller")
        if self.failures.get(arn):
            status, code = self.failures[arn].pop()
            return self.error(status, code, "as the test asked for")
        if not SESSION_NAME.fullmatch(form.get("RoleSessionName", "")):
            return self.error(400, "ValidationError", "roleSessionName is not valid")
        if not 900 <= int(form.get("DurationSeconds", "3600")) <= 43200:
            return self.error(400, "ValidationError", "durationSeconds is not valid")
        role = self.roles.get(arn)
        if role is None or role["external_id"] != form.get("ExternalId"):
            return self.error(403, "AccessDenied",
                              f"User is not authorized to perform: sts:AssumeRole on resource: {arn}")
        return self.credentials(arn, role, form)

    def credentials(self, arn, role, form):
        asked = {"Action": "AssumeRole", "Version": "2011-06-15",
                 "DurationSeconds": form.get("DurationSeconds", "3600")}
        if "Policy" in form:
            asked["Policy"] = form["Policy"]
        data = urllib.parse.urlencode(asked)
        request = AWSRequest("POST", self.minio_url + "/", data=data,
                             headers={"Content-Type": "application/x-www-form-urlencoded"})
        SigV4Auth(Credentials(role["user"], role["secret"]), "sts", "us-east-1").add_auth(request)
        reply = requests.post(self.minio_url + "/", data=data, headers=dict(request.headers), timeout=10)
        if reply.status_code != 200:
            return self.error(500, "InternalError", reply.text[:300])
        issued = re.search(r"<Credentials>.*</Credentials>", reply.text, re.S).group(0)
        self.issued += re.findall(r"<(?:SecretAccessKey|SessionToken)>([^<]*)<", issued)
        account, name = arn.split(":")[4], arn.split("/")[-1]
        return 200, (f"<AssumeRoleResponse xmlns='https://sts.amazonaws.com/doc/2011-06-15/'><AssumeRoleResult>{issued}"
                     f"<AssumedRoleUser><Arn>arn:aws:sts::{account}:assumed-role/{name}/{form['RoleSessionName']}</Arn>"
                     f"</AssumedRoleUser></AssumeRoleResult></AssumeRoleResponse>")
