"""What PostgreSQL keeps of a password, computed here, so that the password never travels.

`create role … password` sends its text to the server, whose log may keep every such statement. The
server takes a SCRAM-SHA-256 verifier in its place: enough to check a password, not to know it.
"""

import hashlib
import hmac
import secrets
from base64 import b64encode

SHORTEST_PASSWORD = 12
_ITERATIONS = 4096  # PostgreSQL's own number
_SALT_BYTES = 16
_PASSWORD_BYTES = 24


def new_password() -> str:
    """Make up a password that nobody can guess, of letters, digits, `-` and `_`."""
    return secrets.token_urlsafe(_PASSWORD_BYTES)


def is_fit(password: str) -> bool:
    """Whether a password is long enough, and reads the same to every client.

    Beyond ASCII, what a client sends depends on how it normalises the text.
    """
    return len(password) >= SHORTEST_PASSWORD and password.isascii() and password.isprintable()


def verifier(password: str, *, salt: bytes | None = None) -> str:
    """Return what the server may know of a password that is fit."""
    salt = salt or secrets.token_bytes(_SALT_BYTES)
    salted = hashlib.pbkdf2_hmac("sha256", password.encode("ascii"), salt, _ITERATIONS)
    stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    in_base64 = (b64encode(part).decode() for part in (salt, stored_key, server_key))
    return "SCRAM-SHA-256${}:{}${}:{}".format(_ITERATIONS, *in_base64)
