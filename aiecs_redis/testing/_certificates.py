"""Certificates for TLS servers on this machine, for tests."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["Certificates", "ProgramMissingError", "ServerError", "program"]


class ServerError(RuntimeError):
    """A local server could not be started, stopped or asked; the text says why."""


class ProgramMissingError(ServerError):
    """A program that is needed, such as redis-server, is not on the PATH.

    Attributes:
        program: its name.
        package: the Debian package that has it.
    """

    def __init__(self, program: str, package: str) -> None:
        super().__init__(program, package)
        self.program: str = program
        self.package: str = package

    def __str__(self) -> str:
        return (
            f"{self.program} is not installed: on Debian and Ubuntu, apt-get install {self.package}"
        )


def program(name: str, package: str) -> str:
    """Return the path of a program; raise ProgramMissingError with the package that has it."""
    found = shutil.which(name)
    if found is None:
        raise ProgramMissingError(name, package)
    return found


class Certificates:
    """A certificate authority, and certificates signed by it, made with the openssl command.

    Each is a pair of PEM files in the folder, `<name>.crt` and `<name>.key`: `ca`, `server`
    (for localhost, 127.0.0.1 and ::1), `client`, `wrong-host` (for wrong.example only), and
    `stranger`, another authority, which signed none of them. Valid for two days.

    Raises:
        ProgramMissingError: openssl is not installed.
        ServerError: it fails.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._openssl = program("openssl", "openssl")
        for authority in ("ca", "stranger"):
            extensions = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign"
            self._make(authority, f"{extensions}\nsubjectKeyIdentifier=hash", None)
        leaf = "basicConstraints=critical,CA:FALSE\nauthorityKeyIdentifier=keyid"
        local = "DNS:localhost,IP:127.0.0.1,IP:::1"
        for name, usage, host in (
            ("server", "serverAuth", local),
            ("wrong-host", "serverAuth", "DNS:wrong.example"),
            ("client", "clientAuth", "DNS:client.example"),
        ):
            self._make(name, f"{leaf}\nextendedKeyUsage={usage}\nsubjectAltName={host}", "ca")

    def certificate(self, name: str) -> str:
        """Return the path of a certificate (PEM) by its name: "ca", "server", ..."""
        return str(self.folder / f"{name}.crt")

    def key(self, name: str) -> str:
        """Return the path of a private key (PEM, not encrypted) by the certificate's name."""
        return str(self.folder / f"{name}.key")

    def _make(self, name: str, extensions: str, signer: str | None) -> None:
        request = self.folder / f"{name}.csr"
        config = self.folder / f"{name}.cnf"
        config.write_text(
            f"[req]\nprompt=no\ndistinguished_name=dn\n[dn]\nCN=aiecs-redis test {name}\n"
            f"[ext]\n{extensions}\n"
        )
        self._run("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", self.key(name))
        self._run("req", "-new", "-config", config, "-key", self.key(name), "-out", request)
        if signer is None:
            signing: list[Any] = ["-signkey", self.key(name)]
        else:
            signing = ["-CA", self.certificate(signer), "-CAkey", self.key(signer)]
            signing += ["-CAcreateserial"]
        self._run(
            *("x509", "-req", "-in", request, *signing, "-days", "2", "-sha256"),
            *("-extfile", config, "-extensions", "ext", "-out", self.certificate(name)),
        )

    def _run(self, *arguments: Any) -> None:
        command = [self._openssl, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        if done.returncode:
            raise ServerError(f"openssl {arguments[0]} failed: {done.stderr.strip()}")
