"""The operators follow strides: every tensor argument transposed, sliced, offset, repeated, against float64."""

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kernels.layout_checks import check_attention, check_cached, check_loss, check_paged, check_pointwise

some = settings(derandomize=True, max_examples=30)


@some
@given(data=st.data())
def test_attention(data):
    check_attention(data, "sdpa")


@some
@given(data=st.data())
def test_paged_attention(data):
    check_paged(data, "sdpa")


@some
@given(data=st.data())
def test_cached_attention(data):
    check_cached(data)


@some
@given(data=st.data())
def test_linear_cross_entropy(data):
    check_loss(data, "torch")


@some
@given(data=st.data())
def test_pointwise(data):
    check_pointwise(data)
