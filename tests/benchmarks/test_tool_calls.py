"""What counts as a right call, and the base's bundle with another chat template."""

from base import manifest
from benchmarks import tool_calls
from data.text.own_templates import HERMES
from tests.serving import chat_bundle


def test_all_kinds_of_rows_are_asked_and_a_call_is_its_name_and_arguments():
    rows = tool_calls.rows()
    kinds = {kind: [row for row in rows if tool_calls.kind_of(row) == kind] for kind in map(tool_calls.kind_of, rows)}
    assert {kind: len(each) > 9 for kind, each in kinds.items()} == dict.fromkeys(
        ("no tool fits", "a new tool", "a tool that was learnt"), True
    )
    for row in kinds["a new tool"]:
        assert row["new_tool"]
        for name, arguments in tool_calls.wanted(row):
            assert name in [tool["function"]["name"] for tool in row["tools"]]
            assert all(str(value) in row["messages"][0]["content"] for value in arguments.values())
    assert tool_calls.parsed({"name": "f", "arguments": '{"a": 1, "b": 2}'}) == ("f", {"b": 2, "a": 1})
    assert tool_calls.parsed({"name": "f", "arguments": '{"a": 1'}) == ("f", '{"a": 1')


def test_the_base_with_another_template_is_a_whole_bundle(tmp_path):
    bundle = chat_bundle.build(tmp_path / "talker/bundle")
    template = tmp_path / "chat_template.jinja"
    template.write_text(HERMES)
    made = tool_calls.with_template(bundle, template, tmp_path / "made")
    assert manifest.verify(made)["name"] == "talker"
    assert (made / template.name).read_text() == HERMES
    assert manifest.verify(made)["version"] != manifest.verify(bundle)["version"]
