"""From token ids to text and back: a vocabulary of words, its tokenizer, and a fast renderer."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numba import njit
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

PAD, CLS, SEP, UNK, MASK = SPECIALS = ("[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]")


@dataclass(frozen=True)
class Vocabulary:
    """Words whose id is their place; the five special tokens of BERT come first, [PAD] is 0.

    In text, words stand with ``gap`` (a space or nothing) between them, but none before a word
    that is in ``tight``, and special tokens do not appear: text and ids determine each other. A
    word may have spaces inside.
    """

    plain: tuple[str, ...]
    gap: str = " "
    tight: tuple[str, ...] = ()

    @cached_property
    def words(self) -> tuple[str, ...]:
        return SPECIALS + self.plain

    @cached_property
    def ids(self) -> dict[str, int]:
        return {word: i for i, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def tokens(self, words: Sequence[str]) -> np.ndarray:
        """(words,) int16: their ids."""
        return np.array([self.ids[word] for word in words], np.int16)

    def tokenizer(self, max_length: int) -> PreTrainedTokenizerFast:
        """Text -> [CLS] words [SEP]; ``render`` gives the text back."""
        # Here, since it brings torch along, which samplers and shard writers do without.
        from transformers import PreTrainedTokenizerFast

        core = Tokenizer(models.WordLevel(self.ids, unk_token=UNK))
        if self.gap and not self.tight and not any(" " in word for word in self.plain):
            core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
        else:  # the longest word that fits, from left to right
            known = sorted(map(re.escape, self.plain), key=len, reverse=True)
            core.pre_tokenizer = pre_tokenizers.Split(
                Regex("|".join([*known, r"[^\s]"])), "removed", invert=True
            )
        core.post_processor = processors.TemplateProcessing(
            single=f"{CLS} $A {SEP}", special_tokens=[(CLS, self.ids[CLS]), (SEP, self.ids[SEP])]
        )
        return PreTrainedTokenizerFast(
            tokenizer_object=core,
            model_max_length=max_length,
            pad_token=PAD,
            cls_token=CLS,
            sep_token=SEP,
            unk_token=UNK,
            mask_token=MASK,
            bos_token=CLS,
            eos_token=SEP,
            clean_up_tokenization_spaces=False,
        )

    def render(self, ids: np.ndarray, lengths: np.ndarray | None = None) -> pa.StringArray:
        """The text of token ids (rows, length); see ``join``."""
        return join(ids, ("",) * len(SPECIALS) + self.plain, self.gap, self.tight, lengths)


def join(
    ids: np.ndarray,
    words: Sequence[str],
    gap: str,
    tight: Sequence[str] = (),
    lengths: np.ndarray | None = None,
) -> pa.StringArray:
    """The words of each row of ids (rows, length) put on end, about 500 MB/s on one core.

    ``gap`` stands before each word but the first of a row and those in ``tight``; empty words are
    passed over. ``lengths`` (rows,): how many of a row's ids count; all do if it is not given.
    """
    if lengths is None:
        lengths = np.full(len(ids), ids.shape[1])
    packed, begins, sizes = _spelling(tuple(words), gap, tuple(tight))
    data, offsets = _spell(ids, lengths, packed, begins, sizes)
    return pa.Array.from_buffers(
        pa.string(), len(ids), [None, pa.py_buffer(offsets), pa.py_buffer(data)]
    )


@lru_cache
def _spelling(
    words: tuple[str, ...], gap: str, tight: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The letters of all words, and of all words after a gap, as ``_spell`` takes them."""
    gaps = [gap if word and word not in tight else "" for word in words]
    spelled = [word.encode() for word in (*words, *map("".join, zip(gaps, words, strict=True)))]
    # Chunks of eight bytes, at least one, each of which is one store.
    chunks = [[word[k : k + 8] for k in range(0, max(len(word), 1), 8)] for word in spelled]
    packed = [int.from_bytes(chunk, "little") for word in chunks for chunk in word]
    begins = np.cumsum([0, *map(len, chunks)])
    sizes = np.array([len(word) for word in spelled])
    return np.array(packed, np.uint64), begins, sizes


@njit(cache=True)
def _spell(
    ids: np.ndarray,
    counts: np.ndarray,
    packed: np.ndarray,
    begins: np.ndarray,
    sizes: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Letters and offsets. Word w is spelling w as the first of its row, else w + words."""
    rows = len(ids)
    words = np.uint64(len(sizes) // 2)
    offsets = np.zeros(rows + 1, np.int32)
    for row in range(rows):
        size: Any = np.int64(0)
        j, length = 0, counts[row]
        while j < length and size == 0:
            size = sizes[np.uint64(ids[row, j])]
            j += 1
        for k in range(j, length):
            size += sizes[np.uint64(ids[row, k]) + words]
        offsets[row + 1] = offsets[row] + size
    data = np.empty(offsets[rows] + 8, np.uint8)  # a last store may reach past the end
    for row in range(rows):
        at, after = np.uint64(offsets[row]), np.uint64(0)
        for j in range(counts[row]):
            word = np.uint64(ids[row, j]) + after
            chunk, stop = np.uint64(begins[word]), at + np.uint64(sizes[word])
            if stop > at:
                after = words
            while True:
                letters = packed[chunk]
                for k in range(8):
                    data[at + np.uint64(k)] = np.uint8(letters >> np.uint64(8 * k))
                if at + np.uint64(8) >= stop:
                    break
                at += np.uint64(8)
                chunk += np.uint64(1)
            at = stop
    return data, offsets
