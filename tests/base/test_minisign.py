"""Keys and signatures: those of the program minisign, in both directions; whatever was changed is refused."""

import base64
import shutil
import subprocess

import pytest

from base import minisign
from base.errors import MetrolineError
from tests.conftest import missing


@pytest.fixture
def signed(tmp_path):
    """A file, signed by `team.key`."""
    path = tmp_path / "manifest.json"
    path.write_text("{}")
    minisign.new(tmp_path / "team.key")
    minisign.sign(path, minisign.secret(tmp_path / "team.key"), "digits:0a1b 2026-11-30")
    return path


def trusted(path, *names):
    return [minisign.public(str(path.with_name(name))) for name in names]


def test_signed_and_verified(signed):
    key, comment = minisign.verify(signed, trusted(signed, "team.pub"))
    assert comment == "digits:0a1b 2026-11-30"
    assert key == trusted(signed, "team.pub")[0].name
    line = signed.with_name("team.pub").read_text().splitlines()[1]
    assert minisign.verify(signed, [minisign.public(line)]) == (key, comment)
    assert signed.with_name("team.key").stat().st_mode & 0o077 == 0


def test_the_program_reads_ours_and_we_read_its(signed, tmp_path):
    if shutil.which("minisign") is None:
        missing("compares with the program minisign")

    def run(*arguments):
        done = subprocess.run(["minisign", *arguments], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = run("-V", "-p", "team.pub", "-m", "manifest.json")
    assert told == "Signature and comment signature verified\nTrusted comment: digits:0a1b 2026-11-30\n"
    run("-G", "-W", "-p", "other.pub", "-s", "other.key")
    run("-S", "-s", "other.key", "-m", "manifest.json", "-t", "by the program")
    keys = trusted(signed, "team.pub", "other.pub")
    assert minisign.verify(signed, keys) == (keys[1].name, "by the program")
    minisign.sign(signed, minisign.secret(tmp_path / "other.key"), "ours")
    assert run("-V", "-p", "other.pub", "-m", "manifest.json").endswith("Trusted comment: ours\n")


def test_a_secret_key_is_not_overwritten_by_its_public_one(tmp_path):
    with pytest.raises(MetrolineError, match=r"team\.pub is what the public key is to be called"):
        minisign.new(tmp_path / "team.pub")
    assert not (tmp_path / "team.pub").exists()


def test_another_file_key_or_comment_is_refused(signed):
    keys, beside = trusted(signed, "team.pub"), signed.with_name("manifest.json.minisig")
    text = beside.read_text()
    beside.write_text(text.replace("digits:0a1b", "digits:0a1c"))
    with pytest.raises(MetrolineError, match=r"is no signature of this manifest\.json"):
        minisign.verify(signed, keys)
    beside.write_text(text)
    signed.write_text("{ }")
    with pytest.raises(MetrolineError, match=r"is no signature of this manifest\.json"):
        minisign.verify(signed, keys)
    signed.write_text("{}")
    minisign.new(signed.with_name("other.key"))
    with pytest.raises(MetrolineError, match=f"signed by the key {keys[0].name}, and trusted is"):
        minisign.verify(signed, trusted(signed, "other.pub"))
    beside.unlink()
    with pytest.raises(MetrolineError, match=r"has no signature \(sign it"):
        minisign.verify(signed, keys)


@pytest.mark.parametrize(
    "text", ["", "one\ntwo\n", "untrusted comment: x\n!\n" * 2,
             "untrusted comment: x\nAAAA\ntrusted comment: y\nAAAA\n",
             "untrusted comment: x\n" + base64.b64encode(b"Ed" + bytes(72)).decode() + "\ntrusted comment: y\n"
             + base64.b64encode(bytes(64)).decode() + "\n"],
)  # fmt: skip
def test_what_is_no_signature(signed, text):
    signed.with_name("manifest.json.minisig").write_text(text)
    with pytest.raises(MetrolineError, match="is no signature of minisign"):
        minisign.verify(signed, trusted(signed, "team.pub"))


def test_bad_keys(tmp_path):
    path = tmp_path / "team.key"
    with pytest.raises(MetrolineError, match=r"team\.key cannot be read: No such file"):
        minisign.secret(path)
    minisign.new(path)
    with pytest.raises(MetrolineError, match=r"team\.key is there already"):
        minisign.new(path)
    comment, line = path.read_text().splitlines()
    blob = base64.b64decode(line)
    for changed, told in (
        (blob[:-1], "is no secret key"),
        (b"Xd" + blob[2:], "is no secret key"),
        (blob[:2] + b"Sc" + blob[4:], "has a password"),
        (blob[:70] + bytes([blob[70] ^ 1]) + blob[71:], "is damaged"),
    ):
        path.write_text(f"{comment}\n{base64.b64encode(changed).decode()}\n")
        with pytest.raises(MetrolineError, match=told):
            minisign.secret(path)
    for said in ("", "RW", "nowhere.pub", str(path), str(tmp_path), "RWQ" + "A" * 49):
        with pytest.raises(MetrolineError, match="is no public key of minisign"):
            minisign.public(said)
