// Tree-LSTMs from the leaves to the roots, and back: level after level a product and the point-wise rest. What the
// weights are given is no concern of ours: it is one product over all nodes, when all is done.
#pragma once
#include "gradients.hpp"
#include "nodes.hpp"

namespace {
using ostinato::Trees;

template <class T>
struct Sweep {
  using Num = Plain<T>;
  static constexpr int W = Vec<T>::lanes;
  static constexpr int64_t ROWS = 256;  // of a product at a time

  Arena arena;
  const Trees& t;
  const bool back;
  const int64_t H, N, leaves;
  const int weights;  // of an N-ary cell one, U [(N + 3)·hidden, N·hidden]; of the child-sum U_f and U of the others
  T* packed[2];

  Sweep(const Trees& trees, bool backward, char* base)
      : arena{base}, t(trees), back(backward), H(t.hidden), N(t.arity), leaves(t.ends[0]), weights(N ? 1 : 2) {
    for (int w = 0; w < weights; ++w) packed[w] = arena.take<T>(depth(w) * ceil_div(columns(w), W) * W);
  }

  void run(Team& team, int thread) const {
    if (t.levels > 1)
      for (int w = 0; w < weights; ++w) pack(w, thread, team.size);
    if (back) {
      for (int64_t l = t.levels - 1; l > 0; --l) {
        if (!team.go_on(thread) || !team.meet()) return;
        down(level(l), share(l, team, thread), t.child_ends[l - 1]);
      }
      if (!team.meet()) return;
      const Range mine = share(0, team, thread);
      nodes_backward(level(0), mine.begin, mine.end);
    } else {
      for (int64_t l = 0; l < t.levels; ++l) {
        const Range mine = share(l, team, thread);
        if (l) up(level(l), mine, t.child_ends[l - 1]);
        nodes_forward(level(l), mine.begin, mine.end);
        if (!team.go_on(thread) || !team.meet()) return;
      }
    }
  }

 private:
  // A weight [rows_of, columns_of]: upwards with its transpose, back as it stands.
  int64_t rows_of(int w) const { return N ? (N + 3) * H : w ? 3 * H : H; }
  int64_t columns_of() const { return N ? N * H : H; }
  int64_t depth(int w) const { return back ? rows_of(w) : columns_of(); }
  int64_t columns(int w) const { return back ? columns_of() : rows_of(w); }

  Range share(int64_t l, const Team& team, int thread) const {
    return Range{0, t.ends[l] - (l ? t.ends[l - 1] : 0)}.part(thread, team.size);
  }

  static T* at(void* array, int64_t offset) { return array ? static_cast<T*>(array) + offset : nullptr; }

  Nodes<T> level(int64_t l) const {
    const int64_t first = l ? t.ends[l - 1] : 0, inner = first - leaves, all = N ? (N + 3) * H : 3 * H;
    Nodes<T> n{};
    n.hidden = H, n.places = t.places + first;
    n.h = at(t.h, 0), n.c = at(t.c, 0), n.d_h = at(t.d_h, 0), n.d_c = at(t.d_c, 0), n.d_sums = at(t.d_sums, 0);
    const bool own_x = first < t.x_rows;
    n.x = own_x ? at(t.x, first * t.x_width) : at(t.rest, 0), n.x_row = own_x ? t.x_width : 0;
    n.x_gates = (own_x ? t.x_width : t.rest_width) - 3 * H;
    if (!l) {
      n.gates = at(t.leaf_gates, 0), n.gates_row = 3 * H;
      n.d_gates = at(t.d_x, t.x_width - 3 * H), n.d_gates_row = t.x_width;
      return n;
    }
    n.starts = t.starts + inner;
    const int64_t row = t.keep ? inner : 0, child = t.keep ? t.child_ends[l - 1] : 0, before = N * H;
    n.gates = at(t.gates, row * all + before), n.d_gates = at(t.d_gates, row * all + before);
    n.gates_row = n.d_gates_row = all, n.forget_row = N ? all : 0;
    n.forget = N ? at(t.gates, row * all) : at(t.forget, child * H);
    n.d_forget = N ? at(t.d_gates, row * all) : at(t.d_forget, child * H);
    n.sums = at(t.sums, row * H);
    return n;
  }

  // The products of some nodes of a level; `child` is the first child of the first of them all.
  void up(const Nodes<T>& n, Range mine, int64_t child) const {
    const int64_t count = mine.end - mine.begin;
    if (count == 0) return;
    if (N) {
      T* const to = n.forget + mine.begin * n.gates_row;
      product(0, n.h + (child + mine.begin * N) * H, N * H, count, to, n.gates_row, false);
      return;
    }
    nodes_sum(n, mine.begin, mine.end);
    const int64_t from = n.starts[mine.begin], to = n.starts[mine.end];
    product(0, n.h + from * H, H, to - from, n.forget + (from - child) * H, H, false);
    product(1, n.sums + mine.begin * H, H, count, n.gates + mine.begin * n.gates_row, n.gates_row, false);
  }

  void down(const Nodes<T>& n, Range mine, int64_t child) const {
    const int64_t count = mine.end - mine.begin;
    if (count == 0) return;
    nodes_backward(n, mine.begin, mine.end);
    if (N) {
      T* const to = n.d_h + (child + mine.begin * N) * H;
      product(0, n.d_forget + mine.begin * n.gates_row, n.gates_row, count, to, N * H, true);
      return;
    }
    const int64_t from = n.starts[mine.begin], to = n.starts[mine.end];
    product(1, n.d_gates + mine.begin * n.gates_row, n.gates_row, count, n.d_sums + mine.begin * H, H, false);
    nodes_share(n, mine.begin, mine.end);
    product(0, n.d_forget + (from - child) * H, H, to - from, n.d_h + from * H, H, true);
  }

  void product(int w, const T* from, int64_t from_row, int64_t rows, T* to, int64_t to_row, bool add) const {
    const T* a[ROWS];
    T* c[ROWS];
    for (int64_t done = 0; done < rows; done += ROWS) {
      const int64_t some = rows - done < ROWS ? rows - done : ROWS;
      for (int64_t m = 0; m < some; ++m) a[m] = from + (done + m) * from_row, c[m] = to + (done + m) * to_row;
      times_columns<Num>(a, some, depth(w), packed[w], columns(w), {0, ceil_div(columns(w), W)}, c, add);
    }
  }

  // Panels of columns, as `times_columns` takes them; each thread packs some.
  void pack(int w, int thread, int threads) const {
    const T* weight = static_cast<const T*>(t.weights[w]);
    const int64_t deep = depth(w), wide = columns(w), stride = columns_of(), blocks = ceil_div(wide, W);
    const Range mine = Range{0, ceil_div(blocks, MAX_COLUMNS)}.part(thread, threads);
    for (int64_t b = mine.begin * MAX_COLUMNS; b < mine.end * MAX_COLUMNS && b < blocks; b += MAX_COLUMNS) {
      const int64_t count = b + MAX_COLUMNS < blocks ? MAX_COLUMNS : blocks - b;
      T* panel = packed[w] + b * W * deep;
      for (int64_t n = 0; n < count; ++n) {
        const int64_t column = (b + n) * W;
        const int lanes = int(wide - column < W ? wide - column : W);
        if (back) {
          for (int64_t k = 0; k < deep; ++k)
            Vec<T>::load(weight + k * stride + column, lanes).store(panel + (k * count + n) * W);
        } else {
          for (int64_t k = 0; k < deep; k += W)
            transpose_block<T>(weight + column * stride + k, stride, lanes, int(deep - k < W ? deep - k : W),
                               panel + (k * count + n) * W, count * W);
        }
      }
    }
  }
};

template <class F>
INLINE auto with_sweep(const Trees& trees, bool backward, bool is_double, char* scratch, F&& function) {
  if (is_double) return function(Sweep<double>(trees, backward, scratch));
  return function(Sweep<float>(trees, backward, scratch));
}
int64_t trees_bytes(const Trees& trees, bool backward, bool is_double) {
  return with_sweep(trees, backward, is_double, nullptr, [](const auto& sweep) { return sweep.arena.used + 64; });
}
void trees(const Trees& trees, bool backward, bool is_double, Team& team, int thread, char* scratch) {
  with_sweep(trees, backward, is_double, scratch, [&](const auto& sweep) { sweep.run(team, thread); });
}

}  // namespace
