"""WordPiece as BERT's uncased models have it (Devlin et al. 2019), from texts: the same texts, the same vocabulary.

The library numbers the first pieces in the order of a hash table, other in every process, and ties of the merging go by
numbers. So words are counted here, and the pieces of one character get their numbers by code point.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice, repeat

import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from base.errors import MetrolineError

NAMES = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "mask_token": "[MASK]"}
"""What `transformers` calls each special token → its text; their ids are 0 to 4, and rows of text are padded with 0."""
INSIDE = "##"
"""What a piece begins with that does not begin a word."""
LONGEST = 100
"""Characters; a longer word is [UNK]."""
AT_ONCE = 4096  # words handed to the library at once


def train(texts: Iterable[str], vocabulary: int, min_frequency: int) -> tokenizers.Tokenizer:
    """The tokenizer of these texts, which are read once; at most `vocabulary` tokens, special ones among them.

    Text is lower-cased and loses its accents. Raises MetrolineError: fewer tokens than there are characters.
    """
    normalizer, pieces = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words: Counter[str] = Counter()
    for text in texts:
        words.update(word for word, _ in pieces.pre_tokenize_str(normalizer.normalize_str(text)))
    known = {word: count for word, count in sorted(words.items()) if len(word) <= LONGEST}
    letters = sorted({word[0] for word in known}) + sorted({INSIDE + one for word in known for one in word[1:]})
    special = [*NAMES.values(), *letters]
    if len(special) > vocabulary:
        raise MetrolineError(
            f"data.tokenizer.vocabulary: {vocabulary:,}, and the texts have {len(letters):,} characters at the "
            f"beginning of words and inside, beside {len(NAMES)} special tokens",
            hint="raise it, or clean the texts of rare characters",
        )
    maker = tokenizers.Tokenizer(models.WordPiece(unk_token=NAMES["unk_token"], max_input_chars_per_word=LONGEST))
    maker.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary,
        min_frequency=min_frequency,
        special_tokens=special,
        show_progress=False,
        continuing_subword_prefix=INSIDE,
    )
    maker.train_from_iterator(_repeated(known), trainer)
    return _assembled(maker.get_vocab())


def _repeated(words: dict[str, int]) -> Iterator[str]:
    """Each word as often as it was counted, many in one text."""
    stream = (one for word, count in words.items() for one in repeat(word, count))
    while batch := list(islice(stream, AT_ONCE)):
        yield " ".join(batch)


def _assembled(vocabulary: dict[str, int]) -> tokenizers.Tokenizer:
    """BERT's tokenizer with these pieces."""
    made = tokenizers.Tokenizer(
        models.WordPiece(vocabulary, unk_token=NAMES["unk_token"], max_input_chars_per_word=LONGEST)
    )
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece(prefix=INSIDE)
    begin, end = NAMES["cls_token"], NAMES["sep_token"]
    made.post_processor = processors.TemplateProcessing(
        single=f"{begin} $A {end}",
        pair=f"{begin} $A {end} $B:1 {end}:1",
        special_tokens=[(name, vocabulary[name]) for name in (begin, end)],
    )
    made.add_special_tokens(list(NAMES.values()))
    return made
