"""A Lightning callback that records a training (``featdyn_engine.record``).

    trainer = Trainer(callbacks=[RecorderCallback(home="var", name="mine")])

Tested with lightning 2.6.
"""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from featdyn_engine.record import Recorder


class RecorderCallback(Callback):  # type: ignore[misc]  # untyped where it isn't installed
    """Records the module that is trained; arguments are those of ``Recorder``.

    ``schedule`` may be a count without ``steps``: then those that Lightning expects. Steps are its
    optimizer steps, the learning rate that of the first optimizer. ``network`` names the attribute
    of the module that holds the network, where forward does more than call it.
    """

    def __init__(self, network: str | None = None, **options: Any) -> None:
        self.network = network
        self.options = options
        self.recorder: Recorder | None = None
        self._rate: float | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Find the blocks, store the untrained network."""
        model = pl_module if self.network is None else pl_module.get_submodule(self.network)
        expected = trainer.estimated_stepping_batches
        known: dict[str, Any] = {}
        if expected != float("inf"):
            known["steps"] = int(expected)
            if trainer.max_epochs and trainer.max_epochs > 0:
                known["steps_per_epoch"] = max(expected / trainer.max_epochs, 1)
        optimizer = trainer.optimizers[0] if trainer.optimizers else None
        asked = {"start": trainer.global_step, "optimizer": optimizer, **known, **self.options}
        self.recorder = Recorder(model, **asked)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Look at the learning rate, which a scheduler may change before the batch ends."""
        if trainer.optimizers:
            self._rate = trainer.optimizers[0].param_groups[0]["lr"]

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Count an update, if there was one: gradients may be accumulated."""
        if self.recorder is not None and trainer.global_step > self.recorder.updates:
            self.recorder.after_step(trainer.global_step, self._rate)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store the last state."""
        if self.recorder is not None:
            self.recorder.finish()

    def on_exception(
        self, trainer: Trainer, pl_module: LightningModule, exception: BaseException
    ) -> None:
        """Leave what there is as a run."""
        if self.recorder is not None:
            self.recorder.__exit__(type(exception), exception, None)
