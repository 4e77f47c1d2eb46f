"""Certificates for tests, made by the openssl command: an authority, and what it has signed."""
import subprocess
from pathlib import Path


def _openssl(*arguments):
    done = subprocess.run(["openssl", *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"openssl {arguments[0]}: {done.stdout}")


class Authority:
    """The files `<name>.crt` and `<name>.key` (PKCS#8) in one folder; its own are `ca.crt` and `ca.key`."""

    def __init__(self, directory, name="tests"):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.certificate = self.directory / "ca.crt"
        _openssl("req", "-x509", *self._new_key("ca"), "-nodes", "-subj", f"/CN={name} authority", "-days", 2, "-out",
                 self.certificate)

    def _new_key(self, name):
        return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-keyout", self.directory / f"{name}.key"]

    def sign(self, name, hosts="DNS:localhost,IP:127.0.0.1", days=2, password=None):
        """Returns the paths of certificate and key. A negative number of days: it has expired."""
        certificate, key, request = (self.directory / f"{name}.{kind}" for kind in ("crt", "key", "csr"))
        lock = ["-passout", f"pass:{password}"] if password else ["-nodes"]
        _openssl("req", "-new", *self._new_key(name), *lock, "-subj", f"/CN={name}", "-out", request)
        extensions = self.directory / f"{name}.ext"
        extensions.write_text(f"subjectAltName={hosts}\n")
        _openssl("x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.directory / "ca.key",
                 "-CAcreateserial", "-days", days, "-extfile", extensions, "-out", certificate)
        return certificate, key
