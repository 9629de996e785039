"""Seals what is kept of sessions, with a key from the environment (AES-256-GCM).

Every content has a key of its own, made of the ledger's and its name: no nonce can come twice under
one key however much is sealed, and what stands under another name is not opened. Not sealed is what
the log itself says: models, tools' names, figures. What is sealed stays readable for whoever is
given the key under any tenant and session, for forks and exports are copies.
"""

import hmac
import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING

from proxy.core.checkpoints import Checkpoints
from proxy.errors import ContentMissing

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

_SEALED = b"\x01"  # a record in clear begins with the head of an array
_NAME_BYTES, _NONCE_BYTES = 4, 12
_NONCE_AT = len(_SEALED) + _NAME_BYTES
_DATA_AT = _NONCE_AT + _NONCE_BYTES


class Sealer:
    """One key. name: tells it from other keys, 4 bytes. Needs the extra `encryption`."""

    def __init__(self, secret: str) -> None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        self._key = hmac.digest(secret.encode(), b"holdfast contents", "sha256")
        self._cipher = AESGCM
        self._invalid = InvalidTag
        self.name = sha256(self._key).digest()[:_NAME_BYTES]

    def seal(self, name: str, data: bytes) -> bytes:
        """For this name alone."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._of(name).encrypt(nonce, data, None)
        return b"".join((_SEALED, self.name, nonce, sealed))

    def opened(self, name: str, data: bytes) -> bytes:
        """Raises ContentMissing for what was not sealed so."""
        try:
            cipher = self._of(name)
            return bytes(cipher.decrypt(data[_NONCE_AT:_DATA_AT], data[_DATA_AT:], None))
        except self._invalid as error:
            raise ContentMissing(f"{name} cannot be opened: it was altered") from error

    def _of(self, name: str) -> "AESGCM":
        return self._cipher(hmac.digest(self._key, name.encode(), "sha256"))


class Sealing:
    """The keys that there are: those of the variable that the policy in force names, and of those
    that it named before. Several in one variable are separated by blanks or commas: the first one
    seals."""

    def __init__(self, env: Mapping[str, str], policy: Callable[[], Checkpoints]) -> None:
        self._env = env
        self._policy = policy
        self._sealers: dict[str, tuple[Sealer, ...]] = {}

    def of(self, checkpoints: Checkpoints) -> Sealer | None:
        """The one that is sealed with now; None: nothing is."""
        variable = checkpoints.encrypt_key_env
        return None if variable is None else self._named(variable)[0]

    def opened(self, name: str, data: bytes) -> bytes:
        """What was sealed, or stored in clear, under this name. Raises ContentMissing."""
        if not data.startswith(_SEALED):
            return data
        if (variable := self._policy().encrypt_key_env) is not None:
            self._named(variable)
        wanted = data[len(_SEALED) : _NONCE_AT]
        for sealers in self._sealers.values():
            for sealer in sealers:
                if sealer.name == wanted:
                    return sealer.opened(name, data)
        if variable is None:
            told = f"a key ({wanted.hex()}): name its variable in checkpoints.encrypt_key_env"
        else:
            told = f"another key ({wanted.hex()}): add it to {variable}, after the one that seals"
        raise ContentMissing(f"{name} is sealed with {told}")

    def _named(self, variable: str) -> tuple[Sealer, ...]:
        sealers = self._sealers.get(variable)
        if sealers is None:
            secrets = keys_in(self._env.get(variable, ""))
            sealers = self._sealers[variable] = tuple([Sealer(secret) for secret in secrets])
        return sealers


def keys_in(value: str) -> tuple[str, ...]:
    """The keys of a variable, the one that seals first."""
    return tuple(value.replace(",", " ").split())
