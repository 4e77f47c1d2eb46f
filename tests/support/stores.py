"""Object stores with one main and many tenant accounts, behind one interface. What each really judges differs and is said
in `judges`: moto plays accounts and roles, MinIO with the STS front knows tokens and policies, versitygw verifies
signatures, source bucket policies and bucket owners."""
import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import boto3
import requests
from botocore.config import Config

from tests.support.kafka import TOOLS, die_with_parent, end, free_ports
from tests.support.sts_front import StsFront

MAIN = "111111111111"
MAIN_KEY, MAIN_SECRET = "main-access-key", "main-secret-key"
ROLE = "cicd-lambda-copyartifact-role"
START_SECONDS = 30


def s3_client(url, key, secret, token=None):
    return boto3.client("s3", endpoint_url=url, aws_access_key_id=key, aws_secret_access_key=secret,
                        aws_session_token=token, region_name="us-east-1",
                        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 3}))


def tenant_policy(account, source):
    """The rights of the reference's role: write and list its own buckets, read and list the source; and those that objects
    with tags need."""
    own = [f"arn:aws:s3:::source-artifact-{account}", f"arn:aws:s3:::frontend-{account}"]
    main = f"arn:aws:s3:::{source}"
    return {"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Action": ["s3:PutObject", "s3:PutObjectTagging"],
         "Resource": [f"{bucket}/*" for bucket in own]},
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": [*own, main]},
        {"Effect": "Allow", "Action": ["s3:GetObject", "s3:GetObjectTagging"], "Resource": [f"{main}/*"]}]}


class Store:
    name = ""
    judges = set()
    holds = {"tags"}
    lists_any_key = True
    largest = 1 << 30  # object that it copies in a test's time

    def __init__(self, directory):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.source_bucket = f"cicd-source-artifact-{MAIN}"
        self.accounts = {}
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def _run(self, command, environment, url):
        log = open(self.directory / "server.log", "a")
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                                        env={**os.environ, **environment}, start_new_session=True,
                                        preexec_fn=die_with_parent)
        log.close()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.name} ended: " + (self.directory / "server.log").read_text()[-2000:])
            try:
                requests.get(url, timeout=1)
                return
            except requests.RequestException:
                time.sleep(0.05)
        raise RuntimeError(f"{self.name} did not answer in time")

    def stop(self):
        if self.process is not None:
            self.resume()
            end(self.process, 5)

    def pause(self):
        os.kill(self.process.pid, signal.SIGSTOP)

    def resume(self):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)

    def client(self, account):
        return s3_client(self.url, *self.accounts[account])

    def main_client(self):
        return s3_client(self.url, MAIN_KEY, MAIN_SECRET)

    def admin_client(self):
        """May look into every bucket: for what the tests compare."""
        return self.main_client()

    def remove_bucket(self, bucket, account):
        client = self.owner_client(account)
        for found in client.list_object_versions(Bucket=bucket).get("Versions", []):
            client.delete_object(Bucket=bucket, Key=found["Key"], VersionId=found["VersionId"])
        for found in client.list_objects_v2(Bucket=bucket).get("Contents", []):
            client.delete_object(Bucket=bucket, Key=found["Key"])
        client.delete_bucket(Bucket=bucket)

    def owner_client(self, account):
        return self.client(account)

    def _make_buckets(self, client, account):
        for bucket in (f"source-artifact-{account}", f"frontend-{account}"):
            client.create_bucket(Bucket=bucket)
            try:
                client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            except client.exceptions.ClientError:
                pass

    def objects(self, bucket, account):
        """key -> bytes, read by somebody else's client."""
        client = self.owner_client(account)
        found = {}
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            for item in page.get("Contents", []):
                found[item["Key"]] = client.get_object(Bucket=bucket, Key=item["Key"])["Body"].read()
        return found

    def environment(self):
        return {"AWS_ACCESS_KEY_ID": MAIN_KEY, "AWS_SECRET_ACCESS_KEY": MAIN_SECRET, "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL_S3": self.url, "AWS_ENDPOINT_URL_STS": self.sts_url,
                "AWS_SHARED_CREDENTIALS_FILE": str(self.directory / "credentials"),
                "AWS_CONFIG_FILE": str(self.directory / "config")}

    def settings(self):
        return [f"aws.main_account={MAIN}"]


class Moto(Store):
    name = "moto"
    judges = {"accounts"}
    largest = 20 << 20
    holds = set()  # tags are kept per account: those of the source are not seen by the account that copies

    def start(self):
        port = free_ports(1)[0]
        self.url = self.sts_url = f"http://127.0.0.1:{port}"
        self._run([str(TOOLS / "venv/bin/moto_server"), "-H", "127.0.0.1", "-p", str(port)], {}, self.url)
        self.main = self._account_client(MAIN)
        self.main.create_bucket(Bucket=self.source_bucket)

    def _account_client(self, account):
        sts = boto3.client("sts", endpoint_url=self.url, aws_access_key_id="test", aws_secret_access_key="test",
                           region_name="us-east-1")
        got = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/{ROLE}", RoleSessionName="tests")["Credentials"]
        self.accounts[account] = (got["AccessKeyId"], got["SecretAccessKey"], got["SessionToken"])
        return self.client(account)

    def main_client(self):
        return self.main

    def add_account(self, account, external_id=None, buckets=True):
        client = self._account_client(account)
        if buckets:
            self._make_buckets(client, account)

    def environment(self):
        key, secret, token = self.accounts[MAIN]
        return {**super().environment(), "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret,
                "AWS_SESSION_TOKEN": token}


class Minio(Store):
    name = "minio"
    judges = {"signatures", "session_token", "role", "external_id", "role_policy"}

    def start(self):
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        data = self.directory / "data"
        data.mkdir(exist_ok=True)
        self._run([str(TOOLS / "bin/minio"), "server", "--quiet", "--address", f"127.0.0.1:{port}", str(data)],
                  {"MINIO_ROOT_USER": MAIN_KEY, "MINIO_ROOT_PASSWORD": MAIN_SECRET, "MINIO_BROWSER": "off"},
                  self.url + "/minio/health/live")
        self.front = StsFront(self.url, MAIN_KEY, MAIN_SECRET)
        self.sts_url = self.front.url
        self.main_client().create_bucket(Bucket=self.source_bucket)

    def stop(self):
        super().stop()
        self.front.stop()

    def owner_client(self, account):
        return self.main_client()

    def _admin(self):
        from minio import MinioAdmin
        from minio.credentials import StaticProvider
        return MinioAdmin(endpoint=self.url.removeprefix("http://"), credentials=StaticProvider(MAIN_KEY, MAIN_SECRET),
                          secure=False)

    def add_account(self, account, external_id=None, buckets=True):
        secret = f"secret-{account}"
        self.accounts[account] = (account, secret)
        admin = self._admin()
        admin.user_add(account, secret)
        admin.policy_add(f"tenant-{account}", policy=tenant_policy(account, self.source_bucket))
        admin.attach_policy([f"tenant-{account}"], user=account)
        self.front.add_role(f"arn:aws:iam::{account}:role/{ROLE}", account, secret, external_id)
        if buckets:
            self._make_buckets(self.main_client(), account)


class Versitygw(Store):
    name = "versitygw"
    judges = {"signatures", "source_bucket_policy", "expected_bucket_owner"}
    program = TOOLS / "bin/versitygw"
    tenants = ()  # accounts that are there from the start, which is quicker than one by one
    is_logging = True

    @property
    def access_log(self):
        """One line per request, written by the store when it has done it and before it answers."""
        return self.directory / "access.log"

    def start(self):
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        self.sts_url = "http://127.0.0.1:9"
        base = Path("/dev/shm") / f"tagfleet-{os.getpid()}-{port}"
        self.folder = base if os.access("/dev/shm", os.W_OK) else self.directory
        for name in ("data", "versions", "iam"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        log = ["--access-log", str(self.access_log.absolute())] if self.is_logging else []
        self._write_users()
        self._run([str(self.program), "--port", f"127.0.0.1:{port}", "--keep-alive", "--quiet", *log,
                   "--iam-dir", str(self.folder / "iam"), "posix", "--versioning-dir", str(self.folder / "versions"),
                   str(self.folder / "data")],
                  {"ROOT_ACCESS_KEY": "root", "ROOT_SECRET_KEY": "root-secret"}, self.url)
        self.main_client().create_bucket(Bucket=self.source_bucket)

    def stop(self):
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True) if self.folder != self.directory else None

    def _write_users(self):
        """The file that create-user writes."""
        self.accounts = {name: (name, f"secret-{name}") for name in (MAIN, *self.tenants)}
        users = {key: {"access": key, "secret": secret, "role": "userplus", "userID": 0, "groupID": 0, "projectID": 0}
                 for key, secret in self.accounts.values()}
        (self.folder / "iam" / "users.json").write_text(json.dumps({"accessAccounts": users}))
        self._write_profiles()

    def _user(self, account):
        secret = f"secret-{account}"
        subprocess.run([str(TOOLS / "bin/versitygw"), "admin", "-a", "root", "-s", "root-secret", "-er", self.url,
                        "create-user", "-a", account, "-s", secret, "-r", "userplus"], check=True, timeout=30,
                       stdout=subprocess.DEVNULL)
        self.accounts[account] = (account, secret)
        self._write_profiles()

    def _write_profiles(self):
        profiles = "".join(f"[tenant-{name}]\naws_access_key_id = {key}\naws_secret_access_key = {value}\n"
                           for name, (key, value) in self.accounts.items())
        (self.directory / "credentials").write_text(profiles)
        (self.directory / "config").write_text("")

    def main_client(self):
        return self.client(MAIN)

    def add_account(self, account, external_id=None, buckets=True):
        self.add_accounts([account], buckets)

    def add_accounts(self, accounts, buckets=True):
        for account in accounts:
            self._user(account)
            if buckets:
                self._make_buckets(self.client(account), account)
        tenants = [name for name in self.accounts if name != MAIN]
        source = f"arn:aws:s3:::{self.source_bucket}"
        self.main_client().put_bucket_policy(Bucket=self.source_bucket, Policy=json.dumps(
            {"Version": "2012-10-17", "Statement": [
                {"Effect": "Allow", "Principal": {"AWS": [MAIN]}, "Action": "s3:*", "Resource": [source, f"{source}/*"]},
                {"Effect": "Allow", "Principal": {"AWS": tenants},
                 "Action": ["s3:GetObject", "s3:GetObjectTagging"],
                 "Resource": [f"{source}/*"]},
                {"Effect": "Allow", "Principal": {"AWS": tenants}, "Action": ["s3:ListBucket"], "Resource": [source]}]}))

    def environment(self):
        key, secret = self.accounts[MAIN]
        return {**super().environment(), "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}

    def settings(self):
        return [*super().settings(), "resolver.credentials=profile"]


class S3sFs(Store):
    """One account, no roles, no policies, no tags: the lightest of all. Every tenant has the one key there is."""
    name = "s3s-fs"
    judges = {"signatures"}
    holds = set()
    lists_any_key = False  # it says that keys are encoded, and does not encode them: + and % are read as something else
    program = TOOLS / "bin/s3s-fs"

    def start(self):
        port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{port}"
        self.sts_url = "http://127.0.0.1:9"
        self.folder = Path("/dev/shm") / f"tagfleet-{os.getpid()}-{port}" if os.access("/dev/shm", os.W_OK) else self.directory
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        self._run([str(self.program), "--access-key", MAIN_KEY, "--secret-key", MAIN_SECRET, "--host", "127.0.0.1",
                   "--port", str(port), str(self.folder / "data")], {"RUST_LOG": "error"}, self.url)
        self.main_client().create_bucket(Bucket=self.source_bucket)

    def add_account(self, account, external_id=None, buckets=True):
        self.accounts[account] = (MAIN_KEY, MAIN_SECRET)
        (self.directory / "credentials").write_text("".join(
            f"[tenant-{name}]\naws_access_key_id = {key}\naws_secret_access_key = {secret}\n"
            for name, (key, secret) in self.accounts.items()))
        (self.directory / "config").write_text("")
        if buckets:
            self._make_buckets(self.main_client(), account)

    def stop(self):
        super().stop()
        shutil.rmtree(self.folder, ignore_errors=True) if self.folder != self.directory else None

    def settings(self):
        return [*super().settings(), "resolver.credentials=profile"]


STORES = {store.name: store for store in (Moto, Minio, Versitygw)}
