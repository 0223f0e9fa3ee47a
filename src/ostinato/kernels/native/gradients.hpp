// What the rows of some steps give to inputs and weights: products of the backward pass that need not be taken at every
// step, and are while those rows are in the cache.
#pragma once
#include "plan.hpp"

namespace {

constexpr int64_t CHUNK_ROWS = 256;  // the summed axis of a weight's gradient
// of a weight's gradient: up to here each thread adds up its own, so that none reads rows which another core has written
constexpr int64_t OWN_BYTES = 1 << 19;

// rows · packed → targets, for a range of blocks of columns
template <class Num>
INLINE void times_columns(const typename Num::Operand* const* a, int64_t rows, int64_t depth,
                          const typename Num::Operand* packed, int64_t columns, Range blocks,
                          typename Num::Real* const* to, bool add) {
  constexpr int W = Vec<typename Num::Real>::lanes;
  for (int64_t b = blocks.begin; b < blocks.end; b += MAX_COLUMNS) {
    const int64_t count = b + MAX_COLUMNS < blocks.end ? MAX_COLUMNS : blocks.end - b;
    const int tail = int(columns - (b + count - 1) * W < W ? columns - (b + count - 1) * W : W);
    typename Num::Real* shifted[TILE_ROWS];
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

template <class Num>
struct Chunk {
  using T = typename Num::Real;
  using Operand = typename Num::Operand;
  static constexpr int W = Vec<T>::lanes;
  static constexpr bool narrow = Num::depth > 1;
  static constexpr int64_t PANEL = MAX_COLUMNS * W;

  const Plan<Num>& plan;
  const bool split;           // whether x and h have gradients of their own
  const bool own;             // each thread has rows and sums of its own; else all share both
  const int crews;            // of threads that share: as many as threads, or one
  const int64_t depth;        // of the products with weights: gates · padded hidden
  const int64_t steps, many;  // steps at a time, and rows of a crew
  // by crew
  T *d_x, *d_h;                  // [rows][gates][padded]
  Operand *turned_x, *turned_h;  // the same as operands, transposed: [gates·padded][rows]
  Operand *narrow_x, *narrow_h;  // and as they stand, where operands are narrower
  const T **inputs, **hidden;    // by row
  T** d_inputs;
  T* sums;  // of all crews but the first: gradients of weights and biases, one after another
  Operand* packed_ih;  // the weight [gates·padded, inputs], as it stands
  // by thread
  const Operand** operands;
  T** targets;
  Operand* panel_of_rows;
  int64_t pointers;

  Chunk(const Plan<Num>& plan_, bool split_, Arena& arena)
      : plan(plan_), split(split_),
        own(plan.threads > 1 && !plan.by_units &&
            plan.G * plan.H * (plan.I + plan.H) * int64_t(sizeof(T)) <= OWN_BYTES),
        crews(own ? plan.threads : 1), depth(plan.G * plan.padded), steps(steps_at_once()), many(steps * rows_of_crew()) {
    const int64_t turned = whole(many);
    d_x = arena.take<T>(crews * many * depth);
    d_h = split ? arena.take<T>(crews * many * depth) : d_x;
    turned_x = arena.take<Operand>(crews * depth * turned);
    turned_h = split ? arena.take<Operand>(crews * depth * turned) : turned_x;
    narrow_x = narrow ? arena.take<Operand>(crews * many * depth) : nullptr;
    narrow_h = !narrow ? nullptr : split ? arena.take<Operand>(crews * many * depth) : narrow_x;
    inputs = arena.take<const T*>(crews * many);
    hidden = arena.take<const T*>(crews * many);
    d_inputs = arena.take<T*>(crews * many);
    packed_ih = arena.take<Operand>(depth * ceil_div(plan.I, W) * W);
    sums = arena.take<T>((crews - 1) * sums_of_crew());
    pointers = many > depth ? many : depth;
    operands = arena.take<const Operand*>(pointers * plan.threads);
    targets = arena.take<T*>(pointers * plan.threads);
    panel_of_rows = arena.take<Operand>(turned * PANEL * plan.threads);
  }

  INLINE int crew(int thread) const { return own ? thread : 0; }
  // Rows of a thread's crew at time t.
  INLINE int64_t live(int64_t t, int thread) const {
    if (!own) return plan.live[t];
    const int64_t *rows = plan.rows_of(thread), *row = rows;
    while (*row < plan.live[t]) ++row;
    return row - rows;
  }
  INLINE const Operand* operand_h(const T* row) const {
    if constexpr (narrow) return narrow_h + (row - d_h);
    else return row;
  }

  // What the first `rows` rows of this thread's crew give; each of its members calls. `last`: of all steps these are the
  // last, which come first.
  void give(int64_t rows, bool last, int thread) const {
    const Layer& l = plan.layer;
    const int member = own ? 0 : thread, members = own ? 1 : plan.threads;
    const int64_t at = crew(thread) * many;
    if (l.d_inputs) give_to_inputs(at, Range{0, rows}.part(member, members), thread);
    // every thread its own rows of the weight, so none waits for another: dW = Σ over rows of d ⊗ operand
    const Range mine = Range{0, plan.G * plan.blocks}.part(member, members);
    const int64_t deep = whole(rows), turned = crew(thread) * depth * whole(many);
    T* to[4];
    targets_of(crew(thread), to);
    const bool first = last && (crew(thread) > 0 || !l.accumulate);  // nothing stands there yet
    turn(d_x + at * depth, rows, deep, mine, turned_x + turned, to[2], first);
    if (split) turn(d_h + at * depth, rows, deep, mine, turned_h + turned, to[3], first);
    one_weight(turned_x + turned, inputs + at, rows, deep, plan.I, to[0], first, mine, thread);
    if (plan.cell.recurrent) one_weight(turned_h + turned, hidden + at, rows, deep, plan.H, to[1], first, mine, thread);
  }

  // The sums of all crews in one, when all have met; each thread adds a part.
  void add_up(int thread) const {
    T* to[4];
    targets_of(0, to);
    for (int other = 1; other < crews; ++other) {
      T* from[4];
      targets_of(other, from);
      for (int k = 0; k < 4; ++k) {
        const Range mine = Range{0, to[k] ? size_of(k) : 0}.part(thread, plan.threads);
        for (int64_t j = mine.begin; j < mine.end; ++j) to[k][j] += from[k][j];
      }
    }
  }

 private:
  static INLINE int64_t whole(int64_t rows) { return ceil_div(rows, Num::depth) * Num::depth; }
  INLINE int64_t rows_of_crew() const { return own ? plan.most_rows() : plan.B; }
  int64_t steps_at_once() const {
    const int64_t some = CHUNK_ROWS / rows_of_crew();
    return some < 1 ? 1 : some < plan.layer.steps ? some : plan.layer.steps;
  }
  // Of the weights' gradients, by x and by h, and of the biases'.
  int64_t size_of(int k) const { return plan.G * plan.H * (k == 0 ? plan.I : k == 1 ? plan.H : 1); }
  int64_t sums_of_crew() const { return size_of(0) + size_of(1) + size_of(2) + size_of(3); }
  // The first crew adds to what the layer gives out; a bias that is normalised is no concern of ours.
  void targets_of(int crew, T** to) const {
    const Layer& l = plan.layer;
    void* const out[] = {l.d_weight_ih, l.d_weight_hh, l.norm_ih ? nullptr : l.d_bias_ih,
                         l.norm_hh ? nullptr : l.d_bias_hh};
    int64_t at = (crew - 1) * sums_of_crew();
    for (int k = 0; k < 4; at += size_of(k), ++k)
      to[k] = !out[k] ? nullptr : crew == 0 ? static_cast<T*>(out[k]) : sums + at;
  }

  void give_to_inputs(int64_t at, Range rows, int thread) const {
    const Operand** a = operands + thread * pointers;
    for (int64_t r = rows.begin; r < rows.end; ++r) {
      const int64_t row = (at + r) * depth;
      if constexpr (narrow) a[r - rows.begin] = narrow_x + row;
      else a[r - rows.begin] = d_x + row;
    }
    times_columns<Num>(a, rows.end - rows.begin, depth, packed_ih, plan.I, {0, ceil_div(plan.I, W)},
                       d_inputs + at + rows.begin, false);
  }

  void turn(const T* d, int64_t rows, int64_t deep, Range groups, Operand* to, T* d_bias, bool first) const {
    for (int64_t j = groups.begin; j < groups.end; ++j) {
      const int64_t g = j / plan.blocks, u = j % plan.blocks * W, column = j * W;
      Vec<T> total(T(0));
      for (int64_t r = 0; r < rows; ++r) total = total + Vec<T>::load(d + r * depth + column);
      if (d_bias) {
        const int lanes = int(plan.H - u < W ? plan.H - u : W);
        T* bias = d_bias + g * plan.H + u;
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
                  T* d_weight, bool first, Range groups, int thread) const {
    if (!d_weight || groups.begin == groups.end) return;
    const Operand** a = operands + thread * pointers;
    T** c = targets + thread * pointers;
    int64_t n = 0;
    for (int64_t j = groups.begin * W; j < groups.end * W; ++j) {
      const int64_t g = j / plan.padded, u = j % plan.padded;
      if (u >= plan.H) continue;
      a[n] = turned + j * deep;
      c[n++] = d_weight + (g * plan.H + u) * columns;
    }
    Operand* packed = panel_of_rows + thread * whole(many) * PANEL;
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
};

}  // namespace
