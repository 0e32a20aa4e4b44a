"Properties that hold for every input"
import torch
from hypothesis import given,settings
from hypothesis import strategies as st

from dc_nb.core import flatten,load_state,save_state,stream,unflatten
from dc_nb.data import CondensedSet
from dc_nb.evaluation import augmentation_robust_score,label_robust_score
from dc_nb.formation import tile,untile
from dc_nb.initialization import frechet
from dc_nb.mixtures import divergence,divergence_bound,entropy,entropy_bounds,entropy_given_class,form1
from dc_nb.moments import Moments,group,map_moments,pool
from dc_nb.soft_matching import soft_gap
from dc_nb.train import batches,smoothing,ssrs

settings.register_profile('dc_nb', deadline=None, max_examples=60)
settings.load_profile('dc_nb')
small = st.integers(1, 6)
seeds = st.integers(0, 2**32)

@given(small, st.integers(1, 4), st.integers(1, 3), small, small, seeds)
def test_untile_undoes_tile(n, factor, c, h, w, seed):
    x = torch.rand(n, factor**2, c, h, w, generator=stream(seed))
    assert torch.equal(untile(tile(x, factor), factor), x)

@given(st.integers(2, 8), st.integers(1, 7), seeds)
def test_a_prefix_of_the_decoded_is_the_decoded_prefix(ipc, n, seed):
    n = min(n, ipc)
    cs = CondensedSet(torch.rand(3, ipc, 1, 4, 4, generator=stream(seed)), factor=2)
    assert torch.equal(cs.first(n).decode(), cs.decode()[:,:n])

@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), seeds)
def test_class_moments_pool_to_the_whole(sizes, seed):
    "Theorem 3.2 (i), (ii) for any split"
    g = stream(seed)
    parts = [torch.randn(n, 3, generator=g, dtype=torch.float64)*4 + 10*i for i,n in enumerate(sizes)]
    got = pool(Moments(*map(torch.stack, zip(*((p.mean(0), p.var(0, correction=0)) for p in parts)))), torch.tensor(sizes).double())
    whole = torch.cat(parts)
    assert torch.allclose(got.mean, whole.mean(0), rtol=1e-12, atol=1e-12) and torch.allclose(got.var, whole.var(0, correction=0), rtol=1e-12, atol=1e-12)

@given(st.integers(1, 6), st.floats(1e-3, 10), seeds)
def test_the_whole_is_off_by_no_more_than_its_classes_allow(classes, eps, seed):
    "The epsilon version of Theorem 3.2 (i), (ii)"
    draw = lambda: torch.rand(classes, 2, generator=g, dtype=torch.float64)*2-1
    g = stream(seed)
    true,w = Moments(9*draw(), 30+draw()), torch.rand(classes, generator=g, dtype=torch.float64)+.01
    near = pool(Moments(*(t+eps*draw() for t in true)), w)
    whole,spread = pool(true, w), pool(Moments(true.mean, 0*true.var), w).var.sqrt()
    assert ((near.mean-whole.mean).abs() <= eps+1e-9).all() and ((near.var-whole.var).abs() <= eps+2*eps*spread+eps**2+1e-9).all()

def one_mixture(parts):
    w,m,v = torch.tensor(parts, dtype=torch.float64).T
    return Moments(m[None,:,None], v[None,:,None]), (w/w.sum())[None]
mixtures = st.lists(st.tuples(st.floats(.01, 1), st.floats(-8, 8), st.floats(.05, 9)), min_size=1, max_size=6).map(one_mixture)

@given(mixtures)
def test_entropy_sandwich(q):
    "Theorem 3.2 (iii), its sharper upper end, and H(j)"
    h,(low,up),given_class = entropy(*q), entropy_bounds(*q), entropy_given_class(*q)
    labels = -(q[1]*q[1].log()).sum()
    assert torch.allclose(low, given_class, atol=1e-9)
    assert low <= h+1e-6 and h <= torch.minimum(form1(*q).entropy(), given_class+labels)+1e-6 and h <= up+1e-6

@given(mixtures, st.floats(-50, 50), st.floats(.1, 10))
def test_corrected_bound(q, shift, scale):
    "KL(Q || P) lies between the bound and H(j) less; neither depends on origin or unit (Theorem 3.2 (iv), corrected)"
    kl,bound,labels = divergence(*q, form1(*q)), divergence_bound(*q), -(q[1]*q[1].log()).sum()
    assert -1e-6 <= kl <= bound+1e-6 and kl >= bound-labels-1e-6
    moved = Moments(scale*q[0].mean+shift, scale**2*q[0].var), q[1]
    assert torch.allclose(divergence_bound(*moved), bound, atol=1e-7) and torch.allclose(divergence(*moved, form1(*moved)), kl, atol=1e-6)

@given(st.integers(2, 30), st.integers(1, 5), seeds)
def test_frechet_is_a_squared_distance(n, dims, seed):
    g = stream(seed)
    a,b = [torch.randn(n, dims, generator=g, dtype=torch.float64)*(i+1) for i in range(2)]
    assert abs(frechet(a, a)) < 1e-6 and frechet(a, b) > -1e-9 and torch.allclose(frechet(a, b), frechet(b, a), atol=1e-6)
    assert torch.allclose(frechet(a, a+3), torch.tensor(9.*dims, dtype=torch.float64), atol=1e-5)

@given(st.integers(1, 12), st.integers(1, 5), seeds)
def test_group_then_pool_is_pool(n, classes, seed):
    g = stream(seed)
    m = map_moments(torch.randn(n, 2, 4, 4, generator=g))['channel']
    parts,count = group(m, torch.randint(classes, (n,), generator=g), classes)
    assert all(torch.allclose(a, b, atol=1e-5) for a,b in zip(pool(parts, count), pool(m, torch.ones(n))))

@given(st.integers(1, 5), st.floats(0, 1), seeds)
def test_soft_gap_is_zero_at_the_truth_and_nowhere_negative(classes, alpha, seed):
    g = stream(seed)
    real,other = [Moments(torch.randn(classes, 4, generator=g), torch.rand(classes, 4, generator=g)) for _ in range(2)]
    w = torch.rand(classes, generator=g)+.1
    assert soft_gap(real, pool(real, w/w.sum()), real, w, alpha) < 1e-5
    assert soft_gap(other, pool(real, w/w.sum()), real, w, alpha) >= 0

@given(st.integers(1, 50), st.integers(1, 20), st.integers(0, 5), seeds)
def test_an_epoch_is_a_permutation(n, size, epoch, seed):
    order = torch.cat([idx for idx,_ in batches(n, size, (), seed, epoch)])
    assert torch.equal(order.sort()[0], torch.arange(n))

@given(st.floats(0, 1), st.floats(1, 4))
def test_schedules_fall_and_stay_in_range(t, zeta):
    assert 0 <= smoothing(1, zeta) <= smoothing(t, zeta) <= 1 and 0 <= ssrs(t, zeta) <= smoothing(min(t, 5/6), zeta)

values = st.recursive(st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda o: st.lists(o, max_size=3) | st.dictionaries(st.text(max_size=4) | st.integers(0, 9), o, max_size=3), max_leaves=8)

@given(values)
def test_unflatten_undoes_flatten(v): assert unflatten(flatten(v)) == v

@given(values)
def test_states_survive_the_disk(v):
    import tempfile
    with tempfile.TemporaryDirectory() as d:
        save_state(f'{d}/s', dict(v=v, t=torch.ones(2)), n=1)
        state,card = load_state(f'{d}/s')
    assert state['v'] == v and card == {'n': 1}

fractions = st.floats(-1, 1)
@given(fractions, fractions, st.floats(0, 1))
def test_ranking_scores_stay_in_the_unit_interval(a, b, w):
    for score in (label_robust_score, augmentation_robust_score): assert -1e-12 <= score(a, b, w) <= 1+1e-12
