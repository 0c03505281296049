"""The table of routes: a path becomes one of a few templates, and says whether it needs a key or runs a model."""

import pytest

from serving.app.route_table import ROUTES, find


@pytest.mark.parametrize(
    ("path", "template", "answers", "keyed"),
    [
        ("/", "/", False, False),
        ("/v1/completions", "/v1/completions", True, True),
        ("/v1/models/flower", "/v1/models/{model}", False, True),
        ("/v1/models/flower/predict", "/v1/models/{model}/predict", True, True),
        ("/v1/models/a/b/predict", "/unknown", False, True),
        ("/v2", "/v2", False, True),
        ("/v2/health/ready", "/v2/health/ready", False, False),
        ("/v2/models/a.b-c/versions/7/infer", "/v2/models/{model}/versions/{version}/infer", True, True),
        ("/v2/models/a/infer", "/v2/models/{model}/infer", True, True),
        ("/v2/models//infer", "/unknown", False, True),
        ("/v2/made/up", "/unknown", False, True),
        ("/card/curves.png", "/card/{name}", False, False),
        ("/made/up", "/unknown", False, False),
        ("/v1/models/{model}", "/v1/models/{model}", False, True),
    ],
)
def test_templates(path, template, answers, keyed):
    found = find(path)
    assert (found.template, found.answers, found.keyed) == (template, answers, keyed)


def test_every_route_of_the_app_is_in_the_table(bundle):
    from serving.app.api import build
    from serving.runtime.runtime import Runtime

    paths = set(build(Runtime()).openapi()["paths"])
    assert {path for path in paths if not path.startswith("/web/")} <= set(ROUTES)


def test_every_file_of_the_playground_has_its_own_template():
    for name in ("playground.js", "recorder.js", "style.css", "icon.svg"):
        assert find(f"/web/{name}").template == f"/web/{name}"
    assert find("/web/nothing.js").template == "/unknown"
