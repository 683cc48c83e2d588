"""Who sent it, as Standard Webhooks has it: HMAC-SHA256 of id, time and body, by each secret.

While a secret is exchanged there are two, and a receiver takes what one of them has signed.
"""

import binascii
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest

from coordinator.core.errors import ConfigError

_PREFIX = b"whsec_"
_SHORTEST = 24
_LONGEST = 4096
MOST_SECRETS = 2
_MAKE_ONE = (
    'Make one with: (umask 077; echo "whsec_$(openssl rand -base64 32)" > secret), and give the'
    " receiver the same."
)


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs with one secret, or with two."""

    _keys: Sequence[bytes] = field(repr=False)

    @classmethod
    def of(cls, secrets: Sequence[bytes]) -> "Signer":
        """Take secrets as they are written; raise ConfigError for none, too many or a bad one."""
        if not 1 <= len(secrets) <= MOST_SECRETS:
            raise ConfigError(
                f"a webhook needs one secret, or two while they are exchanged, not {len(secrets)}",
                "the receiver knows by it who calls",
                _MAKE_ONE,
            )
        return cls([_key(each) for each in secrets])

    def headers(self, notice_id: str, body: bytes, *, now: int) -> dict[str, str]:
        """Return the headers of one delivery; `now` is in seconds since 1970."""
        content = b".".join((notice_id.encode(), str(now).encode(), body))
        signatures = (b64encode(digest(key, content, sha256)).decode() for key in self._keys)
        return {
            "webhook-id": notice_id,
            "webhook-timestamp": str(now),
            "webhook-signature": " ".join(f"v1,{each}" for each in signatures),
        }


def _key(secret: bytes) -> bytes:
    """Return the key: what base64 says after `whsec_`, else the text without its line end."""
    text = secret.removesuffix(b"\n").removesuffix(b"\r")
    if text.startswith(_PREFIX):
        try:
            key = b64decode(text.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            raise ConfigError(
                "the secret of the webhook is of no use",
                "what follows whsec_ is not base64",
                _MAKE_ONE,
            ) from None
    else:
        key = text
    if not _SHORTEST <= len(key) <= _LONGEST:
        raise ConfigError(
            "the secret of the webhook is of no use",
            f"it has not {_SHORTEST} to {_LONGEST} bytes",
            _MAKE_ONE,
        )
    return key
