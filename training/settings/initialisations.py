"""CONTRACT: the ways to give new tokens their first rows: label, needs, source.

The functions are in `training/embeddings/`, one file each, registered there under the
same names. Standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass

from training.settings.needs import Needs


@dataclass(frozen=True)
class Initialisation:
    """One way: what it does in a line, what it needs of the job, where it is from."""

    label: str
    source: str
    needs: Needs = ()


TARGET = ("data.target", "resources.target_vectors")
BASE = ("data.protected", "resources.base_vectors")
WORDS = ("data.dictionary", "data.parallel")

INITIALISATIONS: dict[str, Initialisation] = {
    "mean_first": Initialisation(
        "the mean of the old pieces' rows; for an untied output the first piece's",
        "EEVE: Kim et al. 2024, arXiv 2402.14714",
    ),
    "mean": Initialisation(
        "the mean of the old pieces' rows",
        "FVT: Gee et al. 2022",
    ),
    "last_first": Initialisation(
        "the last old piece's row; for an untied output the first piece's",
        "mergekit's tokensurgeon (first_last)",
    ),
    "position_weighted": Initialisation(
        "pieces weighted towards the end for the input, the start for the output",
        "AdaptiVocab: Nakash et al. 2025, arXiv 2503.19693",
    ),
    "merge_tree": Initialisation(
        "the mean of the two parts a token was merged from, recursively",
        "Merge: Yamaguchi et al. 2024, arXiv 2406.11477",
    ),
    "zip_tie": Initialisation(
        "the mean of the rows of the token's bytes",
        "Bailong: Chen et al. 2024, arXiv 2404.00862",
    ),
    "align": Initialisation(
        "the old pieces that stand where the token stands in your text",
        "Align: Yamaguchi et al. 2024, arXiv 2406.11477",
        (("data.target",),),
    ),
    "focus": Initialisation(
        "a few old tokens of like use in your text (vectors, sparsemax)",
        "FOCUS: Dobler and de Melo 2023, arXiv 2305.14481",
        (TARGET,),
    ),
    "wechsel": Initialisation(
        "old tokens of like meaning: vectors of both languages, turned by a dictionary",
        "WECHSEL: Minixhofer et al. 2022, arXiv 2112.06598",
        (TARGET, BASE, WORDS),
    ),
    "ofa": Initialisation(
        "as wechsel, in a factorised embedding",
        "OFA: Liu et al. 2024, arXiv 2311.08849",
        (
            TARGET,
            BASE,
            (*WORDS, "resources.target_vectors"),
            (*WORDS, "resources.base_vectors"),
        ),
    ),
    "dictionary": Initialisation(
        "the pieces of a word's translations in a dictionary",
        "Tik-to-Tok: Remy et al. 2023, arXiv 2310.03477",
        (WORDS,),
    ),
    "trans_tokenization": Initialisation(
        "the pieces of the words that a word is aligned with in parallel text",
        "Trans-tokenization: Remy et al. 2024, arXiv 2408.04303",
        (("data.parallel",),),
    ),
    "omp": Initialisation(
        "the sparse combination that gives the token's row in a donor model",
        "Orthogonal matching pursuit: Goddard and Fernandes Neto 2025, arXiv 2506.06607",
        (("resources.donor",),),
    ),
    "factorised": Initialisation(
        "the mean of the pieces in a low-rank factorisation of the old rows",
        "UNKs everywhere: Pfeiffer et al. 2021, arXiv 2012.15562",
    ),
    "global_mean": Initialisation(
        "the mean of all old rows, the same for every token (for comparison)",
        "Hewitt 2021, Initializing new word embeddings",
    ),
    "random": Initialisation(
        "noise with the mean and spread of the old rows (for comparison)",
        "the baseline of every paper",
    ),
}
