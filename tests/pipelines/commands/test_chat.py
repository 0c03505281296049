"""The terminal client against a running endpoint."""

import io
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from rich.console import Console

from base.errors import MetrolineError
from base.processes import free_port
from pipelines.commands.chat import Settings, chat, main
from tests.serving import chat_bundle
from tests.serving.clients import metric
from tests.serving.tiny_bundle import SCRIPT


def talk(server, *lines: str) -> str:
    """What is shown when a user types these lines."""
    waiting = iter(lines)

    def read() -> str:
        try:
            return next(waiting)
        except StopIteration:
            raise EOFError from None

    out = io.StringIO()
    assert chat(server.url, console=Console(file=out, width=200), read=read) == 0
    return out.getvalue()


def test_a_conversation(scripted_server):
    shown = talk(scripted_server, "/set max_tokens 9", "/set temperature 0", "x", "/more", "/again", "/show")
    assert "scripted" in shown
    assert "x" + SCRIPT[1:10] + "\n" in shown
    assert "x" + SCRIPT[1:19].rstrip() in shown.replace("\n", "")
    assert shown.count("── 9 tokens") == 3
    assert "ended at its length" in shown
    assert "temperature 0" in shown


def test_new_lines_can_be_typed(scripted_server):
    assert "a\nb" in talk(scripted_server, "/set max_tokens 2", r"a\nb")


def test_stop_string(scripted_server):
    shown = talk(scripted_server, "/set stop citizens", "/set temperature 0", "x")
    assert "xellow \n" in shown
    assert "ended by the model" in shown


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("/nonsense", "no such command"),
        ("/set colour red", "no setting 'colour'"),
        ("/set top_k many", "top_k cannot be 'many'"),
        ("/set seed", "no such command"),
        ("/set temperature nan", "temperature cannot be 'nan'"),
        ("/more", "no answer yet"),
        ("/set 'stop", "No closing quotation"),
        ("x" * 1100, "maximum context length"),
    ],
)
def test_what_cannot_be_done_is_said_and_it_goes_on(scripted_server, typed, message):
    shown = talk(scripted_server, typed, "/set max_tokens 3", "x")
    assert message in shown.replace("\n", " ")
    assert "3 tokens" in shown


def test_markup_in_texts_is_not_interpreted(scripted_server):
    assert "[bold]x" in talk(scripted_server, "/set max_tokens 1", "[bold]x")


def test_settings_can_be_taken_back():
    assert "seed" not in Settings().change("seed", "5").change("seed", "-").body()


def test_no_endpoint():
    port = free_port("127.0.0.1", 0)
    with pytest.raises(MetrolineError, match=f"no endpoint answers at http://127.0.0.1:{port}"):
        chat(f"http://127.0.0.1:{port}")
    assert main(["--url", f"http://127.0.0.1:{port}"]) == 1
    with pytest.raises(MetrolineError, match="no endpoint answers"):
        chat("nonsense")


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:port", "http://a\tb"])
def test_an_address_that_is_none(url, capsys):
    assert main(["--url", url]) == 1
    error = capsys.readouterr().err
    assert "no endpoint answers" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize("key", ["ключ", "mk-a\nb"])
def test_an_api_key_that_cannot_be_sent(monkeypatch, capsys, key):
    monkeypatch.setenv("METROLINE_API_KEY", key)
    assert main([]) == 1
    assert "METROLINE_API_KEY is no API key" in capsys.readouterr().err


@pytest.mark.parametrize("said", ["null", "[]", '{"data": []}', '{"data": ["x"]}', '{"data": [{"id": "another"}]}'])
def test_something_else_answers_there(said, capsys):
    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(said.encode())

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        assert main(["--url", f"http://127.0.0.1:{other.server_port}"]) == 1
        other.shutdown()
    assert "no Metroline endpoint" in capsys.readouterr().err


def test_one_prompt_from_the_command_line(scripted_server):
    command = [sys.executable, "-m", "pipelines.commands.chat", "--url", scripted_server.url, "x"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert ended.returncode == 0, ended.stderr
    assert "128 tokens" in ended.stdout


def test_ctrl_c_stops_the_completion_only(scripted_server):
    """A real process: interrupted while text comes, it says so and takes the next line."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from pipelines.commands.chat import chat, Settings\n"
         f"chat({scripted_server.url!r}, settings=Settings(max_tokens=1000))"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert process.stdin
    assert process.stdout
    out: list[str] = []
    reader = threading.Thread(target=lambda: [out.append(c) for c in iter(lambda: process.stdout.read(1), "")])
    reader.start()
    process.stdin.write("x\n")
    process.stdin.flush()
    deadline = time.monotonic() + 20
    while "Fellow" not in "".join(out) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    while "stopped by you" not in "".join(out) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.stdin.write("/set max_tokens 2\ny\n")
    process.stdin.close()
    assert process.wait(20) == 0
    reader.join()
    shown = "".join(out)
    assert "ended stopped by you" in shown
    assert "2 tokens" in shown
    assert metric(scripted_server, "metroline_active_streams") == 0


def test_a_chat_with_a_chat_model(tmp_path, serve):
    """Each turn is asked with the turns before; /again takes the last one back, /new all of them."""
    server = serve(chat_bundle.build(tmp_path / "talker"))
    first = chat_bundle.said(24, 9)
    second = chat_bundle.said(24 + len(first.encode()) + 2 + 2 + len("user\nand\n") + 1 + len("assistant\n"), 9)
    asked = ["/set max_tokens 9", "/set temperature 0", "hello", "and", "/again", "/new", "hello"]
    answers = [line for line in talk(server, *asked).splitlines() if line and not line.startswith("──")]
    assert answers[-4:] == [first, second, second, first]
    assert "/new" in talk(server, "/help")
    assert "no such command" in talk(server, "/more")


def test_a_model_that_writes_no_text_is_refused(flower, serve):
    with pytest.raises(MetrolineError, match=r"flower answers in one call and writes no text \(POST /v1/models/flower"):
        chat(serve(flower).url, prompt="hi")
