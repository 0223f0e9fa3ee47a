// The point-wise half of a level of Tree-LSTMs, and its gradient: what stands between the products of two levels.
//
//   i, o = σ(·)   u = tanh(·)   f_k = σ(·)   c = i u + Σ_k f_k c_k   h = o tanh c         (Tai et al. 2015, eq. 3-14)
#pragma once
#include "layer.hpp"
#include "vec.hpp"

namespace {
using ostinato::Nodes;

// Rows of a call by node; `u` is the unit that a vector begins with.
template <class T>
struct NodeRows {
  const Nodes& n;
  static INLINE T* row(void* base, int64_t at) { return static_cast<T*>(base) + at; }
  static INLINE const T* row(const void* base, int64_t at) { return static_cast<const T*>(base) + at; }
  INLINE int64_t first(int64_t j) const { return n.starts ? n.starts[j] : 0; }
  INLINE int64_t count(int64_t j) const { return n.starts ? n.starts[j + 1] - n.starts[j] : 0; }
  // of the forget gates: those of a node side by side in its row, or a row a child
  INLINE int64_t forget(int64_t j) const { return n.forget_row ? j * n.forget_row : (first(j) - n.starts[0]) * n.hidden; }
};

template <class T>
void nodes_forward(const Nodes& n, int64_t begin, int64_t end) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const NodeRows<T> rows{n};
  const int64_t H = n.hidden;
  for (int64_t j = begin; j < end; ++j) {
    const int64_t count = rows.count(j), first = rows.first(j), place = n.places[j] * H;
    T* const gates = n.gates ? rows.row(n.gates, j * n.gates_row) : nullptr;
    T* const forget = count ? rows.row(n.forget, rows.forget(j)) : nullptr;
    const T* const x = rows.row(n.x, j * n.x_row);
    const T* const x_gates = x + n.x_gates;
    const T* const c_children = rows.row(n.c, first * H);
    for (int64_t u = 0; u < H; u += W) {
      const int lanes = int(H - u < W ? H - u : W);
      const auto sum = [&](int64_t gate) __attribute__((always_inline)) {
        const V given = V::load(x_gates + gate * H + u, lanes);
        return n.starts ? given + V::load(gates + gate * H + u, lanes) : given;
      };
      const V i = sigmoid(sum(0)), o = sigmoid(sum(1)), v = tanh(sum(2));
      if (gates) {
        i.store(gates + u, lanes);
        o.store(gates + H + u, lanes);
        v.store(gates + 2 * H + u, lanes);
      }
      V c = i * v;
      for (int64_t k = 0; k < count; ++k) {
        const V f = sigmoid(V::load(forget + k * H + u, lanes) + V::load(x + k * n.x_forget + u, lanes));
        f.store(forget + k * H + u, lanes);
        c = c + f * V::load(c_children + k * H + u, lanes);
      }
      c.store(rows.row(n.c, place + u), lanes);
      (o * tanh(c)).store(rows.row(n.h, place + u), lanes);
    }
  }
}

// From the gradient by h and c of the nodes to that by their pre-activations, and, added, by the children's c.
template <class T>
void nodes_backward(const Nodes& n, int64_t begin, int64_t end) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const NodeRows<T> rows{n};
  const int64_t H = n.hidden;
  for (int64_t j = begin; j < end; ++j) {
    const int64_t count = rows.count(j), first = rows.first(j), place = n.places[j] * H;
    const T* const gates = rows.row(n.gates, j * n.gates_row);
    T* const d_gates = rows.row(n.d_gates, j * n.d_gates_row);
    const int64_t of_forget = count ? rows.forget(j) : 0;
    for (int64_t u = 0; u < H; u += W) {
      const int lanes = int(H - u < W ? H - u : W);
      const V one(T(1)), d_h = V::load(rows.row(n.d_h, place + u), lanes);
      const V i = V::load(gates + u, lanes), o = V::load(gates + H + u, lanes), v = V::load(gates + 2 * H + u, lanes);
      const V t = tanh(V::load(rows.row(n.c, place + u), lanes));
      const V d_c = V::load(rows.row(n.d_c, place + u), lanes) + d_h * o * (one - t * t);
      (d_c * v * i * (one - i)).store(d_gates + u, lanes);
      (d_h * t * o * (one - o)).store(d_gates + H + u, lanes);
      (d_c * i * (one - v * v)).store(d_gates + 2 * H + u, lanes);
      for (int64_t k = 0; k < count; ++k) {
        const int64_t at = of_forget + k * H + u, child = (first + k) * H + u;
        const V f = V::load(rows.row(n.forget, at), lanes), c = V::load(rows.row(n.c, child), lanes);
        (d_c * c * f * (one - f)).store(rows.row(n.d_forget, at), lanes);
        T* const d_child = rows.row(n.d_c, child);
        (V::load(d_child, lanes) + d_c * f).store(d_child, lanes);
      }
    }
  }
}

// h̃ = Σ_k h_k of each node; backwards, what h̃ is given goes to each of its children.
template <class T>
void nodes_sum(const Nodes& n, int64_t begin, int64_t end) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const int64_t H = n.hidden;
  for (int64_t j = begin; j < end; ++j)
    for (int64_t u = 0; u < H; u += W) {
      const int lanes = int(H - u < W ? H - u : W);
      V total(T(0));
      for (int64_t row = n.starts[j]; row < n.starts[j + 1]; ++row)
        total = total + V::load(static_cast<const T*>(n.h) + row * H + u, lanes);
      total.store(static_cast<T*>(n.sums) + j * H + u, lanes);
    }
}
template <class T>
void nodes_share(const Nodes& n, int64_t begin, int64_t end) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const int64_t H = n.hidden;
  for (int64_t j = begin; j < end; ++j)
    for (int64_t row = n.starts[j]; row < n.starts[j + 1]; ++row)
      for (int64_t u = 0; u < H; u += W) {
        const int lanes = int(H - u < W ? H - u : W);
        T* const to = static_cast<T*>(n.d_h) + row * H + u;
        (V::load(to, lanes) + V::load(static_cast<const T*>(n.sums) + j * H + u, lanes)).store(to, lanes);
      }
}

void nodes(const Nodes& n, int what, bool is_double, int64_t begin, int64_t end) {
  using Work = void (*)(const Nodes&, int64_t, int64_t);
  static constexpr Work WORKS[][2] = {{nodes_forward<float>, nodes_forward<double>},
                                      {nodes_backward<float>, nodes_backward<double>},
                                      {nodes_sum<float>, nodes_sum<double>},
                                      {nodes_share<float>, nodes_share<double>}};
  WORKS[what][is_double](n, begin, end);
}

}  // namespace
