"""Files → text: what is kept byte for byte, what HTML shows, PDFs, and what is refused."""

import pytest

from base.errors import BadItem, MetrolineError
from data.index.documents import of_bytes, read

MARKDOWN = "\ufeff# Zürich\r\n\r\nA – b\t😀\n"


def test_text_and_markdown_stay_as_they_are():
    for name in ("a.txt", "a.MD", "b.markdown"):
        assert of_bytes(name, MARKDOWN.encode()).text.encode() == MARKDOWN.encode()
    assert [of_bytes(name, b"x").markdown for name in ("a.txt", "a.md", "a.html")] == [False, True, True]


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("<h1>A &amp; <b>b</b></h1><p>one\n two</p>tail", "# A & b\n\none two\n\ntail"),
        ("<head><title>t</title></head><body>x<script>y()</script><style>z</style></body>", "x"),
        ("<ul><li>a<li>b</ul><table><tr><td>c</td><td>d</td></tr></table>", "a\n\nb\n\nc\n\nd"),
        ("<h3>deep", "### deep"),
        ("a<br>b<!-- c --> &lt;script&gt;", "a\n\nb <script>"),
        ("<p>unclosed <i>it", "unclosed it"),
        ("<!doctype html><head><title>t</title><body><p>no end of the head", "no end of the head"),
    ],
)
def test_of_html_what_is_read(html, text):
    assert of_bytes("a.html", html.encode()).text == text


@pytest.mark.parametrize(
    ("name", "raw", "message"),
    [
        ("a.txt", b"caf\xe9", "not UTF-8 at byte 3"),
        ("a.md", b" \n\t", "no text in it"),
        ("a.html", b"<script>x()</script>", "no text in it"),
        ("a.txt", b"", "no text in it"),
    ],
)
def test_what_is_no_document(name, raw, message, tmp_path):
    with pytest.raises(BadItem, match=message):
        of_bytes(name, raw)
    (tmp_path / name).write_bytes(raw)
    with pytest.raises(MetrolineError, match=f"{name}: .*{message}"):
        read({name: tmp_path / name})


def pdf(text: str) -> bytes:
    """One page that says `text`, written by hand."""
    content = f"BT /F1 24 Tf 72 720 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        b"/Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    ]
    raw, places = b"%PDF-1.4\n", []
    for number, each in enumerate(objects, 1):
        places.append(len(raw))
        raw += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    start = len(raw)
    raw += b"xref\n0 5\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    return raw + b"trailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % start


def test_a_pdf():
    pytest.importorskip("pypdf")
    assert of_bytes("a.pdf", pdf("The harbour opened in 1887.")).text.strip() == "The harbour opened in 1887."
    for raw, message in ((b"%PDF-1.4 no more", "not a PDF"), (b"", "not a PDF"), (pdf(""), r"no text in it \(a scan")):
        with pytest.raises(BadItem, match=message):
            of_bytes("a.pdf", raw)
