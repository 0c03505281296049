"""Rewards by rules: what is right earns 1, whatever else, however odd, 0, and nothing is run or waited for."""

import pytest

from pipelines.tasks.reinforcement.rewards import REWARDS

CASES = [
    ("arithmetic", "2+3=", "5", "", 1),
    ("arithmetic", "2+3=", " 5 ", "6", 1),  # the data's answer does not count
    ("arithmetic", "2+3=", "6", "6", 0),
    ("arithmetic", "(1+2)*4-6/3=", "10", "", 1),
    ("arithmetic", "1/3=", "0.3333", "", 0),
    ("arithmetic", "0.1+0.2=", "0.3", "", 1),
    ("arithmetic", "-4=", "-4", "", 1),
    ("arithmetic", "1/0=", "0", "", 0),
    ("arithmetic", "2+=", "2", "", 0),
    ("arithmetic", "2+3=", "", "", 0),
    ("arithmetic", "2+3=", "five", "", 0),
    ("arithmetic", "2+3=", "10/2", "", 0),
    ("arithmetic", "9**9**9=", "1", "", 0),
    ("arithmetic", "__import__('os').getpid()=", "1", "", 0),
    ("arithmetic", "(" * 5000 + "1" + ")" * 5000 + "=", "1", "", 0),
    ("arithmetic", "1=", "1" * 5000, "", 0),
    ("arithmetic", "True=", "1", "", 0),
    ("json", "", '{"a": [1, 2]}', "", 1),
    ("json", "", ' {}\n', "", 1),
    ("json", "", "[1]", "", 0),
    ("json", "", '{"a": NaN}', "", 0),
    ("json", "", '{"a": 1} and more', "", 0),
    ("json", "", "", "", 0),
    ("json", "", "[" * 100_000, "", 0),
    ("given", "", " yes", "yes ", 1),
    ("given", "", "Yes", "yes", 0),
]  # fmt: skip


@pytest.mark.parametrize(("name", "prompt", "answer", "wanted", "earned"), CASES)
def test_what_an_answer_earns(name, prompt, answer, wanted, earned):
    assert REWARDS[name](prompt, answer, wanted) == earned
