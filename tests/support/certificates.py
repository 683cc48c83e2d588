"""A certificate authority of the test's own, and what it signs. Needs the openssl program."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

OPENSSL = shutil.which("openssl")

_CONFIGURATION = """\
[ca]
default_ca = this
[this]
dir = {directory}
database = $dir/index.txt
new_certs_dir = $dir
certificate = $dir/ca.crt
private_key = $dir/ca.key
rand_serial = yes
unique_subject = no
default_md = sha256
policy = any_name
[any_name]
commonName = supplied
[of_authority]
basicConstraints = critical, CA:true
keyUsage = critical, keyCertSign, cRLSign
subjectKeyIdentifier = hash
[of_holder]
basicConstraints = critical, CA:false
keyUsage = critical, digitalSignature
subjectKeyIdentifier = hash
authorityKeyIdentifier = keyid
"""
_VALID = ("20200101000000Z", "20991231000000Z")
_EXPIRED = ("20200101000000Z", "20200102000000Z")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate and its key, in files."""

    file: Path
    key: Path


@dataclass(frozen=True, slots=True)
class Authority:
    """Signs certificates; whoever trusts `file` trusts them."""

    directory: Path

    @classmethod
    def found(cls, directory: Path, name: str = "an authority") -> "Authority":
        """Make an authority in a directory of its own."""
        directory.mkdir()
        (directory / "index.txt").touch()
        (directory / "configuration").write_text(_CONFIGURATION.format(directory=directory))
        authority = cls(directory)
        authority._sign("ca", name, "of_authority", _VALID, itself=True)
        return authority

    @property
    def file(self) -> Path:
        """Its own certificate."""
        return self.directory / "ca.crt"

    def certify(self, holder: str, *names: str, expired: bool = False) -> Certificate:
        """Sign a certificate for `holder` that is valid for these host names."""
        extensions = f"of_{holder}"
        described = (self.directory / "configuration").read_text()
        _, _, of_holder = described.partition("[of_holder]\n")
        alternatives = ", ".join(f"DNS:{name}" for name in (holder, *names))
        (self.directory / f"{holder}.ext").write_text(
            f"[{extensions}]\n{of_holder}subjectAltName = {alternatives}\n"
        )
        return self._sign(holder, holder, extensions, _EXPIRED if expired else _VALID)

    def _sign(
        self, file: str, name: str, extensions: str, valid: tuple[str, str], *, itself: bool = False
    ) -> Certificate:
        made = Certificate(self.directory / f"{file}.crt", self.directory / f"{file}.key")
        request = self.directory / f"{file}.request"
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", made.key)
        _openssl("req", "-new", "-key", made.key, "-subj", f"/CN={name}", "-out", request)
        where = [] if itself else ["-extfile", self.directory / f"{file}.ext"]
        _openssl(
            *("ca", "-batch", "-notext", "-config", self.directory / "configuration"),
            *("-in", request, "-out", made.file, "-extensions", extensions, *where),
            *("-startdate", valid[0], "-enddate", valid[1], *(["-selfsign"] if itself else [])),
        )
        return made


def _openssl(*arguments: object) -> None:
    done = subprocess.run(
        [str(OPENSSL), *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (arguments, done.stderr)
