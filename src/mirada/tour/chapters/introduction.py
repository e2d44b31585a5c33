"""What attention is, before any system."""

from __future__ import annotations

from mirada.systems.walkthrough import Walk
from mirada.tour import diagrams
from mirada.tour.page import Chapter, Diagrams, Terms, Text


def chapter(walk: Walk) -> Chapter:
    """The idea, its three vectors, and its picture."""
    return Chapter(
        name="attention",
        subject="the idea",
        title="Attention is a look-up that returns a weighted mean",
        result="what attention is",
        text=(
            "Many inputs are sequences: the words of a sentence, the patches of an image, the points of a path. To "
            "say something about one element, a model needs information from the others. From which ones depends on "
            "the input, so fixed weights cannot do it: a linear layer gives the third word the same weight in every "
            "sentence.",
            "Attention computes the weights from the input itself. Each element sends out a {query:query}. It is "
            "compared with the {key:key} of every element. The better the two match, the more of that element's "
            "{value:value} goes into the answer, which is called the context.",
        ),
        parts=(
            Diagrams(
                diagrams=(
                    (
                        diagrams.mechanism(walk.traces["padding"][0]),
                        "The mechanism. On the arrows: the shapes in the next chapter's example, 5 rows of 10 "
                        "numbers. In this page's figures the {query:query is blue}, what it attends to, the "
                        "{key:key, is orange}, and the {value:value is green}.",
                    ),
                )
            ),
            Text(
                anchor="query",
                heading="What is a query, what is a key, what is a value?",
                paragraphs=(
                    "Think of a library. You come with a request, “how do cats see in the dark?”: the {query:query}. "
                    "Each book has an entry in the catalogue: its {key:key}. What you take home is the book's "
                    "content: its {value:value}. A dictionary in Python works in the same way, but only an exact "
                    "match counts. Attention is a soft dictionary: every key matches a little, and you get a mixture "
                    "of all values, most of it from the best matches.",
                ),
                points=(
                    "Exact look-up: the one value whose key equals the query.",
                    "Nearest look-up: the one value whose key is most similar to the query.",
                    "Attention: all values, each weighted by how similar its key is to the query.",
                ),
            ),
            Text(
                anchor="projections",
                heading="Why three different vectors?",
                paragraphs=(
                    "What an element searches for, how it can be found, and what it hands over are three different "
                    "things. A verb searches for its subject; it is not itself one. So a model does not use its "
                    "input x as it is. Three **learned projections**, matrices that training adjusts, make three "
                    "vectors of each element:",
                    "With one matrix for both, q and k would be equal, and every pair would match equally well in "
                    "both directions. With two, the verb can attend to its subject without the subject attending to "
                    "the verb.",
                ),
                formula="{query:q = x W_{Q}}     {key:k = x W_{K}}     {value:v = x W_{V}}",
            ),
            Text(
                anchor="formula",
                heading="The whole of it in one line",
                paragraphs=(
                    "Write the queries below each other as a matrix Q, likewise K and V. d is how many numbers a key "
                    "has.",
                    "The next chapter computes this line with numbers that you can check by hand: the scores "
                    "{query:Q}{key:K}^{T}, the division by √d, the softmax, the weighted mean.",
                ),
                formula="context = softmax( {query:Q} {key:K}^{T} / √d ) {value:V}",
            ),
            Terms(
                terms=(
                    ("token", "one element of a sequence: a word, a patch, a pixel, a point"),
                    ("score", "how well a query and a key match; also called alignment score"),
                    ("weight", "a score after the softmax: between 0 and 1; also alpha or attention weight"),
                    ("context", "what a query gets: the values' weighted mean; also context vector"),
                    ("self-attention", "queries, keys and values all come from the same sequence"),
                    ("cross-attention", "the queries come from one sequence, keys and values from another"),
                    ("projection", "a linear layer: the input times a learned matrix"),
                )
            ),
        ),
    )
