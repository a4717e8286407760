"""The claims that findings.md speaks of, in its order: one entry a claim.

The first six are the paper's (arXiv 2509.20334), the others what they leave open.
"""

from app.report.causes import FREEZING_RULE, NOISE_RULE, anisotropic, freezing_costs
from app.report.consistency import (
    COLLAPSE_RULE,
    CONTROLS_RULE,
    STABLE_RULE,
    collapse,
    corrupted,
    not_trivial,
    stable,
)
from app.report.further import (
    AVERAGES_RULE,
    RECIPES_RULE,
    REPLAY_RULE,
    averaged,
    replayed,
    robust,
)
from app.report.verdicts import Claim

CLAIMS = (
    Claim(
        "consistency",
        "1. Temporal consistency",
        "Do predictions stay stable when the shallow part of an earlier checkpoint is put under "
        "the deep part of a later one?",
        lambda gallery: stable(gallery, "train"),
        STABLE_RULE,
    ),
    Claim(
        "controls",
        "2. Not a trivial artefact",
        "Is the score more than a common beginning, a size of movement, or any displacement?",
        not_trivial,
        CONTROLS_RULE,
    ),
    Claim(
        "unseen",
        "3a. Unseen data",
        "Does it extend to test images?",
        lambda gallery: stable(gallery, "test"),
        STABLE_RULE,
    ),
    Claim(
        "corrupted",
        "3b. Corrupted data",
        "Does it extend to corrupted images?",
        corrupted,
        STABLE_RULE,
    ),
    Claim(
        "random_labels",
        "4. Collapse under random labels",
        "Does it collapse when the labels have no meaning?",
        collapse,
        COLLAPSE_RULE,
    ),
    Claim(
        "noise",
        "5. Anisotropic noise",
        "Is the noise of SGD confined to fewer directions than the network alone explains?",
        anisotropic,
        NOISE_RULE,
    ),
    Claim(
        "freezing",
        "6. Freezing shallow layers",
        "Does holding shallow layers still lower the final accuracy?",
        freezing_costs,
        FREEZING_RULE,
    ),
    Claim(
        "recipes",
        "7. Other recipes",
        "Does the effect hold, score and nulls together, with another optimiser, batch size, "
        "normalisation or augmentation, and where labels are wrong in part?",
        robust,
        RECIPES_RULE,
    ),
    Claim(
        "averages",
        "8. Averages of checkpoints",
        "Do the mean of late weights (SWA) and of late predictions do better than the last "
        "network, as implicit augmentation over time would suggest?",
        averaged,
        AVERAGES_RULE,
    ),
    Claim(
        "replay",
        "9. Replay as a way to train",
        "Does training on features of earlier checkpoints make the network better, as augmentation "
        "would?",
        replayed,
        REPLAY_RULE,
    ),
)
