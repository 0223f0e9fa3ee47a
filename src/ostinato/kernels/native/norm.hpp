// Layer normalisation of one row: y = (v − mean) / √(variance + 10⁻⁵) ⊙ gain + shift, over n numbers that stand in
// `width` lanes, those beside them zero in `v`, `gain` and `shift`.
#pragma once
#include "plan.hpp"

namespace {

// v, [blocks][gates][W] of `units` units, becomes y; `normal`, if wanted, gets (v − mean)·rstd. Returns
// rstd = 1 / √(variance + 10⁻⁵).
template <class T>
INLINE T normalise_row(T* v, int64_t blocks, int64_t gates, int64_t units, const T* gain, const T* shift, T* normal) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const int64_t width = blocks * gates * W, n = gates * units;
  V sum(T(0)), squares(T(0));
  for (int64_t i = 0; i < width; i += W) sum = sum + V::load(v + i);
  const T mean = sum.sum() / T(n);
  for (int64_t b = 0, i = 0; b < blocks; ++b)
    for (int64_t g = 0; g < gates; ++g, i += W) {
      const int64_t left = units - b * W;
      const V d = (V::load(v + i) - V(mean)).first(int(left < W ? left : W));
      squares = squares + d * d;
    }
  const T rstd = T(1) / T(__builtin_sqrt(squares.sum() / T(n) + T(1e-5)));
  for (int64_t i = 0; i < width; i += W) {
    const V hat = (V::load(v + i) - V(mean)) * V(rstd);
    if (normal) hat.store(normal + i);
    (hat * V::load(gain + i) + V::load(shift + i)).store(v + i);
  }
  return rstd;
}

// Gain and shift of what is normalised within the step, [2][padded].
template <class Num>
void spread_state(const Plan<Num>& plan, typename Num::Real* to) {
  const auto* from = static_cast<const typename Num::Real*>(plan.layer.norm_state);
  if (!from) return;
  spread(from, 1, plan.H, {0, plan.blocks}, to);
  spread(from + plan.H, 1, plan.H, {0, plan.blocks}, to + plan.padded);
}

// What a normalisation's gradients go to, by thread, and what it multiplied by; `lanes(i)` of the vector at lane i exist,
// and in d it stands at `at(i)`, since the backward pass has gates in another order.
template <class T>
struct NormBack {
  const T* gain;
  T *d_gain, *d_shift;
  int64_t width, n;

  // d becomes the gradient by what was normalised.
  template <class At, class Lanes>
  INLINE void row(T* d, const T* normal, T rstd, At&& at, Lanes&& lanes) const {
    using V = Vec<T>;
    V sum(T(0)), dot(T(0));
    for (int64_t i = 0; i < width; i += V::lanes) {
      const V given = V::load(d + at(i)), hat = V::load(normal + i), scaled = given * V::load(gain + i);
      (V::load(d_gain + i) + given * hat).store(d_gain + i);
      (V::load(d_shift + i) + given).store(d_shift + i);
      sum = sum + scaled, dot = dot + scaled * hat;
    }
    const V mean(sum.sum() / T(n)), slope(dot.sum() / T(n));
    for (int64_t i = 0; i < width; i += V::lanes) {
      const V scaled = V::load(d + at(i)) * V::load(gain + i);
      ((scaled - mean - V::load(normal + i) * slope) * V(rstd)).first(lanes(i)).store(d + at(i));
    }
  }
};

template <class T>
INLINE const ostinato::Passes<T>& passes(const Cell& cell) {
  if constexpr (sizeof(T) == 4) return cell.in_float;
  else return cell.in_double;
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
