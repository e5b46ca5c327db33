"""Training as run_qa of transformers sets its Trainer up, driven line by line.

bfloat16 on a GPU, every sequence padded to 384 tokens, batches in random order, a softmax head.
Runs in the peers' environment, without spanqa. Argument: the folder of the encoder.
"""

from __future__ import annotations

import sys
import tempfile
import time
from typing import Any

from course_report import Training
from lines import serve
from torch import Tensor
from transformers import (
    AutoModelForQuestionAnswering,
    Trainer,
    TrainerCallback,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

NAMES = ("input_ids", "attention_mask", "token_type_ids")


class Clock(TrainerCallback):
    """From the beginning of the epoch to the end of its last step."""

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Start."""
        self.begin = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """So far."""
        self.seconds = time.perf_counter() - self.begin


class Trained(Training):
    """One encoder, and the windows of some questions."""

    def rows(self) -> list[dict[str, Tensor]]:
        """As the Trainer's collator reads them."""
        found = []
        for *arrays, (first, last) in self.data:
            row = dict(zip(NAMES, arrays, strict=True))
            found.append(row | {"start_positions": first, "end_positions": last})
        return found

    def run(self, batch_size: int, learning_rate: float) -> dict[str, float]:
        """One epoch; seconds of its steps."""
        set_seed(0)
        cuda = self.device == "cuda"
        with tempfile.TemporaryDirectory() as folder:
            trainer = Trainer(
                model=AutoModelForQuestionAnswering.from_pretrained(self.folder),
                args=TrainingArguments(
                    output_dir=folder,
                    per_device_train_batch_size=batch_size,
                    learning_rate=learning_rate,
                    num_train_epochs=1,
                    bf16=cuda,
                    use_cpu=not cuda,
                    save_strategy="no",
                    report_to=[],
                    disable_tqdm=True,
                ),
                train_dataset=self.rows(),
                data_collator=default_data_collator,
                callbacks=[clock := Clock()],
            )
            trainer.train()
            return {"seconds": clock.seconds}


if __name__ == "__main__":
    training = Trained(sys.argv[1])
    serve({"load": training.load, "train": training.run})
