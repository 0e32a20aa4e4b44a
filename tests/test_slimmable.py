"Slimming of condensed sets: what an order must satisfy, whatever the images"
import pytest
import torch
from hypothesis import given,settings,strategies as st

from dc_nb.condensed import CondensedSet
from dc_nb.data import toy
from dc_nb.gradient_matching import match_gradients
from dc_nb.matched_images import MatchingRecipe
from dc_nb.slimmable import by_significance,left_out,ordered,slim
from dc_nb.synthesis import as_float

seeds = st.integers(0, 2**31)
def gen(seed): return torch.Generator().manual_seed(seed)

@settings(max_examples=40, deadline=None)
@given(st.integers(1, 8), st.integers(2, 12), seeds)
def test_an_order_of_all_images(n, dim, seed):
    "Every image once; what is left out shrinks to nothing; the order of the file does not matter"
    x = torch.rand(n, dim, generator=gen(seed), dtype=torch.float64)
    order = by_significance(x)
    assert sorted(order.tolist()) == list(range(n))
    shares = [left_out(x[order], k) for k in range(1, n+1)]
    assert all(b <= a + 1e-9 for a,b in zip(shares, shares[1:])) and shares[-1] < 1e-9
    shuffled = torch.randperm(n, generator=gen(seed+1))
    if n <= dim: assert torch.equal(x[shuffled][by_significance(x[shuffled])], x[order])

@pytest.mark.parametrize('same', [torch.zeros(3, 4), torch.ones(3, 4)])
def test_images_that_say_nothing_new(same):
    "Black images and copies are ordered too, the first one first"
    assert by_significance(same).tolist() == [0, 1, 2]

def test_classes_have_orders_of_their_own():
    x = torch.rand(3, 5, 1, 8, 8, generator=gen(0))
    whole = ordered(CondensedSet(x))
    for before,after in zip(x, whole.x):
        assert torch.equal(after, before[by_significance(before.flatten(1))])
        assert sorted(after.sum((1, 2, 3)).tolist()) == sorted(before.sum((1, 2, 3)).tolist())

def test_slimming_sees_the_set_alone():
    "Other real images behind an equal set: equal small sets; the card says that the set was the data"
    recipe = MatchingRecipe(network='convnet_d1', factor=1, rounds=2, steps=2, batch=8, learn=16, rate=.05, store=as_float,
        training=MatchingRecipe().training.but(batch=8))
    whole = match_gradients(recipe, toy(), 3, 0)
    small = slim(recipe, whole, 0)[1]
    assert small.meta['member'] == 'SDC, our reading, 1' and small.meta['source'] != whole.meta['source']
    assert torch.equal(small.x, slim(recipe, CondensedSet(whole.x.clone(), meta=whole.meta | dict(source='elsewhere')), 0)[1].x)

@settings(max_examples=20, deadline=None)
@given(st.integers(2, 6), st.integers(3, 9), seeds)
def test_the_order_in_its_plain_form(n, dim, seed):
    "In float64: each next image is the one with which a least-squares fit of all images leaves the least"
    x = torch.randn(n, dim, generator=gen(seed), dtype=torch.float64)
    order = by_significance(x).tolist()
    def left(chosen):
        basis = x[chosen].T
        return float((x.T - basis @ torch.linalg.lstsq(basis, x.T).solution).square().sum())
    for k in range(1, min(n, dim)):
        others = [left(order[:k-1] + [c]) for c in range(n) if c not in order[:k-1]]
        assert left(order[:k]) <= min(others) + 1e-9
        assert abs(left(order[:k])/float(x.square().sum()) - left_out(x[order], k)) < 1e-9
