// Back-propagation through time: step by step only what is carried, the gradients of pre-activations and of the state;
// every few steps, while those are in the cache, what they give to inputs and weights.
#pragma once
#include <initializer_list>

#include "forward.hpp"

namespace {

constexpr int64_t CHUNK_ROWS = 256;  // the summed axis of a weight's gradient

template <class Num>
struct Backward {
  using T = typename Num::Real;
  using Operand = typename Num::Operand;
  static constexpr int W = Vec<T>::lanes;
  static constexpr bool narrow = Num::depth > 1;
  static constexpr int64_t PANEL = MAX_COLUMNS * W;

  Arena arena;
  Plan<Num> plan;
  const int64_t chunk, many;  // steps, rows at a time
  const int64_t depth;        // of the products with weights: gates · padded hidden
  Operand *packed_ih, *packed_hh;  // the weights [gates·padded, columns], as they stand
  T *d_x, *d_h;                    // [rows][gates][padded]
  Operand *turned_x, *turned_h;    // the same as operands, transposed: [gates·padded][rows]
  Operand *narrow_x, *narrow_h;    // and as they stand, where operands are narrower
  const bool split;  // whether x and h have gradients of their own
  const NormPlaces places;
  T *gain_x, *gain_h, *gain_state;  // in the order of what is saved; of the state also the shift
  T *sums, *normed, *d_normed;      // by thread, [6][gates·padded]: gains and shifts; by row, [padded]
  T *carry[MAX_STATES], *stayed[MAX_STATES], *d_vectors;
  const T **inputs, **hidden;  // by row of the chunk
  T** d_inputs;
  // by thread
  const Operand** operands;
  T **targets, **rows_carry, **rows_x, **rows_h, **rows_saved, **rows_normed, **rows_d_normed;
  const T **rows_before, **rows_after, **rows_outside;
  Operand* panel_of_rows;
  int64_t pointers;

  Backward(const Layer& l, const Cell& c, int threads, char* base)
      : arena{base}, plan(l, c, threads, arena), chunk(steps_at_once(l)), many(chunk * l.batch),
        depth(c.gates * plan.padded), split(c.split || l.norm_ih || l.norm_hh),
        places(plan, (c.saved + (zoned() ? c.states : 0)) * plan.padded) {
    const int64_t B = plan.B, row = depth, turned = ceil_div(many, Num::depth) * Num::depth, norm = plan.normed();
    packed_ih = arena.take<Operand>(depth * ceil_div(plan.I, W) * W);
    packed_hh = arena.take<Operand>(depth * plan.blocks * W);
    d_x = arena.take<T>(many * row);
    d_h = split ? arena.take<T>(many * row) : d_x;
    turned_x = arena.take<Operand>(row * turned);
    turned_h = split ? arena.take<Operand>(row * turned) : turned_x;
    narrow_x = narrow ? arena.take<Operand>(many * row) : nullptr;
    narrow_h = !narrow ? nullptr : split ? arena.take<Operand>(many * row) : narrow_x;
    for (int p = 0; p < c.states; ++p) {
      carry[p] = arena.take<T>(B * plan.padded);
      stayed[p] = zoned() ? arena.take<T>(B * plan.padded) : nullptr;
    }
    d_vectors = arena.take<T>(threads * c.vectors * plan.padded);
    for (T** each : {&gain_x, &gain_h}) *each = arena.take<T>(norm * depth);
    gain_state = arena.take<T>(norm * 2 * plan.padded);
    sums = arena.take<T>(norm * 6 * depth * threads);
    for (T** each : {&normed, &d_normed}) *each = arena.take<T>(norm * B * plan.padded);
    inputs = arena.take<const T*>(many);
    hidden = arena.take<const T*>(many);
    d_inputs = arena.take<T*>(many);
    pointers = many > depth ? many : depth;
    operands = arena.take<const Operand*>(pointers * threads);
    targets = arena.take<T*>(pointers * threads);
    rows_carry = arena.take<T*>(B * threads * c.states);
    for (T*** each : {&rows_x, &rows_h, &rows_saved, &rows_normed, &rows_d_normed}) *each = arena.take<T*>(B * threads);
    for (const T*** each : {&rows_before, &rows_after, &rows_outside})
      *each = arena.take<const T*>(B * threads * c.states);
    panel_of_rows = arena.take<Operand>(turned * PANEL * threads);
  }

  static int64_t steps_at_once(const Layer& l) {
    const int64_t steps = CHUNK_ROWS / l.batch;
    return steps < 1 ? 1 : steps < l.steps ? steps : l.steps;
  }
  bool zoned() const { return plan.layer.zoneout[0] || plan.layer.zoneout[1]; }
  int64_t saved_row() const { return places.end; }
  static const T* array(const void* at) { return static_cast<const T*>(at); }

  void run(Team& team, int thread) const {
    const Layer& l = plan.layer;
    const Cell& c = plan.cell;
    if (thread == 0) plan.prepare();
    const Range mine = plan.my_blocks(thread);
    const T** rows = const_cast<const T**>(targets + thread * pointers);
    if (c.recurrent) {
      plan.weight_rows(l.weight_hh, plan.H, rows);
      const Range own{plan.by_units ? 0 : thread, plan.by_units ? 1 : plan.threads};
      Columns<Num>::pack_panels(rows, depth, plan.H, plan.by_units ? mine : Range{0, plan.blocks}, own, packed_hh);
    }
    if (l.d_inputs) {
      plan.weight_rows(l.weight_ih, plan.I, rows);
      Columns<Num>::pack_panels(rows, depth, plan.I, {0, ceil_div(plan.I, W)}, {thread, plan.threads}, packed_ih);
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
    bool first = !l.accumulate;
    for (int64_t end = l.steps; end > 0; end -= chunk) {
      const int64_t begin = end > chunk ? end - chunk : 0;
      int64_t rows_here = 0;
      for (int64_t s = begin; s < end; ++s) rows_here += plan.live[plan.time(s)];
      int64_t base = rows_here;
      for (int64_t s = end - 1; s >= begin; --s) {
        base -= plan.live[plan.time(s)];
        if (!retreat(s, base, team, thread, mine)) return;
      }
      if (!team.meet()) return;
      if (l.d_inputs) give_to_inputs(rows_here, thread);
      give_to_weights(rows_here, first, thread);
      first = false;
      if (!team.meet()) return;
    }
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
    for (int64_t i = plan.first_row(thread); i < plan.live[t]; i = plan.next_row(i), ++n) {
      const int64_t b = plan.order[i];
      x[n] = d_x + (base + i) * depth, h[n] = d_h + (base + i) * depth;
      saved[n] = static_cast<T*>(l.saved) + (plan.offset[t] + i) * saved_row();
      for (int p = 0; p < c.states; ++p) {
        before[p][n] = plan.before(p, t, b);
        after[p][n] = zoned() ? saved[n] + (c.saved + p) * plan.padded : plan.history(p, t, b);
        outside[p][n] = l.d_history[p] ? static_cast<const T*>(l.d_history[p]) + (t * B + b) * H : nullptr;
        carried[p][n] = carry[p] + i * plan.padded;
      }
      if (!plan.by_units || thread == 0) {
        inputs[base + i] = static_cast<const T*>(l.inputs) + (t * B + b) * plan.I;
        hidden[base + i] = before[0][n];
        d_inputs[base + i] = l.d_inputs ? static_cast<T*>(l.d_inputs) + (t * B + b) * plan.I : nullptr;
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
          narrow_row<Num>(x[m] + from, count, narrow_x + (x[m] - d_x) + from, count);
          if (split) narrow_row<Num>(h[m] + from, count, narrow_h + (h[m] - d_h) + from, count);
        }
    if (plan.by_units && !team.meet()) return false;
    if (c.recurrent) {
      const Operand** a = operands + thread * pointers;
      for (int64_t m = 0; m < n; ++m) a[m] = operand(narrow_h, h[m], d_h);
      columns_of(a, n, packed_hh, H, mine, carried[0], true);
    }
    int64_t m = 0;
    for (int64_t i = plan.first_row(thread); m < n; i = plan.next_row(i), ++m) {
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
    const int64_t first = plan.first_row(thread);
    const T* shift = gain_state + plan.padded;
    for (int64_t m = 0, i = first; m < n; ++m, i = plan.next_row(i)) {
      values[m] = normed + i * plan.padded, gradients[m] = d_normed + i * plan.padded;
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

  static INLINE const Operand* operand(const Operand* narrowed, const T* row, const T* all) {
    if constexpr (narrow) return narrowed + (row - all);
    else return row;
  }

  // What zoneout lets through to the state before goes around the cell.
  void stay(int64_t t, int64_t n, int thread, T** const* carried, const T** const* outside, Range mine) const {
    const Layer& l = plan.layer;
    int64_t m = 0;
    for (int64_t i = plan.first_row(thread); m < n; i = plan.next_row(i), ++m)
      for (int p = 0; p < plan.cell.states; ++p) {
        const int64_t b = plan.order[i];
        const T* share = l.zoneout[p] ? static_cast<const T*>(l.zoneout[p]) + (t * plan.B + b) * plan.H : nullptr;
        for (int64_t u = mine.begin * W; u < mine.end * W; ++u) {
          const bool there = u < plan.H;
          const T d = carried[p][m][u] + (outside[p][m] && there ? outside[p][m][u] : T(0));
          const T kept = share && there ? share[u] * d : T(0);
          stayed[p][i * plan.padded + u] = kept, carried[p][m][u] = d - kept;
        }
      }
  }

  // rows · packed → targets, for a range of blocks of columns
  void columns_of(const Operand* const* a, int64_t rows, const Operand* packed, int64_t columns, Range blocks,
                  T* const* to, bool add) const {
    for (int64_t b = blocks.begin; b < blocks.end; b += MAX_COLUMNS) {
      const int64_t count = b + MAX_COLUMNS < blocks.end ? MAX_COLUMNS : blocks.end - b;
      const int tail = int(columns - (b + count - 1) * W < W ? columns - (b + count - 1) * W : W);
      T* shifted[TILE_ROWS];
      const int most = max_rows(int(count));
      for (int64_t done = 0, groups = ceil_div(rows, most); groups > 0; --groups) {
        const int some = int(ceil_div(rows - done, groups));
        for (int m = 0; m < some; ++m) shifted[m] = to[done + m] + b * W;
        multiply<Num>({a + done, depth / Num::depth, packed + b * W * depth, nullptr, shifted, tail, add}, some,
                      int(count));
        done += some;
      }
    }
  }

  void give_to_inputs(int64_t rows, int thread) const {
    const Range mine = Range{0, rows}.part(thread, plan.threads);
    const Operand** a = operands + thread * pointers;
    for (int64_t r = mine.begin; r < mine.end; ++r) a[r - mine.begin] = operand(narrow_x, d_x + r * depth, d_x);
    columns_of(a, mine.end - mine.begin, packed_ih, plan.I, {0, ceil_div(plan.I, W)}, d_inputs + mine.begin, false);
  }

  // dW = Σ over rows of d ⊗ operand: every thread its own rows of the weight, so none waits for another.
  void give_to_weights(int64_t rows, bool first, int thread) const {
    const Layer& l = plan.layer;
    const Range mine = Range{0, plan.G * plan.blocks}.part(thread, plan.threads);
    const int64_t deep = ceil_div(rows, Num::depth) * Num::depth;
    turn(d_x, rows, deep, mine, turned_x, l.norm_ih ? nullptr : l.d_bias_ih, first);
    if (split) turn(d_h, rows, deep, mine, turned_h, l.norm_hh ? nullptr : l.d_bias_hh, first);
    one_weight(turned_x, inputs, rows, deep, plan.I, l.d_weight_ih, first, mine, thread);
    if (plan.cell.recurrent) one_weight(turned_h, hidden, rows, deep, plan.H, l.d_weight_hh, first, mine, thread);
  }

  void turn(const T* d, int64_t rows, int64_t deep, Range groups, Operand* to, void* d_bias, bool first) const {
    for (int64_t j = groups.begin; j < groups.end; ++j) {
      const int64_t g = j / plan.blocks, u = j % plan.blocks * W, column = j * W;
      Vec<T> total(T(0));
      for (int64_t r = 0; r < rows; ++r) total = total + Vec<T>::load(d + r * depth + column);
      if (d_bias) {
        const int lanes = lanes_from(u);
        T* bias = static_cast<T*>(d_bias) + g * plan.H + u;
        (first ? total : total + Vec<T>::load(bias, lanes)).store(bias, lanes);
      }
      for (int64_t r = 0; r < deep; r += W) {
        const int some = int(rows - r < W ? (rows > r ? rows - r : 0) : W), width = int(deep - r < W ? deep - r : W);
        T held[W * W];
        transpose_block<T>(d + r * depth + column, depth, some, W, held, W);
        for (int w = 0; w < W; ++w) {
          if constexpr (narrow) narrow_row<Num>(held + w * W, width, to + (column + w) * deep + r, width);
          else Vec<T>::load(held + w * W).store(to + (column + w) * deep + r, width);
        }
      }
    }
  }

  void one_weight(const Operand* turned, const T* const* rows_in, int64_t rows, int64_t deep, int64_t columns,
                  void* d_weight, bool first, Range groups, int thread) const {
    if (!d_weight || groups.begin == groups.end) return;
    const Operand** a = operands + thread * pointers;
    T** c = targets + thread * pointers;
    int64_t n = 0;
    for (int64_t j = groups.begin * W; j < groups.end * W; ++j) {
      const int64_t g = j / plan.padded, u = j % plan.padded;
      if (u >= plan.H) continue;
      a[n] = turned + j * deep;
      c[n++] = static_cast<T*>(d_weight) + (g * plan.H + u) * columns;
    }
    Operand* packed = panel_of_rows + thread * ceil_div(many, Num::depth) * Num::depth * PANEL;
    for (int64_t column = 0; column < columns; column += PANEL) {
      const int64_t width = columns - column < PANEL ? columns - column : PANEL;
      const int count = int(ceil_div(width, W));
      Columns<Num>::pack(rows_in, rows, column, width, packed);
      T* shifted[TILE_ROWS];
      const int most = max_rows(count);
      for (int64_t done = 0, tiles = ceil_div(n, most); tiles > 0; --tiles) {
        const int some = int(ceil_div(n - done, tiles));
        for (int m = 0; m < some; ++m) shifted[m] = c[done + m] + column;
        multiply<Num>({a + done, deep / Num::depth, packed, nullptr, shifted, int(width - (count - 1) * W), !first},
                      some, count);
        done += some;
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
