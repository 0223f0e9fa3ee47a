// Back-propagation through time: step by step only what is carried, the gradients of pre-activations and of the state;
// every few steps, while those are in the cache, what they give to inputs and weights.
#pragma once
#include <initializer_list>

#include "gradients.hpp"
#include "norm.hpp"

namespace {

template <class Num>
struct Backward {
  using T = typename Num::Real;
  using Operand = typename Num::Operand;
  static constexpr int W = Vec<T>::lanes;
  static constexpr bool narrow = Num::depth > 1;

  Arena arena;
  Plan<Num> plan;
  const Chunk<Num> chunk;
  const int64_t depth;  // of the products with weights: gates · padded hidden
  Operand* packed_hh;   // the weight [gates·padded, hidden], as it stands
  const NormPlaces places;
  T *gain_x, *gain_h, *gain_state;  // in the order of what is saved; of the state also the shift
  T *sums, *normed, *d_normed;      // by thread, [6][gates·padded]: gains and shifts; by row, [padded]
  T *carry[MAX_STATES], *stayed[MAX_STATES], *d_vectors;
  // by thread
  T **rows_carry, **rows_x, **rows_h, **rows_saved, **rows_normed, **rows_d_normed;
  const T **rows_before, **rows_after, **rows_outside;

  Backward(const Layer& l, const Cell& c, int threads, char* base)
      : arena{base}, plan(l, c, threads, arena), chunk(plan, c.split || l.norm_ih || l.norm_hh, arena),
        depth(chunk.depth), places(plan, (c.saved + (zoned() ? c.states : 0)) * plan.padded) {
    const int64_t B = plan.B, norm = plan.normed();
    packed_hh = arena.take<Operand>(depth * plan.blocks * W);
    for (int p = 0; p < c.states; ++p) {
      carry[p] = arena.take<T>(B * plan.padded);
      stayed[p] = zoned() ? arena.take<T>(B * plan.padded) : nullptr;
    }
    d_vectors = arena.take<T>(threads * c.vectors * plan.padded);
    for (T** each : {&gain_x, &gain_h}) *each = arena.take<T>(norm * depth);
    gain_state = arena.take<T>(norm * 2 * plan.padded);
    sums = arena.take<T>(norm * 6 * depth * threads);
    for (T** each : {&normed, &d_normed}) *each = arena.take<T>(norm * B * plan.padded);
    rows_carry = arena.take<T*>(B * threads * c.states);
    for (T*** each : {&rows_x, &rows_h, &rows_saved, &rows_normed, &rows_d_normed}) *each = arena.take<T*>(B * threads);
    for (const T*** each : {&rows_before, &rows_after, &rows_outside})
      *each = arena.take<const T*>(B * threads * c.states);
  }

  bool zoned() const { return plan.layer.zoneout[0] || plan.layer.zoneout[1]; }
  int64_t saved_row() const { return places.end; }
  static const T* array(const void* at) { return static_cast<const T*>(at); }

  void run(Team& team, int thread) const {
    const Layer& l = plan.layer;
    const Cell& c = plan.cell;
    if (thread == 0) plan.prepare();
    const Range mine = plan.my_blocks(thread);
    const T** rows = const_cast<const T**>(chunk.targets + thread * chunk.pointers);
    if (c.recurrent) {
      plan.weight_rows(l.weight_hh, plan.H, rows);
      const Range own{plan.by_units ? 0 : thread, plan.by_units ? 1 : plan.threads};
      Columns<Num>::pack_panels(rows, depth, plan.H, plan.by_units ? mine : Range{0, plan.blocks}, own, packed_hh);
    }
    if (l.d_inputs) {
      plan.weight_rows(l.weight_ih, plan.I, rows);
      Columns<Num>::pack_panels(rows, depth, plan.I, {0, ceil_div(plan.I, W)}, {thread, plan.threads},
                                chunk.packed_ih);
    }
    if (plan.normed()) {
      std::memset(sums + thread * 6 * depth, 0, sizeof(T) * 6 * depth);
      if (thread == 0) {
        spread(array(l.norm_ih), plan.G, plan.H, {0, plan.blocks}, gain_x);
        spread(array(l.norm_hh), plan.G, plan.H, {0, plan.blocks}, gain_h);
        spread_state(plan, gain_state);
      }
    }
    std::memset(d_vectors + thread * c.vectors * plan.padded, 0, sizeof(T) * c.vectors * plan.padded);
    if (!team.meet()) return;
    for (int64_t i = thread; i < plan.B; i += plan.threads) start_row(plan.order[i], i);
    if (!team.meet()) return;
    for (int64_t end = l.steps; end > 0; end -= chunk.steps) {
      const int64_t begin = end > chunk.steps ? end - chunk.steps : 0;
      int64_t rows = 0;
      for (int64_t s = begin; s < end; ++s) rows += chunk.live(plan.time(s), thread);
      int64_t base = rows;
      for (int64_t s = end - 1; s >= begin; --s) {
        base -= chunk.live(plan.time(s), thread);
        if (!retreat(s, base, team, thread, mine)) return;
      }
      if (!chunk.own && !team.meet()) return;
      chunk.give(rows, end == l.steps, thread);
      if (!chunk.own && !team.meet()) return;
    }
    if (chunk.own && !team.meet()) return;
    chunk.add_up(thread);
    finish(thread);
  }

 private:
  void start_row(int64_t b, int64_t i) const {
    for (int p = 0; p < plan.cell.states; ++p) {
      T* to = carry[p] + i * plan.padded;
      std::memset(to, 0, sizeof(T) * plan.padded);
      if (plan.layer.d_final[p])
        std::memcpy(to, static_cast<const T*>(plan.layer.d_final[p]) + b * plan.H, sizeof(T) * plan.H);
    }
  }

  // From the gradient after step s to the gradient before it.
  bool retreat(int64_t s, int64_t base, Team& team, int thread, Range mine) const {
    const Layer& l = plan.layer;
    const Cell& c = plan.cell;
    const int64_t t = plan.time(s), B = plan.B, H = plan.H;
    T **x = rows_x + thread * B, **h = rows_h + thread * B, **saved = rows_saved + thread * B;
    const T **before[MAX_STATES], **after[MAX_STATES], **outside[MAX_STATES];
    T** carried[MAX_STATES];
    for (int p = 0; p < c.states; ++p) {
      const int64_t at = (thread * c.states + p) * B;
      before[p] = rows_before + at, after[p] = rows_after + at, outside[p] = rows_outside + at;
      carried[p] = rows_carry + at;
    }
    int64_t n = 0;
    for (const int64_t* own = plan.rows_of(thread); *own < plan.live[t]; ++own, ++n) {
      const int64_t i = *own;
      const int64_t b = plan.order[i];
      const int64_t row = chunk.crew(thread) * chunk.many + base + (chunk.own ? n : i);
      x[n] = chunk.d_x + row * depth, h[n] = chunk.d_h + row * depth;
      saved[n] = static_cast<T*>(l.saved) + (plan.offset[t] + i) * saved_row();
      for (int p = 0; p < c.states; ++p) {
        before[p][n] = plan.before(p, t, b);
        after[p][n] = zoned() ? saved[n] + (c.saved + p) * plan.padded : plan.history(p, t, b);
        outside[p][n] = l.d_history[p] ? static_cast<const T*>(l.d_history[p]) + (t * B + b) * H : nullptr;
        carried[p][n] = carry[p] + i * plan.padded;
      }
      if (!plan.by_units || thread == 0) {
        chunk.inputs[row] = static_cast<const T*>(l.inputs) + (t * B + b) * plan.I;
        chunk.hidden[row] = before[0][n];
        chunk.d_inputs[row] = l.d_inputs ? static_cast<T*>(l.d_inputs) + (t * B + b) * plan.I : nullptr;
      }
    }
    if (zoned()) stay(t, n, thread, carried, outside, mine);
    Tile<T> work{};
    work.rows = int(n), work.blocks = int(mine.end - mine.begin);
    work.tail = mine.end == plan.blocks ? int(H - (plan.blocks - 1) * W) : W;
    work.unit = mine.begin * W, work.stride = plan.padded;
    work.saved = saved, work.d_x = x, work.d_h = h;
    work.vectors = plan.vectors, work.d_vectors = d_vectors + thread * c.vectors * plan.padded;
    for (int p = 0; p < c.states; ++p) {
      work.before[p] = before[p], work.after[p] = const_cast<T* const*>(after[p]), work.d_after[p] = carried[p];
      work.d_history[p] = l.d_history[p] && !zoned() ? outside[p] : nullptr;
    }
    if (l.norm_state) back_to_value(work, int(n), thread);
    passes<T>(c).backward(work);
    if (l.norm_ih || l.norm_hh) back_to_products(x, h, saved, n, thread);
    if constexpr (narrow)
      for (int64_t m = 0; m < n; ++m)
        for (int64_t g = 0; g < plan.G; ++g) {
          const int64_t from = g * plan.padded + mine.begin * W, count = (mine.end - mine.begin) * W;
          narrow_row<Num>(x[m] + from, count, chunk.narrow_x + (x[m] - chunk.d_x) + from, count);
          if (chunk.split) narrow_row<Num>(h[m] + from, count, chunk.narrow_h + (h[m] - chunk.d_h) + from, count);
        }
    if (plan.by_units && !team.meet()) return false;
    if (c.recurrent) {
      const Operand** a = chunk.operands + thread * chunk.pointers;
      for (int64_t m = 0; m < n; ++m) a[m] = chunk.operand_h(h[m]);
      times_columns<Num>(a, n, depth, packed_hh, H, mine, carried[0], true);
    }
    for (int64_t m = 0; m < n && (l.resets || zoned()); ++m) {
      const int64_t i = plan.rows_of(thread)[m];
      const bool reset = l.resets && l.resets[t * B + plan.order[i]];
      for (int p = 0; p < c.states && (reset || zoned()); ++p)
        for (int64_t u = mine.begin * W; u < mine.end * W; ++u)
          carried[p][m][u] = reset ? T(0) : carried[p][m][u] + stayed[p][i * plan.padded + u];
    }
    return team.go_on(thread);
  }

  NormBack<T> norm_back(int which, const T* gain, int64_t width, int64_t n, int thread) const {
    T* at = sums + (thread * 6 + 2 * which) * depth;
    return {gain, at, at + depth, width, n};
  }

  int lanes_from(int64_t unit) const { return int(plan.H - unit < W ? plan.H - unit : W); }

  // Through the normalisation within the step: what it became, the gradient by that, and by what it was.
  void back_to_value(Tile<T>& work, int n, int thread) const {
    T **values = rows_normed + thread * plan.B, **gradients = rows_d_normed + thread * plan.B;
    const int64_t* own = plan.rows_of(thread);
    const T* shift = gain_state + plan.padded;
    for (int64_t m = 0; m < n; ++m) {
      values[m] = normed + own[m] * plan.padded, gradients[m] = d_normed + own[m] * plan.padded;
      const T* normal = work.saved[m] + places.state;
      for (int64_t u = 0; u < plan.padded; u += W)
        (Vec<T>::load(normal + u) * Vec<T>::load(gain_state + u) + Vec<T>::load(shift + u)).store(values[m] + u);
    }
    work.normed = values, work.d_normed = gradients;
    passes<T>(plan.cell).backward_before(work);
    const auto norm = norm_back(2, gain_state, plan.padded, plan.H, thread);
    for (int m = 0; m < n; ++m)
      norm.row(gradients[m], work.saved[m] + places.state, work.saved[m][places.rstd + 2], [](int64_t i) { return i; },
               [&](int64_t i) { return lanes_from(i); });
  }

  // Through the normalisations of both products.
  void back_to_products(T* const* x, T* const* h, T* const* saved, int64_t n, int thread) const {
    const auto at = [&](int64_t i) { return i / W % plan.G * plan.padded + i / W / plan.G * W; };
    const auto lanes = [&](int64_t i) { return lanes_from(i / W / plan.G * W); };
    const auto of_x = norm_back(0, gain_x, depth, plan.G * plan.H, thread);
    const auto of_h = norm_back(1, gain_h, depth, plan.G * plan.H, thread);
    for (int64_t m = 0; m < n; ++m) {
      if (!plan.cell.split) std::memcpy(h[m], x[m], sizeof(T) * depth);
      if (plan.layer.norm_ih) of_x.row(x[m], saved[m] + places.x, saved[m][places.rstd], at, lanes);
      if (plan.layer.norm_hh) of_h.row(h[m], saved[m] + places.h, saved[m][places.rstd + 1], at, lanes);
    }
  }

  // What zoneout lets through to the state before goes around the cell.
  void stay(int64_t t, int64_t n, int thread, T** const* carried, const T** const* outside, Range mine) const {
    const Layer& l = plan.layer;
    for (int64_t m = 0; m < n; ++m)
      for (int p = 0; p < plan.cell.states; ++p) {
        const int64_t i = plan.rows_of(thread)[m], b = plan.order[i];
        const T* share = l.zoneout[p] ? static_cast<const T*>(l.zoneout[p]) + (t * plan.B + b) * plan.H : nullptr;
        for (int64_t u = mine.begin * W; u < mine.end * W; ++u) {
          const bool there = u < plan.H;
          const T d = carried[p][m][u] + (outside[p][m] && there ? outside[p][m][u] : T(0));
          const T kept = share && there ? share[u] * d : T(0);
          stayed[p][i * plan.padded + u] = kept, carried[p][m][u] = d - kept;
        }
      }
  }

  void finish(int thread) const {
    const Layer& l = plan.layer;
    const Cell& c = plan.cell;
    const int64_t B = plan.B, H = plan.H;
    for (int64_t i = thread; i < B; i += plan.threads) {
      const int64_t b = plan.order[i];
      for (int p = 0; p < c.states; ++p)
        if (l.d_initial[p])
          std::memcpy(static_cast<T*>(l.d_initial[p]) + b * H, carry[p] + i * plan.padded, sizeof(T) * H);
      for (int64_t t = plan.length(b); l.d_inputs && t < l.steps; ++t)
        std::memset(static_cast<T*>(l.d_inputs) + (t * B + b) * plan.I, 0, sizeof(T) * plan.I);
    }
    if (thread == 0 && plan.normed()) {
      // by gate and unit; what is normalised within the step has one row of units
      const auto by_gate = [&](int64_t g, int64_t u) { return (u / W * plan.G + g) * W + u % W; };
      const auto by_unit = [](int64_t, int64_t u) { return u; };
      if (l.norm_ih) collect(0, l.d_norm_ih, plan.G, by_gate), collect(1, l.d_bias_ih, plan.G, by_gate);
      if (l.norm_hh) collect(2, l.d_norm_hh, plan.G, by_gate), collect(3, l.d_bias_hh, plan.G, by_gate);
      T* d_state = static_cast<T*>(l.d_norm_state);
      if (d_state) collect(4, d_state, 1, by_unit), collect(5, d_state + H, 1, by_unit);
    }
    if (thread == 0 && l.d_vectors)
      for (int64_t v = 0; v < c.vectors; ++v)
        for (int64_t u = 0; u < H; ++u) {
          T total = l.accumulate ? static_cast<T*>(l.d_vectors)[v * H + u] : T(0);
          for (int n = 0; n < plan.threads; ++n) total += d_vectors[(n * c.vectors + v) * plan.padded + u];
          static_cast<T*>(l.d_vectors)[v * H + u] = total;
        }
  }

  // One kind of sums over all threads.
  template <class At>
  void collect(int which, void* out, int64_t gates, At&& at) const {
    if (!out) return;
    for (int64_t g = 0; g < gates; ++g)
      for (int64_t u = 0; u < plan.H; ++u) {
        T& total = static_cast<T*>(out)[g * plan.H + u];
        if (!plan.layer.accumulate) total = T(0);
        for (int n = 0; n < plan.threads; ++n) total += sums[(n * 6 + which) * depth + at(g, u)];
      }
  }
};

}  // namespace
