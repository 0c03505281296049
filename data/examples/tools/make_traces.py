"""Make traces.jsonl.gz: chats in which an assistant calls tools, made up by rules from a seed.

    python data/examples/tools/make_traces.py

Nobody wrote or said these: questions are one of a few phrases for a tool with values put in. Six tools are in the test
rows alone, as are a third of the values, so that what is tested was not learnt by heart.
"""

import gzip
import json
import random
from pathlib import Path
from typing import Any

SEED = 11
COUNTS = {"train": 720, "valid": 40, "test": 120}
CITIES = "Ulm Bonn Lima Oslo Riga Kyiv Cairo Quito Perth Delhi Seoul Turin Ghent Porto Malmö Izmir Accra Tunis"
PEOPLE = "Ann Ben Cleo Dan Eva Finn Gus Hana Ida Jon Kim Lea Max Nora Otto Pia Rosa Sam Tom Uma"
WORDS = "house river window bread paper winter garden bridge mountain letter button kitchen shadow mirror"
THINGS = "milk rice soap tea lamps pens plates candles apples nails towels batteries"
CURRENCIES = "USD EUR JPY GBP CHF INR SEK PLN"
LANGUAGES = "French German Polish Turkish Danish Czech Finnish Dutch"
TEAMS = "support sales design finance research logistics"
VALUES: dict[str, list[Any]] = {
    "city": CITIES.split(), "person": PEOPLE.split(), "word": WORDS.split(), "thing": THINGS.split(),
    "currency": CURRENCIES.split(), "language": LANGUAGES.split(), "team": TEAMS.split(),
    "count": list(range(2, 60)), "amount": [each * 5 for each in range(1, 200)],
    "minutes": list(range(5, 90)), "day": [f"2026-{m:02}-{d:02}" for m in range(1, 13) for d in (3, 9, 14, 21, 27)],
    "time": [f"{h:02}:{m:02}" for h in range(7, 22) for m in (0, 15, 30, 45)],
}  # fmt: skip
"""Kind of value → what it may be."""
NUMBERS = ("count", "amount", "minutes")

# name: (what it does, its arguments as {name: kind of value}, phrases, what is said of its result)
Spec = tuple[str, dict[str, str], tuple[str, ...], str]
KNOWN: dict[str, Spec] = {
    "get_weather": ("current weather of a city", {"city": "city"},
                    ("What is the weather in {city}?", "Is it raining in {city}?", "How warm is it in {city}?"),
                    "In {city} it is {result}."),
    "convert_currency": ("convert an amount of money", {"amount": "amount", "source": "currency", "target": "currency"},
                         ("How much is {amount} {source} in {target}?", "Convert {amount} {source} to {target}."),
                         "{amount} {source} are {result} {target}."),
    "set_timer": ("start a timer", {"minutes": "minutes"},
                  ("Set a timer for {minutes} minutes.", "Wake me in {minutes} minutes."), "The timer runs."),
    "translate_word": ("translate a word", {"word": "word", "language": "language"},
                       ("What is {word} in {language}?", "How do you say {word} in {language}?"), "It is {result}."),
    "add_to_list": ("put something on the shopping list", {"item": "thing", "quantity": "count"},
                    ("Put {quantity} {item} on my list.", "We need {quantity} {item}."), "Done."),
    "send_message": ("send a text message", {"to": "person", "text": "word"},
                     ("Text {to}: {text}", "Send {to} the message {text}."), "It was sent to {to}."),
    "find_trains": ("train connections of a day", {"origin": "city", "destination": "city", "date": "day"},
                    ("Trains from {origin} to {destination} on {date}?", "How do I get from {origin} to {destination} "
                     "by train on {date}?"), "There are {result} trains."),
    "local_time": ("current time in a city", {"city": "city"},
                   ("What time is it in {city}?", "How late is it in {city}?"), "It is {result} in {city}."),
    "count_letters": ("number of letters of a word", {"word": "word"},
                      ("How many letters has {word}?", "Count the letters of {word}."), "It has {result}."),
    "play_song": ("play music", {"artist": "person"},
                  ("Play something by {artist}.", "I want to hear {artist}."), "Here is {artist}."),
    "get_phone": ("telephone number of a person", {"person": "person"},
                  ("What is the number of {person}?", "How can I call {person}?"), "It is {result}."),
    "stock_level": ("how many pieces are in stock", {"item": "thing"},
                    ("How many {item} are left?", "Do we have {item} in stock?"), "There are {result}."),
    "add_numbers": ("sum of two whole numbers", {"a": "count", "b": "amount"},
                    ("What is {a} plus {b}?", "Add {b} to {a}.", "{a} + {b}?"), "It is {result}."),
    "open_ticket": ("open a ticket for a team", {"team": "team", "title": "word"},
                    ("Open a ticket for {team}: {title}", "Tell {team} about the {title}."), "It is ticket {result}."),
    "get_population": ("number of people in a city", {"city": "city"},
                       ("How many people live in {city}?", "How big is {city}?"), "About {result} people."),
    "set_alarm": ("set an alarm clock", {"time": "time"},
                  ("Wake me at {time}.", "Set an alarm for {time}."), "The alarm is set."),
}  # fmt: skip
HELD_OUT: dict[str, Spec] = {
    "book_table": (
        "book a table in a restaurant",
        {"city": "city", "guests": "count", "time": "time"},
        ("A table in {city} for {guests} at {time}, please.",),
        "",
    ),
    "get_holidays": ("public holidays near a day", {"date": "day"}, ("Which holidays are near {date}?",), ""),
    "rhyme": ("words that rhyme", {"word": "word"}, ("What rhymes with {word}?",), ""),
    "order_item": ("order something", {"item": "thing", "amount": "count"}, ("Order {amount} {item}.",), ""),
    "call_person": ("call somebody", {"name": "person"}, ("Call {name}.",), ""),
    "multiply": ("product of two whole numbers", {"x": "count", "y": "count"}, ("What is {x} times {y}?",), ""),
}
NOTHING = "None of my functions can do that."


def definition(name: str, spec: Spec) -> dict[str, Any]:
    """As OpenAI's API has it."""
    does, arguments, *_ = spec
    properties = {key: {"type": "integer" if kind in NUMBERS else "string"} for key, kind in arguments.items()}
    parameters = {"type": "object", "properties": properties, "required": list(arguments)}
    return {"type": "function", "function": {"name": name, "description": does, "parameters": parameters}}


def values(split: str, kind: str) -> list[Any]:
    """Every third value is for the test rows alone, which have no others."""
    return [value for place, value in enumerate(VALUES[kind]) if (place % 3 == 2) == (split == "test")]


def asked(draw: random.Random, split: str, spec: Spec) -> tuple[str, dict[str, Any]]:
    """A question, and the arguments that it names."""
    _, arguments, phrases, _ = spec
    made: dict[str, Any] = {}
    for key, kind in arguments.items():
        made[key] = draw.choice([value for value in values(split, kind) if value not in made.values()])
    return draw.choice(phrases).format(**made), made


def call(name: str, arguments: dict[str, Any], identity: int) -> dict[str, Any]:
    """As OpenAI's API has it."""
    written = json.dumps(arguments, ensure_ascii=False)
    return {"id": f"call_{identity}", "type": "function", "function": {"name": name, "arguments": written}}


def row(draw: random.Random, split: str, new: bool) -> dict[str, Any]:
    """One chat. `new`: it is about a held-out tool."""
    pool = HELD_OUT if new else KNOWN
    name = draw.choice(sorted(pool))
    spec, form = pool[name], draw.random()
    others = draw.sample(sorted(set(KNOWN) - {name}), 2)
    question, arguments = asked(draw, split, spec)
    messages: list[dict[str, Any]] = [{"role": "user", "content": question}]
    shown = [name, *others[: draw.choice((1, 1, 2))]]
    if form < 0.15:  # no tool for it
        shown = [other for other in shown if other != name]
        messages.append({"role": "assistant", "content": NOTHING})
    else:
        calls = [call(name, arguments, 1)]
        if form < 0.30:  # two calls at once
            second, more = asked(draw, split, spec)
            messages[0]["content"] += " And: " + second
            calls.append(call(name, more, 2))
        messages.append({"role": "assistant", "content": "", "tool_calls": calls})
        if form > 0.70 and split != "test":
            result = str(draw.randrange(2, 2000))
            messages.append({"role": "tool", "tool_call_id": "call_1", "content": json.dumps({"result": result})})
            messages.append({"role": "assistant", "content": spec[3].format(result=result, **arguments)})
    draw.shuffle(shown)
    tools = [definition(each, (KNOWN | HELD_OUT)[each]) for each in shown]
    return {"split": split, "new_tool": new, "tools": tools, "messages": messages}


def rows() -> list[dict[str, Any]]:
    """All of them, no question twice."""
    draw, made, seen = random.Random(SEED), list[dict[str, Any]](), set[str]()
    for split, count in COUNTS.items():
        there = 0
        while there < count:
            one = row(draw, split, new=split == "test" and there % 2 == 1)
            if (question := one["messages"][0]["content"]) not in seen:
                seen.add(question)
                made.append(one)
                there += 1
    return made


def packed() -> bytes:
    """The file: no time in it, so that it is the same whenever it is made."""
    text = "".join(json.dumps(one, ensure_ascii=False) + "\n" for one in rows())
    return gzip.compress(text.encode(), 9, mtime=0)


if __name__ == "__main__":
    Path(__file__).with_name("traces.jsonl.gz").write_bytes(packed())
