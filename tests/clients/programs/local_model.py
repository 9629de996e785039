# mypy: ignore-errors
"""A real llama.cpp server with a tiny model, until standard input ends. Prints its origin.

Its weights make each token of one sentence follow from the one before; everything else about it,
its API, its streams and its usage, is llama.cpp's own.
"""

import itertools
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import gguf
import numpy
import xllamacpp

WIDTH, FEED_FORWARD, HEADS, LAYERS, CONTEXT = 64, 128, 4, 1, 4096
NORMAL, UNKNOWN, CONTROL, BYTE = 1, 2, 3, 6  # what llama.cpp takes a token for
WORDS = ["A", "river", "flows", "to", "the", "sea."]
END = 2  # the token after which there is none
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}"
    "assistant:"
)


def write_model(path):
    """A Llama of one layer: every byte is a token, and a few words are."""
    tokens = [b"<unk>", b"<s>", b"</s>", *(b"<0x%02X>" % byte for byte in range(256))]
    types = [UNKNOWN, CONTROL, CONTROL, *[BYTE] * 256, *[NORMAL] * len(WORDS)]
    tokens += [f"\u2581{word}".encode() for word in WORDS]
    out = gguf.GGUFWriter(path, "llama")
    out.add_context_length(CONTEXT)
    out.add_embedding_length(WIDTH)
    out.add_block_count(LAYERS)
    out.add_feed_forward_length(FEED_FORWARD)
    out.add_head_count(HEADS)
    out.add_head_count_kv(HEADS)
    out.add_layer_norm_rms_eps(1e-5)
    out.add_rope_dimension_count(WIDTH // HEADS)
    out.add_vocab_size(len(tokens))
    out.add_tokenizer_model("llama")
    out.add_token_list(tokens)
    out.add_token_scores([0.0] * len(tokens))
    out.add_token_types(types)
    out.add_unk_token_id(0)
    out.add_bos_token_id(1)
    out.add_eos_token_id(END)
    out.add_chat_template(TEMPLATE)
    add_weights(out, len(tokens))
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_tensors_to_file()
    out.close()


def add_weights(out, vocabulary):
    """Embeddings are nearly at right angles to each other: each token asks for the next one."""
    chance = numpy.random.default_rng(7)
    embedding = chance.standard_normal((vocabulary, WIDTH))
    embedding /= numpy.linalg.norm(embedding, axis=1, keepdims=True)
    following = numpy.zeros((vocabulary, WIDTH))
    sentence = [3 + ord(":"), *range(vocabulary - len(WORDS), vocabulary), END]
    for one, then in itertools.pairwise(sentence):
        following[then] = 4 * embedding[one]

    def add(name, weights):
        out.add_tensor(f"{name}.weight", weights.astype(numpy.float32))

    def add_faint(name, *shape):
        add(name, 0.001 * chance.standard_normal(shape))

    add("token_embd", embedding)
    add("output_norm", numpy.ones(WIDTH))
    add("output", following)
    for layer in range(LAYERS):
        block = f"blk.{layer}"
        add(f"{block}.attn_norm", numpy.ones(WIDTH))
        add(f"{block}.ffn_norm", numpy.ones(WIDTH))
        for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
            add_faint(f"{block}.{name}", WIDTH, WIDTH)
        add_faint(f"{block}.ffn_gate", FEED_FORWARD, WIDTH)
        add_faint(f"{block}.ffn_up", FEED_FORWARD, WIDTH)
        add_faint(f"{block}.ffn_down", WIDTH, FEED_FORWARD)


with TemporaryDirectory() as folder:
    path = Path(folder) / "tiny-llama.gguf"
    write_model(path)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.port = 0
    parameters.n_ctx = CONTEXT
    parameters.n_parallel = 2
    parameters.n_predict = 48
    parameters.cpuparams.n_threads = 1
    parameters.warmup = False
    server = xllamacpp.Server(parameters)
    print(server.listening_address, flush=True)
    sys.stdin.read()
