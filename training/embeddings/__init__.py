"""Where the rows of new tokens come from: a method a file, one place to call them.

    initialise(model, request)      writes the rows in place and returns figures
    METHODS                         name -> function, needs, source

The names, what each needs of a job and its source stand in
`training/settings/initialisations.py`, which pages read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from training.embeddings import (
    align,
    dictionary,
    factorised,
    focus,
    global_mean,
    last_first,
    mean,
    mean_first,
    merge_tree,
    ofa,
    omp,
    position_weighted,
    random,
    rows,
    trans_tokenization,
    wechsel,
    zip_tie,
)
from training.embeddings.request import (
    Mixtures,
    OldRows,
    Request,
    Rows,
    from_mixtures,
)
from training.settings.initialisations import INITIALISATIONS, Needs

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["METHODS", "Method", "Request", "initialise"]


@dataclass(frozen=True)
class Method:
    """One way of making rows.

    `weigh` gives mixtures of old rows, `rows` makes rows itself: a method has one.
    """

    name: str
    weigh: Callable[[Request], Mixtures] | None = None
    rows: Callable[[Request, OldRows], Rows] | None = None

    @property
    def needs(self) -> Needs:
        """Groups of places in the job; one of each group must be there."""
        return INITIALISATIONS[self.name].needs

    @property
    def source(self) -> str:
        """The paper or program it is from."""
        return INITIALISATIONS[self.name].source

    def make(self, request: Request, old: OldRows) -> Rows:
        """The rows for a request, for every matrix of the model."""
        if self.rows is not None:
            return self.rows(request, old)
        assert self.weigh is not None
        return from_mixtures(request, old, self.weigh(request))


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("mean_first", weigh=mean_first.weigh),
        Method("mean", weigh=mean.weigh),
        Method("last_first", weigh=last_first.weigh),
        Method("position_weighted", weigh=position_weighted.weigh),
        Method("merge_tree", weigh=merge_tree.weigh),
        Method("zip_tie", weigh=zip_tie.weigh),
        Method("align", weigh=align.weigh),
        Method("focus", weigh=focus.weigh),
        Method("wechsel", weigh=wechsel.weigh),
        Method("ofa", rows=ofa.rows),
        Method("dictionary", weigh=dictionary.weigh),
        Method("trans_tokenization", weigh=trans_tokenization.weigh),
        Method("omp", weigh=omp.weigh),
        Method("factorised", rows=factorised.rows),
        Method("global_mean", weigh=global_mean.weigh),
        Method("random", rows=random.rows),
    )
}


def initialise(model: PreTrainedModel, request: Request) -> dict[str, Any]:
    """Give every token of the request its rows, in place; old rows keep every bit.

    Returns {"method", "tokens", "covered"}: how many tokens the method itself had an
    answer for; the others have the mean of their pieces. Raises TokenizerMismatch, or
    MaterialMissing where what the method needs is not there.
    """
    old = rows.read(model, request)
    # A pruned vocabulary has nothing to make, and may lack what the method needs.
    method = METHODS[request.method if request.tokens else "mean"]
    made = method.make(request, old)
    rows.write(model, request, old, made)
    return {
        "method": request.method,
        "tokens": len(request.tokens),
        "covered": made.covered,
    }
