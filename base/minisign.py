"""Signatures of files by Ed25519, in the formats of minisign (https://jedisct1.github.io/minisign/).

    sign(Path("manifest.json"), secret(Path("team.key")), "speeches:0a1b...")    # writes manifest.json.minisig
    verify(Path("manifest.json"), [public("RWQ...")])                            # → the key's id, the trusted comment

Keys and signatures are those of the program `minisign`, in both directions. Secret keys with a password are refused:
who signs here is a process that nobody watches. Only signatures of the file's hash (`ED`) are taken.
"""

import base64
import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from base.errors import MetrolineError
from base.files import write_text

SUFFIX = ".minisig"
UNTRUSTED, TRUSTED = "untrusted comment: ", "trusted comment: "
HINT = "minisign -G -W makes a pair without a password, and so does metroline sign --new-key FILE"
AGAIN = "sign it: metroline sign RECIPE"


@dataclass(frozen=True)
class Public:
    """Who is trusted."""

    number: bytes
    """8 bytes that keys are told apart by."""
    key: bytes

    @property
    def name(self) -> str:
        """As minisign prints it."""
        return self.number[::-1].hex().upper()


@dataclass(frozen=True)
class Secret:
    """Who signs."""

    number: bytes
    seed: bytes = field(repr=False)


def new(path: Path) -> Path:
    """Write a new secret key, which only its owner may read, and its public key beside it (`.pub`), whose path is
    returned. Raises MetrolineError: there is such a file."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    beside = path.with_suffix(".pub")
    if beside == path:
        raise MetrolineError(f"{path} is what the public key is to be called", hint=f"as in {path.with_suffix('.key')}")
    if there := next((each for each in (path, beside) if each.exists()), None):
        raise MetrolineError(f"{there} is there already", hint="a key that is overwritten is lost")
    made, number = Ed25519PrivateKey.generate(), os.urandom(8)
    both = made.private_bytes_raw() + (open_ := made.public_key().public_bytes_raw())
    blob = b"Ed" + bytes(2) + b"B2" + bytes(48) + number + both + bytes(32)  # as of `minisign -G -W`
    name = Public(number, open_).name
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        file.write(f"{UNTRUSTED}minisign secret key {name}\n{base64.b64encode(blob).decode()}\n")
    write_text(beside, f"{UNTRUSTED}minisign public key {name}\n{base64.b64encode(b'Ed' + number + open_).decode()}\n")
    return beside


def secret(path: Path) -> Secret:
    """Read a secret key. Raises MetrolineError: none there, damaged, with a password."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not text"
        raise MetrolineError(f"the key {path} cannot be read: {why}", hint=HINT) from None
    blob = _decoded(text, 158, f"{path} is no secret key of minisign")
    if blob[2:4] == b"Sc":
        raise MetrolineError(f"{path} has a password, which nobody enters here", hint=HINT)
    number, seed = blob[54:62], blob[62:94]
    if Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() != blob[94:126]:
        raise MetrolineError(f"{path} is damaged", hint=HINT)
    return Secret(number, seed)


def public(said: str) -> Public:
    """A public key: its file, or the line in it that begins with RW. Raises MetrolineError: it is none."""
    try:
        path = Path(said).expanduser()
        text = path.read_text(encoding="utf-8") if path.is_file() else said
    except (OSError, ValueError, RuntimeError):  # RuntimeError: the home of a user that there is not
        text = ""
    blob = _decoded(text, 42, f"{said!r} is no public key of minisign, nor a file with one")
    return Public(blob[2:10], blob[10:])


def sign(path: Path, key: Secret, comment: str) -> Path:
    """Write the signature of a file beside it; the comment is signed as well, one line."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    private = Ed25519PrivateKey.from_private_bytes(key.seed)
    made = private.sign(_hashed(path))
    told = " ".join(comment.split())
    both = base64.b64encode(private.sign(made + told.encode())).decode()
    line = base64.b64encode(b"ED" + key.number + made).decode()
    target = path.with_name(path.name + SUFFIX)
    write_text(target, f"{UNTRUSTED}signature from minisign secret key\n{line}\n{TRUSTED}{told}\n{both}\n")
    return target


def verify(path: Path, trusted: Sequence[Public]) -> tuple[str, str]:
    """(name of the key, comment) of a file's signature. Raises MetrolineError: none, damaged, of another file, or by
    none of the trusted keys."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    if (found := read(path)) is None:
        raise MetrolineError(f"{path} has no signature", hint=AGAIN)
    beside, (number, made, comment, both) = path.with_name(path.name + SUFFIX), found
    name = Public(number, b"").name
    key = next((each for each in trusted if each.number == number), None)
    if key is None:
        names = ", ".join(each.name for each in trusted)
        raise MetrolineError(f"{path} is signed by the key {name}, and trusted is {names}")
    checker = Ed25519PublicKey.from_public_bytes(key.key)
    try:
        checker.verify(made, _hashed(path))
        checker.verify(both, made + comment.encode())
    except InvalidSignature:
        raise MetrolineError(f"{beside} is no signature of this {path.name} by {name}", hint=AGAIN) from None
    return name, comment


def read(path: Path) -> tuple[bytes, bytes, str, bytes] | None:
    """(number of the key, signature, comment, signature of both) that lie beside a file, unchecked; None: there is no
    signature. Raises MetrolineError: it is none of minisign."""
    beside = path.with_name(path.name + SUFFIX)
    try:
        lines = beside.read_text(encoding="utf-8").splitlines()
        if len(lines) != 4 or not lines[0].startswith(UNTRUSTED) or not lines[2].startswith(TRUSTED):
            raise ValueError("not its four lines")
        blob, both = (base64.b64decode(line, validate=True) for line in (lines[1], lines[3]))
        if len(blob) != 74 or len(both) != 64 or blob[:2] != b"ED":
            raise ValueError("not of a file's hash")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise MetrolineError(f"{beside} is no signature of minisign: {error}", hint=AGAIN) from None
    return blob[2:10], blob[10:], lines[2].removeprefix(TRUSTED), both


def _decoded(text: str, size: int, wrong: str) -> bytes:
    """The bytes of the last line. Raises MetrolineError."""
    lines = text.strip().splitlines()
    try:
        blob = base64.b64decode(lines[-1] if lines else "", validate=True)
    except ValueError:  # binascii.Error is one; so is what it says of letters beyond ASCII
        blob = b""
    if len(blob) != size or blob[:2] != b"Ed":
        raise MetrolineError(wrong, hint=HINT)
    return blob


def _hashed(path: Path) -> bytes:
    """BLAKE2b of a file, 64 bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, hashlib.blake2b).digest()
