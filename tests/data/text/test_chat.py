"""Chats as training has them: what is learnt, where it begins and ends, and which templates cannot be trained on."""

import pytest

from base.errors import MetrolineError
from data.text.chat import Chats, JoinedTokens
from data.text.templates import ChatTemplate
from data.text.tokenizer import Tokenizer
from tests.serving import chat_bundle

OPEN, END = "'<|im_start|>' + message.role + '\\n'", "'<|im_end|>'"
LOOP, CLOSE = "{% for message in messages %}", "{% endfor %}"
PROMPT = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
PLAIN = LOOP + "{{ " + OPEN + " + message.content + " + END + " + '\\n' }}" + CLOSE + PROMPT
BEGIN, STOP = "{% generation %}", "{% endgeneration %}"


def marked(inside: str, after: str = "") -> str:
    """ChatML whose marks hold `inside` and leave out `after`."""
    said = "{{ " + OPEN + " }}" + BEGIN + inside + STOP + after + "{{ '\\n' }}"
    other = "{{ " + OPEN + " + message.content + " + END + " + '\\n' }}"
    return LOOP + "{% if message.role == 'assistant' %}" + said + "{% else %}" + other + "{% endif %}" + CLOSE + PROMPT


CONTENT, CONTENT_AND_END = "{{ message.content }}", "{{ message.content + " + END + " }}"
CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is <|im_end|> a word?"},
    {"role": "assistant", "content": "No."},
    {"role": "user", "content": "Why?"},
    {"role": "assistant", "content": "<|im_end|> ends a text."},
]


def chats(source: str = PLAIN) -> Chats:
    tokenizer = Tokenizer(chat_bundle.tokenizer())
    return Chats(ChatTemplate(source), tokenizer.special, tokenizer.encode)


def end() -> int:
    return int(chat_bundle.tokenizer().token_to_id("<|im_end|>"))


@pytest.mark.parametrize("source", [PLAIN, marked(CONTENT_AND_END), marked(CONTENT_AND_END + "{{ '' }}")])
def test_an_answer_and_its_end_are_learnt_and_nothing_else(source):
    tokenizer = Tokenizer(chat_bundle.tokenizer())
    example = chats(source).example(CHAT, {end()}, [2, 4])
    learnt = [example.tokens[slice(*span)] for span in example.answers]
    assert [tokenizer.decode(tokens) for tokens in learnt] == ["No.", "<|im_end|> ends a text."]
    assert [[token for token in tokens if token == end()] for tokens in learnt] == [[end()]] * 2
    assert [tokens[-1] for tokens in learnt] == [end()] * 2
    assert example.tokens[-1] == end(), "the newline after the last answer is neither learnt nor shown"
    assert tokenizer.decode(example.tokens[example.answers[0][1] :][:1]) == "\n"


@pytest.mark.parametrize("source", [PLAIN, marked(CONTENT_AND_END)])
def test_before_an_answer_stands_what_the_endpoint_makes_of_the_messages(source):
    made = chats(source)
    example = made.example(CHAT, {end()}, [2, 4])
    for place, (begin, _) in zip((2, 4), example.answers, strict=True):
        assert example.tokens[:begin] == made.prompt(CHAT[:place])


def test_only_the_answers_that_are_asked_for_are_learnt():
    example = chats().example(CHAT, {end()}, [4])
    assert len(example.answers) == 1
    assert example.tokens[: example.answers[0][0]] == chats().prompt(CHAT[:4])


def test_the_marks_of_a_template_change_no_prompt():
    assert chats(marked(CONTENT_AND_END)).prompt(CHAT) == chats(PLAIN).prompt(CHAT)


THINK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>' }}{% endif %}"
REFUSED = {
    "a prompt that opens answers otherwise": (PLAIN.replace(PROMPT, THINK), "differently when that message"),
    "what comes before is rewritten": (
        "{{ messages | length }}" + PLAIN, "writes a chat up to message 3 differently"
    ),
    "no token ends an answer": (PLAIN.replace("+ " + END, ""), "would never learn to stop"),
    "marks without the end": (marked(CONTENT, "{{ " + END + " }}"), "marks do not hold tokens"),
    "marks that begin too early": (
        LOOP + BEGIN + "{{ " + OPEN + " + message.content + " + END + " }}" + STOP + "{{ '\\n' }}" + CLOSE + PROMPT,
        "tell 5 answers, and there are 2",
    ),
    "refuses": ("{{ raise_exception('no systems') }}" + PLAIN, "no systems"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_template_that_cannot_be_trained_on_is_refused(name):
    source, message = REFUSED[name]
    with pytest.raises(MetrolineError, match=message):
        chats(source).example(CHAT, {end()}, [2, 4])


def test_a_template_that_ends_only_the_last_answer_is_refused_but_for_the_last():
    source = PLAIN.replace(END, "('<|im_end|>' if loop.last or message.role != 'assistant' else '')")
    with pytest.raises(MetrolineError, match=r"data\.answers: last"):
        chats(source).example(CHAT, {end()}, [2, 4])
    assert chats(source).example(CHAT, {end()}, [4]).tokens[-1] == end()


def test_an_answer_that_shares_a_token_with_its_prompt_is_refused():
    inner = chat_bundle.tokenizer()
    inner.add_tokens(["\n\n"])
    made = Chats(ChatTemplate(PLAIN), Tokenizer(inner).special, Tokenizer(inner).encode)
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "\nb"}]
    with pytest.raises(JoinedTokens, match="message 2"):
        made.example(messages, {end()}, [1])
