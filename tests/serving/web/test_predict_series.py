"""Series in the playground: a CSV as steps and as curves, forecasts in their band."""

import json

import pytest

from tests.serving.web import more_bundles
from tests.serving.web.predict_page import ask, from_terminal, needs_chromium, needs_curl, said, shown, write

pytestmark = [pytest.mark.browser, needs_chromium]


@needs_curl
def test_a_series(page, kinds, tmp_path):
    """CSV with a head in another order and a column of times; its curves; the answer with its units."""
    shown(page, kinds, "grid")
    rows = more_bundles.history(1, 30)
    csv = "\n".join(["time,wind,load", *(f"{hour}:00,{wind},{load}" for hour, (load, wind) in enumerate(rows))])
    write(page, "#inputs textarea", csv)
    assert page.run("document.querySelectorAll('.chart path').length") == 2
    assert page.run("document.querySelector('.chart .window') !== null")
    ask(page)
    wanted = said(kinds, "grid", {"inputs": rows})
    numbers = page.run("[...document.querySelectorAll('.numbers div')].map(e => e.textContent)")
    assert numbers == [f"{name}{wanted[name]:.6g} MW" for name in more_bundles.HOURS]
    assert page.run("document.querySelectorAll('#answer path').length") == 1
    assert from_terminal(page, tmp_path) == wanted


def test_a_forecast(page, kinds):
    """The end of the history, the mean behind it in a band; another channel by choice; all numbers as a table."""
    shown(page, kinds, "ahead")
    rows = more_bundles.history(1, 24)
    write(page, "#inputs textarea", "\n".join(f"{load},{wind}" for load, wind in rows))
    ask(page)
    wanted = said(kinds, "ahead", {"inputs": rows})
    assert wanted["load"]["mean"] == pytest.approx([load for load, _ in rows[-3:]], rel=1e-6)
    drawn = "[...document.querySelectorAll('#answer path')].map(e => [e.getAttribute('class'), e.getAttribute('d')])"
    (band, outline), (first, past), (second, mean) = page.run(drawn)
    assert (band, first, second) == ("band curve-1", "curve curve-0", "curve curve-1")
    assert (outline.count("L") + 1, past.count("L") + 1, mean.count("L") + 1) == (8, 24, 4)
    assert past.split("L")[-1] == mean.removeprefix("M").split("L")[0]  # one begins where the other ends
    assert page.text("#answer .hint").startswith("wind: the next 3 steps, 1h apart. The band holds what lies between")
    write(page, "#answer select", "load", "change")
    assert page.text("#answer .hint").startswith("load: ")
    table = page.run("document.querySelector('#answer details pre').textContent").splitlines()
    assert table[0] == "step,load mean,load 0.1,load 0.9,wind mean,wind 0.1,wind 0.9"
    given = [float(cell) for cell in table[3].split(",")]
    numbers = [wanted[channel][level][2] for channel in ("load", "wind") for level in ("mean", "0.1", "0.9")]
    assert given == pytest.approx([3, *numbers], rel=1e-5)


@pytest.mark.parametrize(
    ("csv", "problem"),
    [
        ("1,2\n3,4", "2 steps, and the model looks back 24."),
        ("load,wind\n" + "1,2\n" * 23 + "1,abc", 'Step 24, wind: "abc" is no number.'),
        ("1,2,3,4\n" * 24, "Step 1 has 4 columns; the channels are load, wind."),
    ],
)
def test_a_series_that_is_none(page, kinds, csv, problem):
    shown(page, kinds, "grid")
    write(page, "#inputs textarea", csv)
    assert page.text("#predict-error") == problem
    assert page.run("document.getElementById('ask').disabled")
    write(page, "#inputs textarea", "1,2\n" * 24)
    assert page.run("document.getElementById('predict-error').hidden")


@pytest.mark.parametrize(
    ("csv", "channels", "rows"),
    [
        ("1\n2\n\n3", ["a"], [[1], [2], [3]]),
        ("1, 2, 3", ["a"], [[1], [2], [3]]),
        ("1;2,5\n3;NaN", ["a", "b"], [[1, 2.5], [3, None]]),
        ("2024-01-01,1,2\n2024-01-02,,4", ["a", "b"], [[1, 2], [None, 4]]),
        ('"b"\t"x"\t"a"\n1\t2\t3', ["a", "b"], [[3, 1]]),
        ("when,a\nnoon,1e3", ["a"], [[1000]]),
    ],
)
def test_steps_of_a_csv(page, kinds, csv, channels, rows):
    shown(page, kinds, "grid")
    assert page.run(f"import('./web/series.js').then(m => m.steps({json.dumps(csv)}, {json.dumps(channels)}))") == rows
