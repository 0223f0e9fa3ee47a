// LSTM and GRU as one would write them by hand, on the contract of the generated cells (Tile, in layer.hpp) and with the
// same vector type: what benchmarks/handwritten.py holds the generated code against.
//
// Every array of a row is found once. The forward pass gets a few rows of one block of units at a time, so its inner loop
// goes over rows, which keeps the constants of σ and tanh in registers; the backward pass gets whole rows. The last block,
// which may be short, is apart from the others. What gradients have in common is computed once, and derivatives are
// arranged for fused operations: y·s·(1 − s) is p − p·s with p = y·s.
#include <cstdlib>
#include <vector>

#include "pointwise.hpp"
#include "tile.hpp"

namespace {

#define ALWAYS __attribute__((always_inline))

// part(first block, block after the last, lanes of a block): the whole blocks, then the short one if there is one.
template <class T, class Part>
INLINE void whole_and_rest(const Tile<T>& t, Part&& part) {
  constexpr int W = Vec<T>::lanes;
  const int whole = t.tail == W ? t.blocks : t.blocks - 1;
  part(0, whole, W);
  if (whole < t.blocks) part(whole, t.blocks, t.tail);
}

// i, f, o = σ(x + h);  g = tanh(x + h);  c' = f ⊙ c + i ⊙ g;  h' = o ⊙ tanh(c')
template <class T>
void lstm_forward(const Tile<T>& tile) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const Tile<T> t = tile;
  whole_and_rest(t, [&](int begin, int end, int lanes) ALWAYS {
    for (int b = begin; b < end; ++b)
      for (int m = 0; m < t.rows; ++m) {
        const int64_t u = t.unit + b * W;
        const T *x = t.x[m] + u * 4, *h = t.h + (m * t.blocks + b) * 4 * W;
        const V i = sigmoid(V::load(x) + V::load(h));
        const V f = sigmoid(V::load(x + W) + V::load(h + W));
        const V g = tanh(V::load(x + 2 * W) + V::load(h + 2 * W));
        const V o = sigmoid(V::load(x + 3 * W) + V::load(h + 3 * W));
        const V c = f * V::load(t.before[1][m] + u, lanes) + i * g;
        c.store(t.after[1][m] + u, lanes);
        (o * tanh(c)).store(t.after[0][m] + u, lanes);
        if (t.saved) {
          T* saved = t.saved[m] + u;
          i.store(saved), f.store(saved + t.stride), g.store(saved + 2 * t.stride), o.store(saved + 3 * t.stride);
        }
      }
  });
}

// dc gets o·(1 − tanh²c')·dh, goes through each gate, and on as f·dc; dh goes on through the product alone.
template <class T>
void lstm_backward(const Tile<T>& tile) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const Tile<T> t = tile;
  for (int m = 0; m < t.rows; ++m) {
    const T *before = t.before[1][m], *after = t.after[1][m], *saved = t.saved[m];
    const T* outside_h = t.d_history[0] ? t.d_history[0][m] : nullptr;
    const T* outside_c = t.d_history[1] ? t.d_history[1][m] : nullptr;
    T *carried_h = t.d_after[0][m], *carried_c = t.d_after[1][m], *d_x = t.d_x[m];
    whole_and_rest(t, [&](int begin, int end, int lanes) ALWAYS {
      for (int64_t u = t.unit + begin * W; u < t.unit + end * W; u += W) {
        const T* s = saved + u;
        const V i = V::load(s), f = V::load(s + t.stride), g = V::load(s + 2 * t.stride), o = V::load(s + 3 * t.stride);
        V dh = V::load(carried_h + u), dc = V::load(carried_c + u);
        if (outside_h) dh = dh + V::load(outside_h + u, lanes);
        if (outside_c) dc = dc + V::load(outside_c + u, lanes);
        const V y = tanh(V::load(after + u, lanes)), oh = o * dh, ohy = oh * y;
        dc = dc + (oh - ohy * y);  // not (dc + oh) first, which would lose a small dc where the cell saturates
        const V ic = i * dc, icg = ic * g, fc = f * dc, fcc = fc * V::load(before + u, lanes);
        T* to = d_x + u;
        (icg - icg * i).first(lanes).store(to);
        (fcc - fcc * f).first(lanes).store(to + t.stride);
        (ic - icg * g).first(lanes).store(to + 2 * t.stride);
        (ohy - ohy * o).first(lanes).store(to + 3 * t.stride);
        V(T(0)).store(carried_h + u);
        fc.first(lanes).store(carried_c + u);
      }
    });
  }
}

// r, z = σ(x + h);  n = tanh(x + r ⊙ h);  h' = n + z ⊙ (h − n)
template <class T>
void gru_forward(const Tile<T>& tile) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const Tile<T> t = tile;
  whole_and_rest(t, [&](int begin, int end, int lanes) ALWAYS {
    for (int b = begin; b < end; ++b)
      for (int m = 0; m < t.rows; ++m) {
        const int64_t u = t.unit + b * W;
        const T *x = t.x[m] + u * 3, *h = t.h + (m * t.blocks + b) * 3 * W;
        const V r = sigmoid(V::load(x) + V::load(h));
        const V z = sigmoid(V::load(x + W) + V::load(h + W));
        const V hn = V::load(h + 2 * W), n = tanh(V::load(x + 2 * W) + r * hn);
        (n + z * (V::load(t.before[0][m] + u, lanes) - n)).store(t.after[0][m] + u, lanes);
        if (t.saved) {
          T* saved = t.saved[m] + u;
          r.store(saved), z.store(saved + t.stride), n.store(saved + 2 * t.stride), hn.store(saved + 3 * t.stride);
        }
      }
  });
}

// dh goes on as z·dh, and through n as (1 − z)·dh.
template <class T>
void gru_backward(const Tile<T>& tile) {
  using V = Vec<T>;
  constexpr int W = V::lanes;
  const Tile<T> t = tile;
  for (int m = 0; m < t.rows; ++m) {
    const T *before = t.before[0][m], *saved = t.saved[m];
    const T* outside = t.d_history[0] ? t.d_history[0][m] : nullptr;
    T *carried = t.d_after[0][m], *d_x = t.d_x[m], *d_h = t.d_h[m];
    whole_and_rest(t, [&](int begin, int end, int lanes) ALWAYS {
      for (int64_t u = t.unit + begin * W; u < t.unit + end * W; u += W) {
        const T* s = saved + u;
        const V r = V::load(s), z = V::load(s + t.stride), n = V::load(s + 2 * t.stride), hn = V::load(s + 3 * t.stride);
        V d = V::load(carried + u);
        if (outside) d = d + V::load(outside + u, lanes);
        const V one(T(1)), zd = z * d, dn = (d - zd) * (one - n * n), dhn = dn * r, dr = dhn * hn;
        const V dz = zd * (V::load(before + u, lanes) - n);
        const V d_r = (dr - dr * r).first(lanes), d_z = (dz - dz * z).first(lanes);
        T *to_x = d_x + u, *to_h = d_h + u;
        d_r.store(to_x), d_z.store(to_x + t.stride), dn.first(lanes).store(to_x + 2 * t.stride);
        d_r.store(to_h), d_z.store(to_h + t.stride), dhn.first(lanes).store(to_h + 2 * t.stride);
        zd.first(lanes).store(carried + u);
      }
    });
  }
}

const Cell CELLS[] = {
    {"LSTMCell", "by hand", 4, 2, 4, 0, true, false, {lstm_forward<float>, lstm_backward<float>},
     {lstm_forward<double>, lstm_backward<double>}},
    {"GRUCell", "by hand", 3, 1, 4, 0, true, true, {gru_forward<float>, gru_backward<float>},
     {gru_forward<double>, gru_backward<double>}},
};

// One step of a layer without its products: `rows` sequences, whole blocks of units, memory laid out as in the loop.
class Step {
 public:
  Step(const Cell& cell, int rows, int blocks, bool keep) : cell_(cell), keep_(keep) {
    const int64_t units = int64_t(blocks) * W, all = cell.gates * units;
    const int64_t row = 3 * all + (4 * cell.states + cell.saved) * units;
    const int64_t bytes = sizeof(float) * (rows * row + TILE * cell.gates * W);
    memory_ = static_cast<float*>(std::aligned_alloc(64, (bytes + 63) / 64 * 64));
    work_.rows = rows, work_.blocks = blocks, work_.tail = W, work_.stride = units;
    work_.h = array(1, TILE * cell.gates * W)[0];
    work_.x = array(rows, all), work_.saved = array(rows, cell.saved * units);
    for (int p = 0; p < cell.states; ++p) {
      work_.before[p] = array(rows, units), work_.after[p] = array(rows, units);
      work_.d_after[p] = array(rows, units), work_.d_history[p] = p ? nullptr : array(rows, units);
    }
    work_.d_x = array(rows, all);
    work_.d_h = cell.split ? array(rows, all) : work_.d_x;
  }
  ~Step() { std::free(memory_); }
  Step(const Step&) = delete;
  void operator=(const Step&) = delete;

  // As many rows of a block at a time as the loop's product leaves, see Forward::advance.
  void forward() const {
    const int most = max_rows(cell_.gates);
    for (int b = 0; b < work_.blocks; ++b)
      for (int done = 0, groups = (work_.rows + most - 1) / most; groups > 0; --groups) {
        Tile<float> part = work_;
        part.rows = (work_.rows - done + groups - 1) / groups, part.blocks = 1, part.unit = b * W;
        part.x += done, part.saved = keep_ ? work_.saved + done : nullptr;
        for (int p = 0; p < cell_.states; ++p) part.before[p] += done, part.after[p] += done;
        cell_.in_float.forward(part);
        done += part.rows;
      }
  }
  void backward() const { cell_.in_float.backward(work_); }

 private:
  static constexpr int W = Vec<float>::lanes, TILE = 8;
  const Cell& cell_;
  const bool keep_;
  Tile<float> work_{};
  float* memory_;
  int64_t used_ = 0;
  std::vector<std::vector<float*>> rows_;

  // Addresses of rows of numbers in (-1, 1).
  float* const* array(int rows, int64_t width) {
    rows_.emplace_back();
    for (int m = 0; m < rows; ++m, used_ += width) rows_.back().push_back(memory_ + used_);
    float* const begin = rows_.back()[0];
    for (int64_t i = 0; i < rows * width; ++i) begin[i] = float(i * 7919 % 1999 - 999) / 1000;
    return rows_.back().data();
  }
};
}  // namespace

extern "C" const void* cell_by_hand(int index) { return &CELLS[index]; }

// A cell's function in float, hand-written or not, again and again on the same step.
extern "C" void repeat(const void* cell, bool backward, bool keep, int rows, int blocks, int times) {
  const Step step(*static_cast<const Cell*>(cell), rows, blocks, keep || backward);
  step.forward();  // leaves what the backward pass reads
  for (int i = 0; i < times; ++i) backward ? step.backward() : step.forward();
}
