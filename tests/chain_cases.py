"""Chains written and solved by hand, for the oracle, the task and the command line alike."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """A sentence, and its variables with their values in chain order."""

    group: str
    text: str
    chain: tuple[tuple[str, str], ...]


CASES = [
    Case("z2", "a = val 1 ,", (("a", "1"),)),
    Case("z2", "b = not a , a = val 1 ,", (("a", "1"), ("b", "0"))),
    Case(
        "z2",
        "c = not b , a = val 0 , d = val c , b = not a ,",
        (("a", "0"), ("b", "1"), ("c", "0"), ("d", "0")),
    ),
    Case("z5", "q = +3 x , x = val 4 , y = +4 q ,", (("x", "4"), ("q", "2"), ("y", "1"))),
    # In D3, a reflection S turns a rotation round: S R = R2 S.
    Case("d3", "a = val R , b = S a , c = S b ,", (("a", "R"), ("b", "R2S"), ("c", "R"))),
    # P102 swaps 0 and 1, P021 swaps 1 and 2; first the right one, then the left.
    Case("s3", "a = val P102 , b = P021 a ,", (("a", "P102"), ("b", "P201"))),
]
