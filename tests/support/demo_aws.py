"""The demo's stand-in for AWS: moto with one main account and four tenants.
   serve FOLDER   runs it; FOLDER/environment is for the shell
   prepare        makes the accounts' buckets in one that runs
   build ID       uploads a sample build      show   lists the tenants' buckets"""
import os
import signal
import sys
import time
from pathlib import Path

import boto3

MAIN, TENANTS = "111111111111", ("222222222222", "333333333333", "444444444444", "555555555555")
SOURCE = f"cicd-source-artifact-{MAIN}"


def client(account, service="s3", url=None):
    url = url or os.environ["AWS_ENDPOINT_URL_S3"]
    sts = boto3.client("sts", endpoint_url=url, region_name="us-east-1", aws_access_key_id="demo", aws_secret_access_key="demo")
    got = sts.assume_role(RoleArn=f"arn:aws:iam::{account}:role/demo", RoleSessionName="demo")["Credentials"]
    return got, boto3.client(service, endpoint_url=url, region_name="us-east-1", aws_access_key_id=got["AccessKeyId"],
                             aws_secret_access_key=got["SecretAccessKey"], aws_session_token=got["SessionToken"])


def prepare(url=None):
    """May be done again: buckets that are there stay as they are."""
    client(MAIN, url=url)[1].create_bucket(Bucket=SOURCE)
    for tenant in TENANTS:
        _, s3 = client(tenant, url=url)
        for bucket in (f"frontend-{tenant}", f"source-artifact-{tenant}"):
            if bucket != "source-artifact-555555555555":
                s3.create_bucket(Bucket=bucket)
                s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})


def serve(folder):
    from moto.server import ThreadedMotoServer
    folder = Path(folder)
    folder.mkdir(parents=True)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    url = f"http://127.0.0.1:{server.get_host_and_port()[1]}"
    prepare(url)
    main, _ = client(MAIN, url=url)
    (folder / "environment").write_text(
        f"export AWS_ENDPOINT_URL_S3={url} AWS_ENDPOINT_URL_STS={url} AWS_ACCESS_KEY_ID={main['AccessKeyId']} "
        f"AWS_SECRET_ACCESS_KEY={main['SecretAccessKey']} AWS_SESSION_TOKEN={main['SessionToken']}\n")
    (folder / "ready").write_text("ready\n")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    while os.getppid() != 1:
        time.sleep(1)


def main_s3():
    return boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL_S3"], region_name="us-east-1")


def build(name):
    files = {"index.html": "<!doctype html><script src=js/app.js></script>\n", "about.html": "<!doctype html><h1>About</h1>\n",
             "css/site.css": "body { margin: 2em }\n", "img/logo.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>\n"}
    files.update({f"js/chunk-{n:02d}.js": f"export const part = {n};\n" for n in range(16)})
    files["js/app.js"] = "import './chunk-00.js';\n"
    kinds = {"html": "text/html", "css": "text/css", "svg": "image/svg+xml", "js": "text/javascript"}
    s3 = main_s3()
    for key, text in files.items():
        s3.put_object(Bucket=SOURCE, Key=f"{name}/frontend/{key}", Body=text.encode(), ContentType=kinds[key.rsplit(".")[-1]])
    s3.put_object(Bucket=SOURCE, Key=f"{name}/SourceArtifact.zip", Body=b"PK\x05\x06" + bytes(18), ContentType="application/zip")
    print(f"  s3://{SOURCE}/{name}/frontend/  {len(files)} files\n  s3://{SOURCE}/{name}/SourceArtifact.zip")


def show():
    for tenant in TENANTS:
        _, s3 = client(tenant)
        for bucket in (f"frontend-{tenant}", f"source-artifact-{tenant}"):
            try:
                found = s3.list_objects_v2(Bucket=bucket).get("Contents", [])
                print(f"  {bucket:32} {len(found):3} objects" + (f": {found[0]['Key']}" if len(found) == 1 else ""))
            except s3.exceptions.NoSuchBucket:
                print(f"  {bucket:32} (there is no such bucket)")


if __name__ == "__main__":
    {"serve": serve, "prepare": prepare, "build": build, "show": show}[sys.argv[1]](*sys.argv[2:])
