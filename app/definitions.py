"""What every quantity means: formula, words, and whose definition it is."""

from dataclasses import dataclass

PAPER = "the paper's"
OURS = "ours"
FIELD = "the field's"


@dataclass(frozen=True)
class Definition:
    """One quantity: ``formula`` in LaTeX; ``whose``: the paper's, ours, or the field's."""

    name: str
    formula: str
    words: str
    whose: str


DEFINITIONS = (
    Definition(
        "Splice",
        r"\mathrm{splice}(s,t,d) = g_t \circ h_s,\qquad "
        r"h_s = f_{1..d}(\theta_s),\quad g_t = f_{d+1..L}(\theta_t)",
        "The first d blocks as they were after s updates, under the others as they were after t. "
        "Forward: s < t, the paper's object. Backward: s > t. Equal: the plain network.",
        PAPER,
    ),
    Definition(
        "Accuracy and agreement",
        r"A(s,t) = \tfrac1N\textstyle\sum_i 1[\hat y_i^{(s,t)} = y_i],\qquad "
        r"C(s,t) = \tfrac1N\textstyle\sum_i 1[\hat y_i^{(s,t)} = \hat y_i^{(t,t)}]",
        "On a named evaluation set. Agreement needs no labels: the fair measure on test data of "
        "a run that fits random labels.",
        FIELD,
    ),
    Definition(
        "Chance",
        r"c(s,t) = \textstyle\sum_k \pi_k\, q_k(s,t)",
        "Shares of the labels times shares of the cell's own predictions: 1/K only where both are "
        "even.",
        OURS,
    ),
    Definition(
        "Retention",
        r"M(s,t) = \frac{A(s,t) - c(s,t)}{A(t,t) - c(t,t)}",
        "Which share of the accuracy above chance survives. Left out where the denominator is "
        "under 9 standard errors (Fieller's g of 0.05).",
        OURS,
    ),
    Definition(
        "Score",
        r"\mathrm{TC}_d = \frac{\sum_{t_0\le s<t} w_s w_t\,(A(s,t)-c(s,t))}"
        r"{\sum_{t_0\le s<t} w_s w_t\,(A(t,t)-c(t,t))}",
        "Over forward pairs past the first 5 % of the updates; w: trapezoid widths in cumulative "
        "learning rate. At least 8 checkpoints. Interval: bootstrap over examples, joint over "
        "cells.",
        OURS,
    ),
    Definition(
        "Memory horizon",
        r"\tau_\varepsilon(t) = \max\{t-s : A(s',t) \ge A(t,t)-\varepsilon"
        r"\ \forall s'\in[s,t]\}",
        "Each s' is decided by a paired lower 95 % limit (Tango 1998). Censored where the first "
        "checkpoint still holds.",
        OURS,
    ),
    Definition(
        "Displacement",
        r"\frac{E\,\lVert h_s-h_t\rVert^2}{E\,\lVert h_t-E h_t\rVert^2}",
        "How far features moved, in units of how they spread. Every retention is drawn against it, "
        "since features that hardly moved retain everything.",
        OURS,
    ),
    Definition(
        "Excess over a control",
        r"\mathrm{TC}_{\text{run}} - \mathrm{TC}_{\text{control}}",
        "The same deep parts under something else: another seed's shallow part, a twin's, features "
        "moved as another example's moved. Joint bootstrap over examples.",
        OURS,
    ),
    Definition(
        "Mean corruption error",
        r"\tfrac1{|K|}\textstyle\sum_{k}\tfrac1{|S|}\sum_{\sigma}(1 - A_{k,\sigma})",
        "Kinds and severities of Hendrycks & Dietterich (arXiv 1903.12261), not divided by "
        "AlexNet's errors.",
        OURS,
    ),
    Definition(
        "Total variation, and what is needed of it",
        r"R_Q(g) \le R_{\mathrm{aug}}(g) + B\,\mathrm{TV}(\mu_Q,\mu_{\mathrm{aug}})",
        "TV between laws of features and labels is in the paper; TV itself can't be had from "
        "samples in many dimensions. Shown: lower bounds, test statistics beside permutation "
        "nulls, and the TV needed, (R_Q - R_aug) / B.",
        "the paper's; the surrogates are ours",
    ),
    Definition(
        "Effective dimension of noise",
        r"\mathrm{PR}_{\mathrm{sign}} = 1 \big/ \operatorname{mean}_{i\ne j}(u_i^\top u_j)^2",
        "Of the directions u of independent mini-batch gradients' effects. The evidence is the "
        "difference to isotropic noise of equal norm through the same network.",
        OURS,
    ),
)
