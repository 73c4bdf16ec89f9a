"""Designs of a scorer that were tried, each judged as what ships: `python -m bench.designs FOLDER`.

FOLDER holds outcomes.parquet and opinions.jsonl. Needs numpy, scipy and scikit-learn, which the
gateway does not: `make classifier-report` puts them into an environment of their own.
"""

# mypy: ignore-errors
# ruff: noqa: ANN001, ANN201, ANN202

import json
import re
import sys
import time
from functools import cache
from itertools import pairwise
from math import log, log1p
from pathlib import Path
from random import Random
from zlib import crc32

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import lsqr
from sklearn.ensemble import ExtraTreesRegressor, HistGradientBoostingRegressor

from gateway.evaluation import labels
from gateway.evaluation.metrics.bootstrap import draw_shuffles
from gateway.evaluation.metrics.cross_validation import (
    compute_held_out_scores,
    leave_one_out,
    split_randomly,
)
from gateway.evaluation.metrics.ranking import Sources, average_sources
from gateway.evaluation.training import base_model
from gateway.evaluation.training.dataset import outcomes
from gateway.routing.classifier.heuristic import TERMS, HeuristicClassifier
from gateway.routing.classifier.text_signals import TextScan, make_excerpt

FOLDER = Path(sys.argv[1])
ONLY = sys.argv[2:]
LABELS = labels.read_labels(FOLDER / "outcomes.parquet")
ROWS = outcomes(LABELS)
TEXTS = [label.prompt for label in LABELS]
S = np.array([row.source for row in ROWS])
F, M = np.array([row.fast for row in ROWS]), np.array([row.smart for row in ROWS])
G, N = M - F, len(ROWS)
FORM = np.array([row.numbers for row in ROWS])
TERM = np.array([[float(term.value(row.signals)) for term in TERMS] for row in ROWS])
REPEATS = 200


def prior_needs(classifier):
    fast = (classifier.score("", row.signals).fast for row in ROWS)
    return np.array([-log(one / (1 - one)) for one in fast])


def sparse(places, bits):
    indices, ends, values = [], [0], []
    for found in places:
        own = sorted(found)
        indices += own
        ends.append(len(indices))
        values += [len(own) ** -0.5] * len(own)
    return sp.csr_matrix((values, indices, ends), shape=(N, 1 << bits))


def grams(text):
    low = f" {re.sub(r'[ \s]+', ' ', make_excerpt(text).lower())} "
    return {
        crc32(low[at : at + 4].encode("utf-8", "surrogatepass")) & 65535
        for at in range(len(low) - 3)
    }


WORDS = re.compile(r"\w+|[^\w\s]")


def unigrams(text):
    return {
        crc32(word.encode("utf-8", "surrogatepass")) & 65535
        for word in WORDS.findall(make_excerpt(text).lower())
    }


def bigrams(text):
    words = WORDS.findall(make_excerpt(text).lower())
    pairs = {
        crc32(" ".join(pair).encode("utf-8", "surrogatepass")) & 65535 for pair in pairwise(words)
    }
    return pairs | unigrams(text)


def ends(text):
    """Phrases of up to six tokens at the start and at the end."""
    found = TextScan(text).tokens
    return {
        crc32(b"".join(some[:many]), start)
        for some, start in ((found, 0x5E), (found[::-1], 0x24))
        for many in (1, 2, 3, 4, 6)
        if many <= len(some)
    }


PLACES = sparse(
    [
        {place & 65535 for place in row.terms | ends(text)}
        for row, text in zip(ROWS, TEXTS, strict=True)
    ],
    16,
)


def weights(train, power=1.0):
    names, counts = np.unique(S[train], return_counts=True)
    size = dict(zip(names, counts, strict=True))
    found = np.array([size[name] ** -power for name in S[train]])
    return found / found.mean()


def centred(values, train):
    found = np.asarray(values, float)[train].copy()
    for name in set(S[train]):
        found[S[train] == name] -= found[S[train] == name].mean()
    return found


def ridge(x, y, w, penalty):
    root = np.sqrt(w)
    return lsqr(sp.diags(root) @ x, root * y, damp=penalty**0.5, iter_lim=60)[0]


def dense(a, y, w, penalty):
    return np.linalg.solve(
        (a * w[:, None]).T @ a + penalty * np.eye(a.shape[1]), (a * w[:, None]).T @ y
    )


def form(train):
    middle, spread = FORM[train].mean(0), FORM[train].std(0) + 1e-9
    return np.clip((FORM - middle) / spread, -4, 4)


def both(train, x=PLACES, weight=0.065):
    return sp.hstack([x, sp.csr_matrix(form(train) * weight)]).tocsr()


def honest(train):
    return prior_needs(base_model.refit([ROWS[at] for at in train]))


def linear(x, penalty=3.0):
    return lambda train: x @ ridge(x[train], centred(G, train), weights(train), penalty)


@cache
def table(read):
    return sparse(map(read, TEXTS), 16)


def hashed(read):
    def design(train):
        return linear(table(read))(train)

    return design


def hand(train):
    a = form(train)
    return a @ dense(a[train], centred(G, train), weights(train), 300)


def boosted(train, depth=3, rounds=150):
    model = HistGradientBoostingRegressor(
        random_state=0, early_stopping=False, max_iter=rounds, max_depth=depth,
        learning_rate=0.05, min_samples_leaf=40,
    )  # fmt: skip
    return model.fit(FORM[train], centred(G, train), sample_weight=weights(train, 0.5)).predict(
        FORM
    )


def stumps(train):
    return boosted(train, 1, 300)


def trees(train):
    model = ExtraTreesRegressor(60, min_samples_leaf=20, max_features=0.4, random_state=0)
    return model.fit(FORM[train], centred(G, train), sample_weight=weights(train, 0.5)).predict(
        FORM
    )


def bayes(train):
    """NB-SVM (Wang and Manning 2012): places weighed by their log-count ratio, then a ridge."""
    hard = (centred(G, train) > 0).astype(float)
    seen = (PLACES[train] > 0).astype(float)
    up, down = 1 + seen.T @ hard, 1 + seen.T @ (1 - hard)
    ratio = np.log((up / up.sum()) / (down / down.sum()))
    x = PLACES @ sp.diags(ratio)
    return x @ ridge(x[train], centred(G, train), weights(train), 1.0)


def pairs(train):
    """A ranking loss: logistic on differences of two rows of one source, weighed by their gap."""
    chance, x = np.random.default_rng(0), PLACES
    theta, total = np.zeros(x.shape[1]), np.zeros(x.shape[1])
    by_source = [train[S[train] == name] for name in sorted(set(S[train]))]
    for step in range(400):
        own = by_source[step % len(by_source)]
        a, b = chance.choice(own, 256), chance.choice(own, 256)
        gap = G[a] - G[b]
        difference = x[a] - x[b]
        push = gap / (1 + np.exp(np.sign(gap) * (difference @ theta)))
        theta = theta * 0.999 + 0.5 * (difference.T @ push)
        total += theta
    return x @ total


def robust(train):
    """Group DRO (Sagawa and others 2020): sources that are done worst weigh more."""
    x, y = both(train), centred(G, train)
    names = sorted(set(S[train]))
    share = dict.fromkeys(names, 1.0)
    theta = None
    for _ in range(6):
        w = weights(train) * np.array([share[name] for name in S[train]])
        theta = ridge(x[train], y, w / w.mean(), 3.0)
        miss = (y - x[train] @ theta) ** 2
        for name in names:
            rows = S[train] == name
            share[name] *= np.exp(2 * miss[rows].mean() / y[rows].var())
        scale = sum(share.values()) / len(names)
        share = {name: value / scale for name, value in share.items()}
    return x @ theta


def agreed(train):
    """Only the numbers whose sign is the same in every source that is trained on."""
    a = form(train)
    own = []
    for name in sorted(set(S[train])):
        rows = train[S[train] == name]
        own.append(dense(a[rows], G[rows] - G[rows].mean(), np.ones(len(rows)), 200))
    signs = np.abs(np.sign(np.round(own, 4)).sum(0)) >= len(own) - 1
    kept = a * signs
    return kept @ dense(kept[train], centred(G, train), weights(train), 300)


def nearest(train, k=60):
    x, y = PLACES, centred(G, train)
    found = np.zeros(N)
    for start in range(0, N, 1000):
        near = (x[start : start + 1000] @ x[train].T).toarray()
        top = np.argpartition(-near, k, axis=1)[:, :k]
        close = np.take_along_axis(near, top, 1)
        found[start : start + 1000] = (close * y[top]).sum(1) / (close.sum(1) + 0.5)
    return found


def hardness(train, smart=0.0, x=None):
    a, y = both(train) if x is None else x, smart * M - F
    return a @ ridge(a[train], y[train] - y[train].mean(), np.ones(len(train)), 2.0)


def hard_and_prior(train):
    return hardness(train, 0.5) + 0.3 * honest(train)


def hard_trees_prior(train):
    return hard_and_prior(train) + trees(train)


def stacked(train):
    """Trees over the form and what ridges say of fast, smart and the gap, each out of fold."""
    inner = np.random.default_rng(1).integers(0, 4, len(train))
    a = both(train)
    inside, outside = np.zeros((len(train), 3)), np.zeros((N, 3))
    for column, y in enumerate((G, F, M)):
        for part in range(4):
            kept, held = train[inner != part], inner == part
            inside[held, column] = a[train[held]] @ ridge(
                a[kept], centred(y, kept), weights(kept), 3.0
            )
        outside[:, column] = a @ ridge(a[train], centred(y, train), weights(train), 3.0)
    model = ExtraTreesRegressor(60, min_samples_leaf=20, max_features=0.4, random_state=0)
    model.fit(np.hstack([FORM[train], inside]), centred(G, train))
    return model.predict(np.hstack([FORM, outside]))


def gated(train):
    """A gain for each source behind a gate for each source; the gap pooled where none opens."""
    a, names = both(train), sorted(set(S[train]))
    pooled = a @ ridge(a[train], centred(G, train), weights(train), 3.0)
    gains, gates = [], []
    for name in names:
        rows = train[S[train] == name]
        gains.append(a @ ridge(a[rows], G[rows] - G[rows].mean(), np.ones(len(rows)), 3.0))
        gates.append(PLACES @ ridge(PLACES[train], (S[train] == name) * 1.0, weights(train), 0.3))
    gate = np.clip(np.stack(gates, 1), 0, 1)
    known = gate.max(1)
    share = gate / np.maximum(gate.sum(1, keepdims=True), 1e-9)
    return known * (share * np.stack(gains, 1)).sum(1) + (1 - known) * pooled


def opinions(_train):
    told = [json.loads(line) for line in (FOLDER / "opinions.jsonl").read_text().splitlines()]
    step = {"SIMPLE": 0.0, "MEDIUM": 1.0, "COMPLEX": 2.0, "REASONING": 3.0}
    y = np.array([step[one["expected_tier"]] for one in told])
    rows = [bigrams(one["prompt"]) for one in told]
    x = sp.lil_matrix((len(rows), 1 << 16))
    for at, own in enumerate(rows):
        x[at, sorted(own)] = len(own) ** -0.5
    theta = ridge(x.tocsr(), y - y.mean(), np.ones(len(rows)), 1.0)
    return table(bigrams) @ theta


DESIGNS = {
    "word count": lambda _: np.array([log1p(len(text.split())) for text in TEXTS]),
    "prior as it ships (fitted on all of it)": lambda _: prior_needs(HeuristicClassifier()),
    "prior, fitted again without what is held out": honest,
    "opinions: hashed ridge on hand-given tiers": opinions,
    "form: ridge on 99 numbers": hand,
    "form: boosted stumps": stumps,
    "form: boosted trees of depth 3": boosted,
    "form: extremely randomised trees": trees,
    "form: ridge on numbers whose sign agrees": agreed,
    "hash: single words": hashed(unigrams),
    "hash: words and pairs": hashed(bigrams),
    "hash: words, pairs and ends": linear(PLACES),
    "hash: four characters": hashed(grams),
    "hash: NB-SVM": bayes,
    "hash: pairwise ranking loss": pairs,
    "hash: 60 nearest prompts": nearest,
    "hash + prior": lambda train: linear(PLACES)(train) + 0.1 * honest(train),
    "hash + form: group DRO": robust,
    "hash + form: difficulty (less the fast score)": hardness,
    "hash + form: difficulty, half the smart score": lambda train: hardness(train, 0.5),
    "the same + prior": hard_and_prior,
    "the same + prior + trees": hard_trees_prior,
    "stacked: trees over ridges": stacked,
    "gated gains, the gap pooled": gated,
    "gated gains + prior": lambda train: gated(train) + 0.1 * honest(train),
}


def judged(design, folds):
    need = np.zeros(N)
    for fold in folds:
        said = np.asarray(design(np.array(fold.train)))
        need[fold.held] = said[fold.held]
    return compute_held_out_scores(
        need.tolist(), F.tolist(), M.tolist(), S.tolist(), Random(1), REPEATS
    ).mean, need


def shuffled(need):
    """What the same needs get in random order: the least and the most of some tries."""
    orders = draw_shuffles(need.tolist(), Random(1), 40)
    found = [
        average_sources(Sources(one, F.tolist(), M.tolist(), S.tolist()).apgr()) for one in orders
    ]
    return min(found), max(found)


def main():
    names = [row.source for row in ROWS]
    print("| design | unseen prompts, five parts | shuffled | unseen sources | s |")
    print("|---|---|---|---|---|")
    for name, design in DESIGNS.items():
        if ONLY and not any(one in name for one in ONLY):
            continue
        start = time.perf_counter()
        inside, need = judged(design, list(split_randomly(names, Random(1))))
        outside, _ = judged(design, list(leave_one_out(names)))
        low, high = shuffled(need)
        took = time.perf_counter() - start
        print(
            f"| {name} | {inside} | {low:.3f} to {high:.3f} | {outside} | {took:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
