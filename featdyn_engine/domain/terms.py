"""The words and ranges of the field, as types.

Numeric ranges are part of the types (``annotated_types``), so that a study file, a test and a
notebook are held to the same bounds by one declaration.
"""

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Len, Lt

Share = Annotated[float, Ge(0), Le(1)]
PositiveShare = Annotated[float, Gt(0), Le(1)]
Decay = Annotated[float, Ge(0), Lt(1)]
Positive = Annotated[float, Gt(0)]
Count = Annotated[int, Gt(0)]
Step = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**63)]
Sha256 = Annotated[str, Len(64, 64)]
Severity = Annotated[int, Ge(0), Le(5)]
Split = Literal["train", "test"]
Norm = Literal["inherit", "recalibrate", "recalibrate_deep", "none"]
# "own": what a factory of the user does, which featdyn doesn't know.
NormLayer = Literal["batch", "group", "layer", "none", "own"]
Control = Literal[
    "other_seed",
    "other_seed_matched",
    "same_init",
    "twin",
    "random_parameters",
    "other_example",
    "other_example_same_class",
    "mirror",
    "random_features",
]
Device = Literal["cpu", "cuda", "mps"]
Precision = Literal["float32", "bfloat16"]
Augmentation = Literal["crop", "flip"]
# "other": of a training that featdyn has not done.
Optimizer = Literal["sgd", "adam", "adamw", "muon", "other"]

# Controls of a splice, and the objection that each answers (docs/notation.md).
CONTROLS = {
    "other_seed": "any shallow part would do",
    "other_seed_matched": "any network of this kind would do, once its channels are matched",
    "same_init": "it is only the common initialisation",
    "twin": "it is only the common beginning of the training",
    "random_parameters": "any change of the parameters of this size would do",
    "other_example": "the direction in which an example's features moved doesn't matter",
    "other_example_same_class": "only the class of the example matters",
    "mirror": "the sign of the movement doesn't matter",
    "random_features": "any change of the features of this size would do",
}

# pydantic reads this from a plain dataclass: an unknown key, or inf, in a study file is an error.
STRICT = {"extra": "forbid", "allow_inf_nan": False}
