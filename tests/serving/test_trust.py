"""METROLINE_TRUST: a bundle that none of its keys has signed is not served."""

import shutil

import pytest

from base import minisign
from base.errors import MetrolineError
from serving.runtime.bundles import load_all


@pytest.fixture
def keys(tmp_path):
    for name in ("team", "other"):
        minisign.new(tmp_path / f"{name}.key")
    return tmp_path


@pytest.fixture
def copy(bundle, tmp_path):
    shutil.copytree(bundle, tmp_path / "copy")
    return tmp_path / "copy"


def test_only_what_a_trusted_key_signed_is_served(copy, keys):
    with pytest.raises(MetrolineError, match=r"METROLINE_TRUST: .*manifest\.json has no signature"):
        load_all([copy], trust=str(keys / "team.pub"))
    minisign.sign(copy / "manifest.json", minisign.secret(keys / "team.key"), "tiny:1")
    line = (keys / "team.pub").read_text().splitlines()[1]
    for trust in ("", str(keys / "team.pub"), line, f"{keys / 'other.pub'}, {line}"):
        assert len(load_all([copy], trust=trust)) == 1
    with pytest.raises(MetrolineError, match=r"METROLINE_TRUST: .* is signed by the key"):
        load_all([copy], trust=str(keys / "other.pub"))
    with (copy / "manifest.json").open("a") as file:
        file.write("\n")
    with pytest.raises(MetrolineError, match=r"METROLINE_TRUST: .* is no signature of this manifest\.json"):
        load_all([copy], trust=line)


def test_a_key_that_is_none_serves_nothing(copy):
    for trust in ("nowhere.pub", "~nobody-of-this-name/team.pub", "schlüssel.pub", "x" * 5000):
        with pytest.raises(MetrolineError, match=r"is no public key of minisign"):
            load_all([copy], trust=trust)
    for trust in (",", " "):  # as a variable that was not filled in leaves it: not the same as no demand at all
        with pytest.raises(MetrolineError, match=r"METROLINE_TRUST=.* names no key"):
            load_all([copy], trust=trust)
