"""Training of a SpanBERT-base shape on one GPU, and the course report's whole experiment.

    python -m benchmarks.gpu [--questions N] [--markdown FILE]
    python -m benchmarks.gpu --device cpu --layers 1 --questions 8 --epochs 1

The encoder has BERT-base's shape with 28,996 cased word pieces and random weights: speed does not
depend on them. The word pieces are learnt from the training texts, so that windows are about as
long as SpanBERT's. Beside ours (`spanqa train` as it is, bfloat16) stand the course report's loop
(float32, padded to 384 tokens) and the Trainer as run_qa sets it up (bfloat16, padded as well). The
second line tries every line on a machine without a GPU; its figures say nothing. Needs the peers
(`make peers`) and the data in $SPANQA_DATA.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from benchmarks.checkpoint import save_tokenizer
from benchmarks.measure import DATA, Peer, alternate, conditions, in_turn, quiet, seconds_of
from benchmarks.rows import Row, markdown, show
from benchmarks.training import RECIPE, operations, own, record, seconds_from
from spanqa.comparison import compare
from spanqa.data import load, sample
from spanqa.example import Example
from spanqa.model import SpanQAModel
from spanqa.recipe import Recipe, WindowRecipe, find_recipe
from spanqa.tokenizer import load_tokenizer
from spanqa.windows import cut

VOCABULARY = 28_996
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LOOP, RUN_QA, OF_MATRIX_RATE = 8.0, 2.0, 0.45
"""Targets: times the course report's loop, times the Trainer as run_qa sets it up, and the share of
the matrix rate."""
WHOLE = 300.0
"""Target: seconds of the whole experiment."""
TRAIN, DEV = (DATA / "squad2" / name for name in ("train-part.json", "dev-v2.0.json"))


def cased_tokenizer(texts: Iterator[str]) -> PreTrainedTokenizerFast:
    """Word pieces learnt from texts, laid out as BERT's."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=False)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=VOCABULARY, special_tokens=SPECIAL, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(token, SPECIAL.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=512,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def write_encoder(folder: Path, layers: int, examples: tuple[Example, ...]) -> None:
    """An untrained encoder of SpanBERT-base's shape, with a tokenizer."""
    torch.manual_seed(0)
    config = BertConfig(vocab_size=VOCABULARY, num_hidden_layers=layers)
    BertModel(config).save_pretrained(folder)
    texts = dict.fromkeys(text for e in examples for text in (e.context, e.question))
    save_tokenizer(cased_tokenizer(iter(texts)), folder)


def matrix_rate(device: str) -> float:
    """Bfloat16 operations a second of a large matrix product."""
    size = 8192 if device == "cuda" else 512
    a = torch.randn(size, size, device=device, dtype=torch.bfloat16)
    return 2 * size**3 / alternate({"": lambda: _waited(a @ a)}, 0.2, 5)[""]


def memory_rate(device: str) -> float:
    """Bytes a second that a large copy moves on the device, read and written."""
    a = torch.ones(1 << (30 if device == "cuda" else 24), device=device, dtype=torch.uint8)
    b = torch.empty_like(a)
    return 2 * a.numel() / alternate({"": lambda: _waited(b.copy_(a))}, 0.2, 5)[""]


def _waited(result: torch.Tensor) -> None:
    if result.is_cuda:
        torch.cuda.synchronize()


def training_rows(encoder: Path, examples: tuple[Example, ...], device: str) -> Iterator[Row]:
    """Questions a second of ours and of both peers, and the share of the matrix rate."""
    windows = cut(examples, load_tokenizer(str(encoder)), WindowRecipe())
    about = f"{len(windows)} windows of {windows.lengths.mean():.0f} tokens, batches of "
    about += str(RECIPE.batch_size)
    work = operations(windows, SpanQAModel.from_encoder(str(encoder), "softmax"))
    options = {"batch_size": RECIPE.batch_size, "learning_rate": RECIPE.learning_rate}
    file = encoder / "asked.json"
    file.write_text(json.dumps([record(example) for example in examples]), "utf-8")
    with Peer("course_report.py", encoder) as loop, Peer("run_qa.py", encoder) as trainer:
        for peer in (loop, trainer):
            peer.ask("load", file=str(file), threads=torch.get_num_threads(), device=device)
        for head in ("crf", "softmax"):
            ask = partial(loop.ask, "train", head=head, **options)
            runs = {
                "own": partial(own, head, windows, str(encoder)),
                "loop": partial(seconds_from, ask),
            }
            if head == "softmax":
                runs["run_qa"] = partial(seconds_from, partial(trainer.ask, "train", **options))
            if device == "cuda":
                in_turn(runs, 1)  # first calls choose kernels
            seconds = in_turn(runs, 3 if device == "cuda" else 1)
            rate = {name: len(examples) / taken for name, taken in seconds.items()}
            what = f"training, SpanBERT-base shape, {head}"
            beside = f"the course report's loop; {about}"
            yield Row(what, rate["own"], "questions/s", rate["loop"], beside, LOOP)
            if head == "softmax":
                beside = f"transformers 4.57.6 Trainer as run_qa sets it up; {about}"
                yield Row(what, rate["own"], "questions/s", rate["run_qa"], beside, RUN_QA)
        yield Row(
            "training, SpanBERT-base shape, model operations",
            work * rate["own"] / len(examples) / 1e12,
            "TFLOP/s",
            matrix_rate(device) / 1e12,
            "a large bfloat16 matrix product",
            OF_MATRIX_RATE,
        )


def experiment_row(encoder: Path, folder: Path, questions: int | None, epochs: int) -> Row:
    """The published recipe: two heads, with the evaluation after each epoch."""
    recipe = Recipe.from_yaml(find_recipe("spanbert-squad2")).override(
        {
            "encoder.name": str(encoder),
            "data.train": str(TRAIN),
            "data.eval": str(DEV),
            "data.eval_sample": questions,
            "training.epochs": epochs,
            **({"data.sample": questions} if questions else {}),
        }
    )
    seconds = seconds_of(lambda: compare(recipe, folder))
    heads, asked = " and ".join(recipe.heads), questions or "all"
    beside = f"{heads}: {recipe.data.sample} questions, {epochs} epochs, each evaluated on {asked}"
    return Row("the course report's experiment", seconds, "s", beside=beside, target=WHOLE)


def rows(device: str, layers: int, questions: int, epochs: int) -> Iterator[Row]:
    """All rows."""
    everything = load(TRAIN).examples
    with tempfile.TemporaryDirectory() as temporary:
        encoder = Path(temporary) / "encoder"
        write_encoder(encoder, layers, everything)
        yield from training_rows(encoder, sample(everything, questions, 42), device)
        few = questions if device == "cpu" else None
        yield experiment_row(encoder, Path(temporary) / "runs", few, epochs)


def main() -> None:
    """Print the rows."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--epochs", type=int, default=6, help="of the whole experiment")
    parser.add_argument("--markdown", type=Path, help="file for conditions and table")
    args = parser.parse_args()
    if args.device == "cuda" and not torch.cuda.is_available():
        raise SystemExit("there is no CUDA device here; --device cpu only tries the lines out")
    quiet()
    stated = conditions()
    name = torch.cuda.get_device_name() if args.device == "cuda" else "none: figures say nothing"
    stated.append(f"gpu      {name}")
    stated.append(
        f"limits   {matrix_rate(args.device) / 1e12:.3g} TFLOP/s (bfloat16 matrix product), "
        f"{memory_rate(args.device) / 1e9:.0f} GB/s (large copy) on it"
    )
    print(*stated, sep="\n")
    found = [show(row) for row in rows(args.device, args.layers, args.questions, args.epochs)]
    if args.markdown:
        text = "\n".join(f"    {line}" for line in stated) + "\n\n" + markdown(found) + "\n"
        args.markdown.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
