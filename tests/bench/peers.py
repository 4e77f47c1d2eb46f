"""Other clients that copy the same build to the same accounts: rclone, mc and a pool of boto3 threads, each at the settings
that were its best. None of them assumes a role per account; all use one key that may do everything.
    python -m tests.bench.peers URL KEY SECRET SOURCE PREFIX THREADS   the boto3 pool; accounts on the standard input
"""
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor

from tests.bench.targets import ARCHIVE, BUILD, FILES, FRONTEND, buckets_of
from tests.support.kafka import ROOT, TOOLS

THREADS = 8
AT_ONCE = 4


class PeerFailed(Exception):
    """It cannot do this on this store."""


def key_for(name, prefix):
    return prefix + name.removeprefix(f"{BUILD}/").removeprefix("frontend/")


def boto3_pool(url, key, secret, source, prefix, threads):
    from tests.support.stores import s3_client
    client = s3_client(url, key, secret)
    copies = [(frontend if name != ARCHIVE else archive, name) for account in sys.stdin.read().split()
              for frontend, archive in [buckets_of(account)] for name in [*FILES, ARCHIVE]]
    with ThreadPoolExecutor(int(threads)) as pool:
        list(pool.map(lambda copy: client.copy_object(Bucket=copy[0], Key=key_for(copy[1], prefix),
                                                      CopySource={"Bucket": source, "Key": copy[1]}), copies))


def timed(commands, environment, at_once, words=None):
    """Runs the commands, so many at once. Seconds, and CPU seconds of all of them."""
    def run(command):
        process = subprocess.Popen(command, env={**os.environ, **environment}, stdin=subprocess.PIPE,
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        process.stdin.write((words or "").encode())
        process.stdin.close()
        complaint = process.stderr.read().decode()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise PeerFailed(complaint[-200:].strip())
        return usage.ru_utime + usage.ru_stime

    began = time.monotonic()
    with ThreadPoolExecutor(at_once) as pool:
        cpu = sum(pool.map(run, commands))
    return time.monotonic() - began, cpu


def run_boto3(store, key, accounts, prefix):
    command = [sys.executable, "-m", "tests.bench.peers", store.url, *key, store.source_bucket, prefix, str(THREADS)]
    return timed([command], {"PYTHONPATH": str(ROOT)}, 1, " ".join(accounts))


def run_rclone(store, key, accounts, prefix):
    program = str(TOOLS / "bin" / "rclone")
    remote = {"RCLONE_CONFIG": "/dev/null", "RCLONE_CONFIG_S_TYPE": "s3", "RCLONE_CONFIG_S_PROVIDER": "Other",
              "RCLONE_CONFIG_S_ENDPOINT": store.url, "RCLONE_CONFIG_S_ACCESS_KEY_ID": key[0],
              "RCLONE_CONFIG_S_SECRET_ACCESS_KEY": key[1], "RCLONE_CONFIG_S_FORCE_PATH_STYLE": "true"}
    flags = ["--transfers", "32", "--checkers", "32", "--no-check-dest", "--s3-no-check-bucket", "--s3-no-head"]
    commands = [[program, *what, *flags] for account in accounts for frontend, archive in [buckets_of(account)] for what in (
        ["copy", f"s:{store.source_bucket}/{FRONTEND}", f"s:{frontend}/{prefix}"],
        ["copyto", f"s:{store.source_bucket}/{ARCHIVE}", f"s:{archive}/{key_for(ARCHIVE, prefix)}"])]
    return timed(commands, remote, AT_ONCE)


def run_mc(store, key, accounts, prefix):
    program = str(TOOLS / "bin" / "mc")
    with tempfile.TemporaryDirectory() as folder:
        scheme, host = store.url.split("://")
        alias = {"MC_HOST_s": f"{scheme}://{key[0]}:{key[1]}@{host}", "MC_CONFIG_DIR": folder}
        flags = ["--quiet", "--disable-pager"]
        commands = [[program, "cp", *flags, *what] for account in accounts for frontend, archive in [buckets_of(account)]
                    for what in (["--recursive", f"s/{store.source_bucket}/{FRONTEND}", f"s/{frontend}/{prefix}"],
                                 [f"s/{store.source_bucket}/{ARCHIVE}", f"s/{archive}/{key_for(ARCHIVE, prefix)}"])]
        return timed(commands, alias, AT_ONCE)


def is_here(name):
    return name == "boto3" or os.access(TOOLS / "bin" / name, os.X_OK)


PEERS = {"boto3": run_boto3, "rclone": run_rclone, "mc": run_mc}

if __name__ == "__main__":
    boto3_pool(*sys.argv[1:])
