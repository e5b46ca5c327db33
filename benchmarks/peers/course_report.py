"""The course report's way to train, on the encoder that it is given, driven line by line.

float32, every sequence padded to 384 tokens, batches in random order, AdamW over all parameters;
a softmax head, or a linear layer to three tags under pytorch-crf. Written from the report's
description. Runs in the peers' environment, without spanqa. Argument: the folder of the encoder.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import torch
import torchcrf
from lines import serve
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from transformers import AutoModel, AutoModelForQuestionAnswering, AutoTokenizer

LENGTH, STRIDE = 384, 128


class Tagger(nn.Module):
    """Encoder, linear layer, chain."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(folder)
        self.dropout = nn.Dropout(self.encoder.config.hidden_dropout_prob)
        self.linear = nn.Linear(self.encoder.config.hidden_size, 3)
        self.chain = torchcrf.CRF(3, batch_first=True)

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor, tags: Tensor) -> Tensor:
        hidden = self.encoder(ids, attention_mask=mask, token_type_ids=types)[0]
        emissions = self.linear(self.dropout(hidden))
        loss: Tensor = -self.chain(emissions, tags, mask.bool(), reduction="mean")
        return loss


class Training:
    """One encoder, and the windows of some questions."""

    def __init__(self, folder: str) -> None:
        self.folder = folder
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def load(self, file: str, threads: int, device: str = "cpu") -> dict[str, Any]:
        """Windows of the {"question", "context", "start", "end"} records in a JSON file."""
        torch.set_num_threads(threads)
        self.device = device
        with open(file, encoding="utf-8") as content:
            asked = json.load(content)
        encoding = self.tokenizer(
            [each["question"] for each in asked],
            [each["context"] for each in asked],
            truncation="only_second",
            max_length=LENGTH,
            stride=STRIDE,
            padding="max_length",
            return_overflowing_tokens=True,
            return_offsets_mapping=True,
        )
        spans = []
        for row, example in enumerate(encoding["overflow_to_sample_mapping"]):
            parts, offsets = encoding.sequence_ids(row), encoding["offset_mapping"][row]
            answer = asked[example]
            inside = [
                i
                for i, (begin, end) in enumerate(offsets)
                if parts[i] == 1 and begin < answer["end"] and end > answer["start"]
            ]
            spans.append((inside[0], inside[-1]) if inside else (0, 0))
        names = ("input_ids", "attention_mask", "token_type_ids")
        arrays = [torch.tensor(encoding[name]) for name in names]
        self.data = TensorDataset(*arrays, torch.tensor(spans))
        return {"windows": len(spans)}

    def train(self, head: str, batch_size: int, learning_rate: float) -> dict[str, float]:
        """One epoch; seconds of all its steps."""
        torch.manual_seed(0)
        if head == "softmax":
            model: Any = AutoModelForQuestionAnswering.from_pretrained(self.folder)
        else:
            model = Tagger(self.folder)
        model.to(self.device).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
        position = torch.arange(LENGTH, device=self.device)
        losses = []
        begin = time.perf_counter()
        for batch in DataLoader(self.data, batch_size, shuffle=True):
            ids, mask, types, spans = (tensor.to(self.device) for tensor in batch)
            first, last = spans.T
            if head == "softmax":
                loss = model(
                    input_ids=ids,
                    attention_mask=mask,
                    token_type_ids=types,
                    start_positions=first,
                    end_positions=last,
                ).loss
            else:
                inside = (position >= first[:, None]) & (position <= last[:, None])
                inside &= last[:, None] > 0
                tags = torch.where(position == first[:, None], 1, 2) * inside
                loss = model(ids, mask, types, tags)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
        return {"seconds": time.perf_counter() - begin, "loss": losses[-1]}


if __name__ == "__main__":
    training = Training(sys.argv[1])
    serve({"load": training.load, "train": training.train})
