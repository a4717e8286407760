"""A Hugging Face callback that records a training (``featdyn_engine.record``).

    trainer = Trainer(model, arguments, callbacks=[RecorderCallback(home="var", name="mine")], ...)

Tested with transformers 5.24.
"""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from featdyn_engine.record import Recorder


class RecorderCallback(TrainerCallback):  # type: ignore[misc]  # untyped where not installed
    """Records the model that is trained; arguments are those of ``Recorder``.

    ``schedule`` may be a count without ``steps``: then those that the trainer has planned. Steps
    are its global steps, the learning rate that of the optimizer's first group.
    """

    def __init__(self, **options: Any) -> None:
        self.options = options
        self.recorder: Recorder | None = None
        self._rate: float | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Find the blocks, store the model as it begins."""
        epochs = max(state.num_train_epochs or 1, 1)
        known = {
            "steps": state.max_steps,
            "steps_per_epoch": max(state.max_steps / epochs, 1),
            "start": state.global_step,
            "batch_size": state.train_batch_size,
            "optimizer": getattr(kwargs.get("optimizer"), "optimizer", kwargs.get("optimizer")),
        }
        self.recorder = Recorder(kwargs["model"], **{**known, **self.options})

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Look at the learning rate, which the scheduler changes before the step ends."""
        self._rate = kwargs["optimizer"].param_groups[0]["lr"]

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Count an update."""
        if self.recorder is not None:
            self.recorder.after_step(state.global_step, self._rate)

    def on_train_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **kwargs: Any,
    ) -> None:
        """Store the last state."""
        if self.recorder is not None:
            self.recorder.finish()
