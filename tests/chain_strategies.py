"""Any chain config, for hypothesis."""

from hypothesis import strategies as st

from lego.chain_form import FORMS
from lego.chains import ChainConfig
from lego.groups import group

GROUPS = ["z2", "z3", "z5", "d3", "s3", "a4", "q8", "d4-points", "s4-points", "z2xz3"]


@st.composite
def configs(draw, most=12):
    name = draw(st.sampled_from(GROUPS))
    n = draw(st.integers(2, most))
    shape = draw(st.sampled_from(["chain", "chain", "tree"]))
    fields = {"n": n, "n_tr": draw(st.integers(1, n)), "shape": shape}
    if shape == "tree" and draw(st.booleans()):
        fields["roots"] = draw(st.integers(1, n))
    if fields.get("roots", 1) == 1:
        fields["distractors"] = tuple(draw(st.lists(st.integers(1, n - 1), max_size=2)))
        if shape == "tree" or n >= 3:
            fields["unused"] = draw(st.integers(0, 3))
    words = group(name).operators
    some = draw(st.lists(st.sampled_from(words), min_size=1, unique=True))
    fields["operators"] = draw(st.sampled_from([None, tuple(some)]))
    fields["order"] = draw(
        st.sampled_from(["random", "random", "forward", "reversed", "root-first"])
    )
    fields["form"] = draw(st.sampled_from(list(FORMS)))
    total = n + sum(fields.get("distractors", ())) + fields.get("unused", 0)
    fields["alphabet"] = draw(st.sampled_from([max(total, 26), total + 40]))
    return ChainConfig(name, **fields)
