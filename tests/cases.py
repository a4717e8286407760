"""Studies for tests: small enough for seconds, whole enough for every table and page."""

from pathlib import Path

from featdyn_engine.domain import Task

# What a network for scikit-learn's digits takes and gives.
DIGITS = Task(channels=1, pixels=8, classes=10)
# A home for tests that keep nothing there: digits ship inside a package.
HERE = Path("no-home")

TINY_STUDY = """
name = "tiny"
title = "Tiny: true against random labels"

[data]
name = "digits"
train_size = 96

[network]
name = "resnet20"

[training]
steps = 20
batch_size = 32
lr = 0.05
schedule = "step"
milestones = [0.8]

[checkpoints]
steps = [0, 1, 2, 4, 6, 8, 10, 12, 16, 20]

[[arms]]
name = "true labels"

[[arms]]
name = "random labels"
label_noise = 1.0

[[analyses]]
kind = "splices"
evaluations = [{ split = "train", n = 40 }, { split = "test", n = 40 }]
"""

# Two cubes of a perceptron with BatchNorm, in seconds; arms and analyses may follow.
ONE_ARM = """
name = "small"

[data]
name = "digits"
train_size = 64

[network]
name = "mlp"
norm_layer = "batch"
options = { width = 16, depth = 2 }

[training]
steps = 4
batch_size = 32

[checkpoints]
steps = [0, 2, 4]

[[arms]]
name = "true labels"

[[analyses]]
kind = "splices"
cuts = ["layer1", "layer2"]
evaluations = [{ split = "test", n = 40 }]
"""

# Trainings alone, of a perceptron with BatchNorm: a second each.
QUICK_STUDY = """
name = "quick"

[data]
name = "digits"
train_size = 44

[network]
name = "mlp"
norm_layer = "batch"
options = { width = 16, depth = 2 }

[training]
steps = 10
batch_size = 8
lr = 0.05

[checkpoints]
count = 6

[[arms]]
name = "true labels"

[[arms]]
name = "random labels"
label_noise = 1.0
"""
