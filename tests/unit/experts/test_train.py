import dataclasses

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from testbed.experts import network, train  # noqa: E402
from testbed.experts.central import run_centrally  # noqa: E402
from testbed.experts.corpus import split  # noqa: E402
from testbed.experts.model import SHAPES, load_model, save_model  # noqa: E402
from tests.reference.experts_tiny import tiny_model  # noqa: E402

torch.set_num_threads(1)  # threads that wait for each other are slower than one on products this small

PLAN = train.Plan(
    "tiny",
    ("letters", "digits"),
    layers=2,
    width=16,
    hidden=16,
    heads=2,
    context=16,
    batch=16,
    seed_steps=50,
    branch_steps=20,
    mix_steps=20,
)


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(5)

    def text(alphabet):
        words = ["".join(rng.choice(list(alphabet), 5)) for _ in range(8)]
        return " ".join(rng.choice(words, 20000)).replace(words[0], words[0] + "\n").encode()

    return {"letters": split(text("abcdefgh")), "digits": split(text("01234567"))}


@pytest.fixture(scope="module")
def trained(texts):
    return train.train(PLAN, texts)


def test_torch_and_numpy_compute_the_same():
    model = tiny_model(experts=4)
    weights = {name: torch.from_numpy(getattr(model, name)) for name in SHAPES}
    tokens = np.random.default_rng(0).integers(0, 256, (3, 12), dtype=np.uint8)
    for top_k in (1, 2, 4):
        ffn = network.mixture_ffn(weights, top_k, torch.float32, [])
        made = network.logits(weights, torch.from_numpy(tokens).long(), model.heads, ffn, torch.float32)
        assert made.numpy() == pytest.approx(run_centrally(model, tokens, top_k=top_k), rel=1e-3, abs=1e-3)


def test_a_branch_is_the_experts_on_their_own_domains():
    model = tiny_model(experts=2)
    weights = {name: torch.from_numpy(getattr(model, name)) for name in SHAPES}
    u = torch.randn((6, model.width), generator=torch.Generator().manual_seed(0))
    made = network.branch_ffn(weights, torch.float32)(1, u)
    for expert in range(2):
        own = u[3 * expert : 3 * expert + 3]
        hidden = torch.relu(own @ weights["expert_up"][1, expert]).square()
        torch.testing.assert_close(made[3 * expert : 3 * expert + 3], hidden @ weights["expert_down"][1, expert])


@pytest.mark.parametrize("shape", [(8, 20), (20, 8), (3, 6, 6)])
def test_a_muon_step_is_nearly_orthogonal(shape):
    matrix = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(network.orthogonal(matrix))
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_training_learns_each_domain(trained, texts):
    assert trained.domains == PLAN.domains
    windows = train.validation_windows(PLAN, texts)
    guess = run_centrally(trained, windows.reshape(-1, PLAN.context)).argmax(axis=-1)
    right = (guess[:, 4:-1] == windows.reshape(-1, PLAN.context)[:, 5:]).mean()
    assert right > 0.35  # a blank after five signs alone is 1/6, and an eighth of the rest by chance


def test_training_is_repeatable(trained, texts):
    again = train.train(PLAN, texts)
    for name in SHAPES:
        assert (getattr(again, name) == getattr(trained, name)).all()


def test_another_seed_gives_another_model(trained, texts):
    short = dataclasses.replace(PLAN, seed_steps=2, branch_steps=2, mix_steps=2)
    first, other = (train.train(dataclasses.replace(short, seed=seed), texts) for seed in (1, 2))
    assert (first.embedding != other.embedding).any()


def test_branches_start_as_copies_and_gates_know_the_domains(texts):
    generator = torch.Generator().manual_seed(0)
    weights = network.initial_weights(2, 16, 16, generator)
    train.branch(weights, 2)
    assert (weights["expert_up"][:, 0] == weights["expert_up"][:, 1]).all()
    batch = next(
        network.passages(
            [torch.from_numpy(np.frombuffer(b"".join(texts[d].training), np.uint8).copy()) for d in PLAN.domains],
            8,
            16,
            generator,
        )
    )
    train.start_gates(PLAN, weights, batch[:, :-1])
    seen = []
    network.logits(weights, batch[:, :-1], 2, network.mixture_ffn(weights, 1, torch.float32, seen), torch.float32)
    labels = torch.arange(2).repeat_interleave(len(seen[0]) // 2)
    for raw in seen:
        assert (raw.argmax(-1) == labels).float().mean() > 0.65  # half by chance; blanks tell nothing


def test_plans_fit_their_domains():
    for name, plan in train.PLANS.items():
        assert plan.name == name
        assert plan.batch % len(plan.domains) == 0
        assert plan.width % (2 * plan.heads) == 0


def test_choices_sorted_by_expert_find_their_way_back():
    chosen = torch.tensor([[2, 0], [0, 2], [2, 3], [0, 3]])
    tokens, sizes, place = network.by_expert(chosen, 4)
    assert sizes == [network.ROUND, 0, network.ROUND, network.ROUND]
    expert = torch.arange(4).repeat_interleave(torch.tensor(sizes))
    assert (expert[place] == chosen.flatten()).all()
    assert (tokens[place] == torch.arange(4).repeat_interleave(2)).all()


def test_the_joint_phase_starts_alike_from_a_file(texts, tmp_path):
    plan = dataclasses.replace(PLAN, seed_steps=8, branch_steps=4, mix_steps=4)
    longer = dataclasses.replace(plan, joint_steps=6)
    save_model(train.train(plan, texts), tmp_path / "start.safetensors")
    whole = train.train(longer, texts)
    resumed = train.train(longer, texts, start=load_model(tmp_path / "start.safetensors"))
    for name in SHAPES:
        assert (getattr(whole, name) == getattr(resumed, name)).all()
