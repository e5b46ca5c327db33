"""Fixtures: tokenizers and an encoder made in memory, and the real data where there is some."""

from __future__ import annotations

import os

# Before torch, transformers and matplotlib are imported: nothing is downloaded, nothing is drawn on
# a screen, and workers of a parallel run do not compete for cores.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MPLBACKEND"] = "Agg"
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

CORPUS = (
    "The river Lenna rises in the northern hills and reaches the sea at Port Oskar after 412 km.",
    "Who founded the observatory? Dr. Ada Mbeki-O'Connor founded it in 1887, near the old mill.",
    "It wasn't the mayor's idea: the well-known architect Zoë Brånd drew the first plans.",
    "In 2003, the café on Rue de l'Église served 1,250 guests a day (about $3.75 each).",
    "Where does the railway end? The railway ends at Kästner Station, 18 miles south of Vík.",
    "Physicists measured the particle’s mass as 0.511 MeV — twice — and published in May 1932.",
    "東京は日本の首都です。 人口は約千四百万人です。",
    "Москва стоит на реке Москве; в городе двенадцать миллионов жителей.",
    "القاهرة هي عاصمة مصر وأكبر مدنها.",
    "हिमालय भारत के उत्तर में है।",
    "She answered: “No answer is given.” 🙂 The crew 👩‍🚀 landed safely, didn't it?",
    "What is the name of the island where the expedition spent the winter of 1911 and 1912?",
)
"""Text that the tokenizers are trained on: several scripts, punctuation, combined characters."""


@pytest.fixture(scope="session")
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A lower-casing WordPiece tokenizer laid out as BERT's: [CLS] question [SEP] context [SEP]."""
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    trainer = trainers.WordPieceTrainer(vocab_size=600, special_tokens=special, show_progress=False)
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
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


@pytest.fixture(scope="session")
def tiny_bpe_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer laid out as RoBERTa's: <s> question </s></s> context </s>."""
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=700,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(
        ("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=False
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )


@pytest.fixture(scope="session")
def tiny_unigram_tokenizer() -> PreTrainedTokenizerFast:
    """A Unigram tokenizer laid out as XLM-R's: <s> question </s></s> context </s>."""
    from transformers import PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        unk_token="<unk>",
        pad_token="<pad>",
        mask_token="<mask>",
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )


@pytest.fixture(scope="session")
def tiny_encoder_folder(
    tmp_path_factory: pytest.TempPathFactory, tiny_tokenizer: PreTrainedTokenizerFast
) -> Path:
    """A folder with an untrained two-layer BERT (hidden size 32) and `tiny_tokenizer`."""
    import torch
    from transformers import BertConfig, BertModel

    config = BertConfig(
        vocab_size=len(tiny_tokenizer),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = BertModel(config)
    folder = tmp_path_factory.mktemp("tiny-encoder")
    encoder.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model_folder(tmp_path_factory: pytest.TempPathFactory, tiny_encoder_folder: Path) -> Path:
    """A folder with an untrained `span-crf` model of spanqa and its tokenizer."""
    from spanqa.model import SpanQAModel
    from spanqa.tokenizer import load_tokenizer

    folder = tmp_path_factory.mktemp("tiny-model")
    model = SpanQAModel.from_encoder(
        str(tiny_encoder_folder), "span-crf", max_length=64, stride=16, max_question_length=16
    )
    model.save_pretrained(folder)
    load_tokenizer(str(tiny_encoder_folder)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_exported_folder(tmp_path_factory: pytest.TempPathFactory, tiny_model_folder: Path) -> Path:
    """A copy of `tiny_model_folder` with an export for ONNX Runtime beside it."""
    from spanqa.export import export

    folder = tmp_path_factory.mktemp("tiny-exported") / "model"
    shutil.copytree(tiny_model_folder, folder)
    export(str(folder), format="onnx", data="synthetic:eval:30", questions=10)
    return folder


@pytest.fixture(scope="session")
def squad_data() -> Path:
    """The folder of real data: $SPANQA_DATA, or `../shared/data` beside the repository."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("SPANQA_DATA", beside))
    if not (folder / "squad2" / "dev-v2.0.json").is_file():
        pytest.skip(f"real data not found: no squad2/dev-v2.0.json in {folder}; set SPANQA_DATA")
    return folder
