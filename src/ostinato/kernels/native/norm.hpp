// Layer normalisation of one row: y = (v − mean) / √(variance + 10⁻⁵) ⊙ gain + shift, over n numbers that stand in
// `width` lanes, those beside them zero in `v`, `gain` and `shift`.
#pragma once
#include "plan.hpp"

namespace {

// v becomes y; `normal`, if wanted, gets (v − mean)·rstd. Returns rstd = 1 / √(variance + 10⁻⁵).
template <class T>
INLINE T normalise_row(T* v, int64_t width, int64_t n, const T* gain, const T* shift, T* normal) {
  using V = Vec<T>;
  V sum(T(0)), squares(T(0));
  for (int64_t i = 0; i < width; i += V::lanes) sum = sum + V::load(v + i);
  const T mean = sum.sum() / T(n);
  for (int64_t i = 0; i < width; i += V::lanes) {
    const V d = V::load(v + i) - V(mean);
    squares = squares + d * d;
  }
  const T variance = (squares.sum() - T(width - n) * mean * mean) / T(n);  // the lanes beside them are off by the mean
  const T rstd = T(1) / T(__builtin_sqrt(variance + T(1e-5)));
  for (int64_t i = 0; i < width; i += V::lanes) {
    const V hat = (V::load(v + i) - V(mean)) * V(rstd);
    if (normal) hat.store(normal + i);
    (hat * V::load(gain + i) + V::load(shift + i)).store(v + i);
  }
  return rstd;
}

// The layout of a row of gates differs from pass to pass: `at(i)` says where in d the vector at lane i stands.
// d becomes the gradient by v; what it gives to gain and shift is added to theirs.
template <class T, class At>
INLINE void normalise_row_back(T* d, At&& at, int64_t width, int64_t n, const T* gain, const T* normal, T rstd,
                               T* d_gain, T* d_shift) {
  using V = Vec<T>;
  V sum(T(0)), dot(T(0));
  for (int64_t i = 0; i < width; i += V::lanes) {
    const V given = V::load(d + at(i)), hat = V::load(normal + i);
    (V::load(d_gain + i) + given * hat).store(d_gain + i);
    (V::load(d_shift + i) + given).store(d_shift + i);
    const V scaled = given * V::load(gain + i);
    sum = sum + scaled, dot = dot + scaled * hat;
  }
  const V mean(sum.sum() / T(n)), slope(dot.sum() / T(n));
  for (int64_t i = 0; i < width; i += V::lanes) {
    const V scaled = V::load(d + at(i)) * V::load(gain + i);
    ((scaled - mean - V::load(normal + i) * slope) * V(rstd)).store(d + at(i));
  }
}

// Where the three normalisations of a layer keep what the backward pass needs, in a row of what is saved.
struct NormPlaces {
  int64_t x, h, state, rstd, end;
  template <class P>
  NormPlaces(const P& plan, int64_t begin) {
    const Layer& l = plan.layer;
    x = begin;
    h = x + (l.norm_ih ? plan.G * plan.padded : 0);
    state = h + (l.norm_hh ? plan.G * plan.padded : 0);
    rstd = state + (l.norm_state ? plan.padded : 0);
    end = rstd + (plan.normed() ? P::W : 0);
  }
};

}  // namespace
