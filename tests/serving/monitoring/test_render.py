"""The picture's command line, and layout. What it draws from a real Prometheus is in test_live.py."""

import http.server
import threading

import pytest

from base.errors import MetrolineError
from serving.monitoring.promql import load_dashboard
from serving.monitoring.render import layout, main


@pytest.fixture(scope="module")
def not_prometheus():
    """A web server that answers every request with a page."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dashboard", "servign"], "no dashboard 'servign'.*forward, retrieval, serving, training"),
        (["--rows", "Nwo"], "no row 'Nwo'.*Now, Traffic"),
        (["--window", "5"], "'5' is not a duration"),
        (["--out", "picture.jpg"], "not a .png"),
        (["--prometheus", "http://127.0.0.1:1"], "no Prometheus at http://127.0.0.1:1: .*refused"),
        (["--prometheus", "http://[bad"], "no Prometheus at http://\\[bad"),
        (["--prometheus", "ftp://127.0.0.1"], "no Prometheus at ftp"),
        (["--prometheus", "PAGE"], "the answer is not JSON"),
    ],
)
def test_bad_input(tmp_path, not_prometheus, arguments, message):
    out = tmp_path / "picture.png"
    arguments = [not_prometheus if argument == "PAGE" else argument for argument in arguments]
    with pytest.raises(MetrolineError, match=message):
        main(["--prometheus", "http://127.0.0.1:1", "--out", str(out), *arguments])
    assert list(tmp_path.iterdir()) == []


def test_rows_left_out_leave_no_gap():
    panels = load_dashboard("serving")["panels"]
    everything, height = layout(panels, None)
    assert len(everything) == len(panels)
    assert all(y == panel["gridPos"]["y"] for panel, y in everything)
    some, less = layout(panels, ["Now", "Load"])
    assert [panel["title"] for panel, _ in some if panel["type"] == "row"] == ["Now", "Load"]
    assert less == 1 + 4 + 1 + 8 < height
    assert sorted({y for _, y in some}) == [0, 1, 5, 6]
