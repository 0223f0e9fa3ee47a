// The point-wise half of a level of Tree-LSTMs, and its gradient: what stands between the products of two levels.
//
//   i, o = σ(·)   u = tanh(·)   f_k = σ(·)   c = i u + Σ_k f_k c_k   h = o tanh c         (Tai et al. 2015, eq. 3-14)
#pragma once
#include "vec.hpp"

namespace {

// The nodes of one level. Row-major arrays; rows of h and c are places, and the children of a node stand on end.
template <class T>
struct Nodes {
  int64_t hidden;
  const int64_t *places, *starts;  // [nodes]; [nodes + 1], where a node's children begin; null for leaves
  const T* x;
  int64_t x_row, x_gates;  // from a node to the next, 0 where all have the same; where the part of i, o, u begins. That of
                           // f comes first, and is one for all children
  T *gates, *forget;                 // i o u, and f: pre-activations without x, then what became of them
  int64_t gates_row, forget_row;     // from a node to the next; of forget 0: a row a child
  T *h, *c, *sums;                   // sums: h̃, [nodes, hidden]
  T *d_gates, *d_forget, *d_h, *d_c, *d_sums;
  int64_t d_gates_row;

  INLINE int64_t first(int64_t j) const { return starts ? starts[j] : 0; }
  INLINE int64_t count(int64_t j) const { return starts ? starts[j + 1] - starts[j] : 0; }
  // where the forget gates of a node's children begin: side by side in its row, or a row a child
  INLINE int64_t forget_of(int64_t j) const { return forget_row ? j * forget_row : (first(j) - starts[0]) * hidden; }
};

template <class T>
void nodes_forward(const Nodes<T>& n, int64_t begin, int64_t end) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const int64_t H = n.hidden;
  for (int64_t j = begin; j < end; ++j) {
    const int64_t count = n.count(j), first = n.first(j), place = n.places[j] * H;
    T* const gates = n.gates ? n.gates + j * n.gates_row : nullptr;
    T* const forget = count ? n.forget + n.forget_of(j) : nullptr;
    const T* const x = n.x + j * n.x_row;
    const T* const x_gates = x + n.x_gates;
    const T* const c_children = n.c + first * H;
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
      const V given = count ? V::load(x + u, lanes) : V(T(0));
      for (int64_t k = 0; k < count; ++k) {
        const V f = sigmoid(V::load(forget + k * H + u, lanes) + given);
        f.store(forget + k * H + u, lanes);
        c = c + f * V::load(c_children + k * H + u, lanes);
      }
      c.store(n.c + place + u, lanes);
      (o * tanh(c)).store(n.h + place + u, lanes);
    }
  }
}

// From the gradient by h and c of the nodes to that by their pre-activations, and, added, by the children's c.
template <class T>
void nodes_backward(const Nodes<T>& n, int64_t begin, int64_t end) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const int64_t H = n.hidden;
  for (int64_t j = begin; j < end; ++j) {
    const int64_t count = n.count(j), first = n.first(j), place = n.places[j] * H;
    const T* const gates = n.gates + j * n.gates_row;
    T* const d_gates = n.d_gates + j * n.d_gates_row;
    const int64_t of_forget = count ? n.forget_of(j) : 0;
    for (int64_t u = 0; u < H; u += W) {
      const int lanes = int(H - u < W ? H - u : W);
      const V one(T(1)), d_h = V::load(n.d_h + place + u, lanes);
      const V i = V::load(gates + u, lanes), o = V::load(gates + H + u, lanes), v = V::load(gates + 2 * H + u, lanes);
      const V t = tanh(V::load(n.c + place + u, lanes));
      const V d_c = V::load(n.d_c + place + u, lanes) + d_h * o * (one - t * t);
      (d_c * v * i * (one - i)).store(d_gates + u, lanes);
      (d_h * t * o * (one - o)).store(d_gates + H + u, lanes);
      (d_c * i * (one - v * v)).store(d_gates + 2 * H + u, lanes);
      for (int64_t k = 0; k < count; ++k) {
        const int64_t at = of_forget + k * H + u, child = (first + k) * H + u;
        const V f = V::load(n.forget + at, lanes), c = V::load(n.c + child, lanes);
        (d_c * c * f * (one - f)).store(n.d_forget + at, lanes);
        T* const d_child = n.d_c + child;
        (V::load(d_child, lanes) + d_c * f).store(d_child, lanes);
      }
    }
  }
}

// h̃ = Σ_k h_k of each node; backwards, what h̃ is given goes to each of its children.
template <class T>
void nodes_sum(const Nodes<T>& n, int64_t begin, int64_t end) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const int64_t H = n.hidden;
  for (int64_t j = begin; j < end; ++j)
    for (int64_t u = 0; u < H; u += W) {
      const int lanes = int(H - u < W ? H - u : W);
      V total(T(0));
      for (int64_t row = n.starts[j]; row < n.starts[j + 1]; ++row)
        total = total + V::load(n.h + row * H + u, lanes);
      total.store(n.sums + j * H + u, lanes);
    }
}
template <class T>
void nodes_share(const Nodes<T>& n, int64_t begin, int64_t end) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const int64_t H = n.hidden;
  for (int64_t j = begin; j < end; ++j)
    for (int64_t row = n.starts[j]; row < n.starts[j + 1]; ++row)
      for (int64_t u = 0; u < H; u += W) {
        const int lanes = int(H - u < W ? H - u : W);
        T* const to = n.d_h + row * H + u;
        (V::load(to, lanes) + V::load(n.d_sums + j * H + u, lanes)).store(to, lanes);
      }
}

}  // namespace
