import json
import time

import pytest

from base.errors import MetrolineError
from data.text.template_sandbox import SECONDS
from data.text.templates import LONGEST_TEMPLATE, ChatTemplate

CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nBe helpful<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA = """{{- bos_token }}
{%- set now = strftime_now('%Y') %}
{%- for message in messages if message.role != 'ignored' %}
    {%- if loop.index > 9 %}{% break %}{% endif %}
    {{- '<|start|>' ~ message['role'] ~ loop.index ~ message['content'] | trim ~ '<|eot|>' }}
{%- endfor %}
{%- if tools %}{{ tools | tojson(indent=2) }}{{ tools[0] | tojson }}{% endif %}
{%- macro say(x) %}{{ x | upper }}{% endmacro %}
{%- set ns = namespace(n=0) %}{% for i in range(3) %}{% set ns.n = ns.n + i * 2 %}{% endfor %}
{{ say('end') }} {{ ns.n }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{% generation %}{{ messages[-1].content.split('</think>')[-1].strip() }}{% endgeneration %}
{% if add_generation_prompt %}
    go
{% endif %}
"""
SPECIAL = {"bos_token": "<s>", "eos_token": "</s>"}
MESSAGES = [
    {"role": "system", "content": "Sei nett <b> & 'ü'"},
    {"role": "user", "content": "  日本 🤖 <|im_end|> {{ bos_token }} "},
    {"role": "assistant", "content": "<think>a</think> b"},
]
TOOLS = [{"type": "function", "function": {"name": "weather", "description": "<b> ü"}}]


def test_chatml():
    text = ChatTemplate(CHATML).render([{"role": "user", "content": "Hi"}])
    assert text == ("<|im_start|>system\nBe helpful<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n")
    assert not ChatTemplate(CHATML).render(MESSAGES, add_generation_prompt=False).endswith("assistant\n")


def test_what_users_write_is_not_run():
    assert "{{ bos_token }}" in ChatTemplate(CHATML, SPECIAL).render(MESSAGES)


def test_helpers_and_tools():
    text = ChatTemplate(LLAMA, SPECIAL).render(MESSAGES, tools=TOOLS)
    assert text.startswith("<s><|start|>system1Sei nett <b> & 'ü'<|eot|><|start|>user2日本")
    assert json.dumps(TOOLS, indent=2, ensure_ascii=False) in text
    assert text.endswith("END 6 1\nb    go\n")


@pytest.mark.peer
@pytest.mark.parametrize("source", [CHATML, LLAMA], ids=["chatml", "llama"])
def test_transformers_renders_the_same(source, transformers):
    from transformers.utils.chat_template_utils import render_jinja_template

    for tools in (None, TOOLS):
        for prompt in (True, False):
            theirs, _ = render_jinja_template(
                [MESSAGES], tools=tools, chat_template=source, add_generation_prompt=prompt, **SPECIAL
            )
            ours = ChatTemplate(source, SPECIAL).render(MESSAGES, tools=tools, add_generation_prompt=prompt)
            assert ours == theirs[0]


def test_loading(tmp_path):
    assert ChatTemplate.load(tmp_path) is None
    (tmp_path / "chat_template.jinja").write_text("{{ eos_token }}{{ pad_token is defined }}")
    with pytest.raises(MetrolineError, match=r"tokenizer_config\.json"):
        ChatTemplate.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    template = ChatTemplate.load(tmp_path)
    assert template is not None
    assert template.render([]) == "</s>False"
    (tmp_path / "tokenizer_config.json").write_text("[]")
    with pytest.raises(MetrolineError, match=r"tokenizer_config\.json is not a JSON object"):
        ChatTemplate.load(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    (tmp_path / "chat_template.jinja").write_text("\n{% for %}")
    with pytest.raises(MetrolineError, match=r"chat_template\.jinja: chat template, line 2"):
        ChatTemplate.load(tmp_path)


REFUSED = {
    "the template's own": ("{{ raise_exception('roles\nmust alternate') }}", "chat template: roles must alternate"),
    "missing message": ("{{ messages[7].content }}", "no element 7"),
    "missing key": ("{{ messages[0]['x'] + 'a' }}", "has no attribute 'x'|is undefined"),
    "types": ("{{ 'a' + 1 }}", "concatenate|str"),
    "division": ("{{ 1 // 0 }}", "zero"),
    "files": ("{% include '/etc/passwd' %}", "no loader"),
    "imports": ("{% import 'os' as os %}", "no loader"),
    "classes": ("{{ ''.__class__.__mro__[1].__subclasses__() }}", "unsafe"),
    "globals": ("{{ raise_exception.__globals__.os }}", "unsafe"),
    "functions": ("{{ cycler.__init__.__globals__.os.system('true') }}", "unsafe"),
    "format": ("{{ '{0.__class__.__mro__}'.format(messages) }}", "unsafe"),
    "changing the messages": ("{{ messages.append(1) }}", "unsafe"),
    "long loops": (
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "more than .* steps",
    ),
    "long lists": (
        "{% set l = [0] * 999 %}{% for a in l %}{% for b in l %}{% for c in l %}{% endfor %}{% endfor %}{% endfor %}",
        "more than .* steps",
    ),
    "recursion": ("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "RecursionError"),
    "a tree of macros": (
        "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(60) }}",
        "more than .* steps",
    ),
    "a recursive loop": ("{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}", "RecursionError|steps"),
    "doubling with ~": (
        "{% set n = namespace(x='abcd') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
        "longer than",
    ),
    "doubling with +": (
        "{% set n = namespace(x='abcd') %}{% for i in range(60) %}{% set n.x = n.x + n.x %}{% endfor %}",
        "longer than",
    ),
    "multiplied text": ("{{ 'a' * 10 ** 10 }}", "longer than"),
    "powers": ("{{ 2 ** 999999 }}", "too high a power"),
    "squares": (
        "{% set n = namespace(x=99) %}{% for i in range(99) %}{% set n.x = n.x * n.x %}{% endfor %}",
        "too large",
    ),
    "padding": ("{{ 'a'.ljust(10 ** 9) }}", "number above"),
    "centring": ("{{ 'a' | center(1000000000) }}", "number above"),
    "width with %": ("{{ '%999999999d' % 1 }}", "too large a width"),
    "width with format": ("{{ '{:999999999}'.format(1) }}", "too large a width"),
    "width in a filter": ("{{ '%999999999d' | format(1) }}", "too large a width"),
    "output": ("{% for i in range(99999) %}" + "a" * 99 + "{% endfor %}", "writes more than"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_template_may_not_do(name):
    source, message = REFUSED[name]
    template, began = ChatTemplate(source), time.monotonic()
    with pytest.raises(MetrolineError, match=message) as caught:
        template.render(MESSAGES)
    assert "\n" not in str(caught.value)
    assert time.monotonic() - began < 10 * SECONDS  # it ends at all


def test_each_rendering_has_its_own_budget():
    template = ChatTemplate("{% for i in range(60000) %}{% endfor %}x")  # 120,000 of 200,000 steps
    assert [template.render([]) for _ in range(3)] == ["x"] * 3


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{% if %}", "chat template, line 1"),
        ("a\n{{ b", "chat template, line 2"),
        ("{% break %}", "chat template"),
        ("{{ x | nothing }}", "No filter named 'nothing'"),
        ("{{" + "(" * 5000 + ")" * 5000 + "}}", "chat template"),
        ("x" * (LONGEST_TEMPLATE + 1), "characters are more than"),
    ],
    ids=["empty if", "open", "break", "filter", "deep", "long"],
)
def test_what_is_no_template(source, message):
    with pytest.raises(MetrolineError, match=message) as caught:
        ChatTemplate(source)
    assert "\n" not in str(caught.value)
