"""The sample traffic's command line. What it sends is counted in test_live.py."""

import pytest

from base.errors import MetrolineError
from serving.monitoring.traffic import Traffic, main
from tests.serving import forward_bundles


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--endpoint", "http://127.0.0.1:1"], "no endpoint at http://127.0.0.1:1: .*refused"),
        (["--endpoint", "127.0.0.1"], "no endpoint at 127.0.0.1"),
        (["--endpoint", "http://[bad"], "no endpoint at http://\\[bad"),
        (["--seconds", "0"], "must be above 0"),
        (["--seconds", "-1"], "must be above 0"),
        (["--seconds", "nan"], "must be above 0"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(MetrolineError, match=message):
        main(["--endpoint", "http://127.0.0.1:1", *arguments])


def test_command_line(server, capsys):
    assert main(["--endpoint", f"{server.url}/", "--seconds", "2"]) == 0
    said = capsys.readouterr().out
    assert "× 200" in said
    assert "× 400" in said
    assert "streams left early" in said


def test_an_endpoint_that_goes_away(bundle, serve):
    server = serve(bundle)
    with Traffic(server.url) as traffic:
        server.kill()
        with pytest.raises(MetrolineError, match="went away"):
            traffic.wait(30)


def test_an_endpoint_that_writes_no_text(tmp_path, serve, capsys):
    server = serve(forward_bundles.table(tmp_path / "flower"))
    assert main(["--endpoint", server.url, "--seconds", "2"]) == 0
    said = capsys.readouterr().out
    assert "× 200" in said
    assert "× 400" in said
