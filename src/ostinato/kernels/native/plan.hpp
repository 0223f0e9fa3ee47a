// What both passes of a layer share: who does what, which rows live when, and how weights are packed.
#pragma once
#include "layer.hpp"
#include "tile.hpp"

namespace {
using ostinato::Cell;
using ostinato::Layer;
using ostinato::MAX_STATES;
using ostinato::Team;
using ostinato::Tile;

INLINE int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Scratch memory handed out in order. Without a base it only counts, so one description serves to measure and to use.
struct Arena {
  char* base;
  int64_t used = 0;
  template <class X>
  X* take(int64_t count) {
    used = ceil_div(used, 64) * 64;
    X* out = reinterpret_cast<X*>(base + used);
    used += count * int64_t(sizeof(X));
    return out;
  }
};

struct Range {
  int64_t begin, end;
  INLINE Range part(int index, int parts) const {  // an even share
    const int64_t n = end - begin;
    return {begin + n * index / parts, begin + n * (index + 1) / parts};
  }
};

template <class Num>
struct Plan {
  using T = typename Num::Real;
  using Operand = typename Num::Operand;
  static constexpr int W = Vec<T>::lanes;

  const Layer& layer;
  const Cell& cell;
  const int threads;
  const int64_t H, I, B, G, blocks, padded;  // blocks of W units; `padded` = blocks · W
  const bool by_units;                       // threads share units, and meet at every step; or rows, and need not
  int64_t* order;                            // rows by falling length, [batch]
  int64_t* live;                             // rows that have not ended, [steps]
  int64_t* offset;                           // rows of the steps before in time, [steps + 1]
  int64_t* own;                              // by thread, see `rows_of`
  T *zeros, *vectors;                        // [padded], [cell.vectors][padded]

  Plan(const Layer& l, const Cell& c, int n, Arena& arena)
      : layer(l), cell(c), threads(n), H(l.hidden_size), I(l.input_size), B(l.batch), G(c.gates),
        blocks(ceil_div(H, W)), padded(blocks * W), by_units(n > 1 && !normed() && B < 4 * n) {
    order = arena.take<int64_t>(B);
    live = arena.take<int64_t>(l.steps);
    offset = arena.take<int64_t>(l.steps + 1);
    own = arena.take<int64_t>(threads * (B + 1));
    zeros = arena.take<T>(padded);
    vectors = arena.take<T>(c.vectors * padded);
  }

  bool normed() const { return layer.norm_ih || layer.norm_hh || layer.norm_state; }  // rows are not to be divided

  // One thread fills in what the others read. A counting sort: lengths are at most `steps`.
  void prepare() const {
    const int64_t steps = layer.steps;
    std::memset(zeros, 0, sizeof(T) * padded);
    std::memset(vectors, 0, sizeof(T) * padded * cell.vectors);
    for (int v = 0; v < cell.vectors; ++v)
      std::memcpy(vectors + v * padded, static_cast<const T*>(layer.vectors) + v * H, sizeof(T) * H);
    for (int64_t t = 0; t < steps; ++t) live[t] = layer.lengths ? 0 : B;
    if (layer.lengths) {
      for (int64_t b = 0; b < B; ++b)
        if (layer.lengths[b]) ++live[layer.lengths[b] - 1];
      for (int64_t t = steps - 2; t >= 0; --t) live[t] += live[t + 1];  // rows longer than t
      int64_t* next = offset;  // where the rows of length t + 1 go; rows of length 0 go last
      for (int64_t t = 0; t < steps; ++t) next[t] = t + 1 < steps ? live[t + 1] : 0;
      int64_t empty = steps ? live[0] : 0;
      for (int64_t b = 0; b < B; ++b) order[layer.lengths[b] ? next[layer.lengths[b] - 1]++ : empty++] = b;
    } else {
      for (int64_t b = 0; b < B; ++b) order[b] = b;
    }
    deal_rows();
    offset[0] = 0;
    for (int64_t t = 0; t < steps; ++t) offset[t + 1] = offset[t] + live[t];
  }

  INLINE int64_t time(int64_t s) const { return layer.reverse ? layer.steps - 1 - s : s; }
  INLINE int64_t length(int64_t b) const { return layer.lengths ? layer.lengths[b] : layer.steps; }
  INLINE Range my_blocks(int thread) const {
    return by_units ? Range{0, blocks}.part(thread, threads) : Range{0, blocks};
  }
  // Rows of a thread, rising, and after them B, which never lives. They come in runs: of equal length one run each, so
  // that neighbours in memory stay with one core; ragged several, since rows are sorted by length and each thread should
  // have long ones and short.
  INLINE const int64_t* rows_of(int thread) const { return own + thread * (B + 1); }
  int64_t run_of_rows() const { return layer.lengths ? ceil_div(ceil_div(B, threads), 4) : ceil_div(B, threads); }
  int64_t most_rows() const { return by_units ? B : ceil_div(ceil_div(B, run_of_rows()), threads) * run_of_rows(); }
  void deal_rows() const {
    const int64_t run = run_of_rows();
    for (int thread = 0; thread < threads; ++thread) {
      int64_t* to = own + thread * (B + 1);
      for (int64_t i = 0; i < B; ++i)
        if (by_units || i / run % threads == thread) *to++ = i;
      *to = B;
    }
  }

  // Row b's state before the step at time t, or null where it was carried in place.
  INLINE const T* before(int part, int64_t t, int64_t b) const {
    if (layer.resets && layer.resets[t * B + b]) return zeros;
    const int64_t from = layer.reverse ? t + 1 : t - 1;
    if (from < 0 || from >= length(b)) return static_cast<const T*>(layer.initial[part]) + b * H;
    if (!layer.history[part]) return nullptr;
    return static_cast<const T*>(layer.history[part]) + (from * B + b) * H;
  }
  // The rows of a weight [gates·hidden, columns] as products from the left count them, [gates·padded]; null: zeros.
  void weight_rows(const void* weight, int64_t columns, const T** rows) const {
    for (int64_t g = 0; g < G; ++g)
      for (int64_t u = 0; u < padded; ++u)
        rows[g * padded + u] = u < H ? static_cast<const T*>(weight) + (g * H + u) * columns : nullptr;
  }

  INLINE T* history(int part, int64_t t, int64_t b) const {
    return static_cast<T*>(layer.history[part]) + (t * B + b) * H;
  }
};

// Numbers as operands, and zeros after them.
template <class Num>
INLINE void narrow_row(const typename Num::Real* from, int64_t n, typename Num::Operand* to, int64_t padded_n) {
  int64_t k = 0;
  if constexpr (Num::depth == 1) {  // a call of memcpy would cost as much as a short row
    using V = Vec<typename Num::Real>;
    for (; k + V::lanes <= n; k += V::lanes) V::load(from + k).store(to + k);
  }
#if defined(OSTINATO_BF16)
  if constexpr (Num::depth > 1)
    for (; k + 16 <= n; k += 16) {
      const __m256bh low = _mm512_cvtneps_pbh(_mm512_loadu_ps(from + k));
      std::memcpy(to + k, &low, 32);
    }
#endif
  for (; k < n; ++k) to[k] = Num::narrow(from[k]);
  for (; k < padded_n; ++k) to[k] = 0;
}

// Widths of the panels that `vectors` are multiplied in.
INLINE int panel(int64_t vectors) { return int(vectors < MAX_COLUMNS ? vectors : MAX_COLUMNS); }

// out[j][i] = in[i][j] for a W × W block of which `rows` × `columns` exist; the rest of `out` is zero.
template <class T>
INLINE void transpose_block(const T* in, int64_t stride, int rows, int columns, T* out, int64_t out_stride) {
  constexpr int W = Vec<T>::lanes;
#if defined(__AVX512F__)
  if constexpr (sizeof(T) == 4) {
    __m512 r[16], s[16];
    const __mmask16 lanes = __mmask16((1u << columns) - 1);
    for (int i = 0; i < 16; ++i) r[i] = i < rows ? _mm512_maskz_loadu_ps(lanes, in + i * stride) : _mm512_setzero_ps();
    for (int i = 0; i < 8; ++i) {  // pairs of rows, pairs of those, then quarters
      s[2 * i] = _mm512_unpacklo_ps(r[2 * i], r[2 * i + 1]);
      s[2 * i + 1] = _mm512_unpackhi_ps(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 4; ++i)
      for (int j = 0; j < 2; ++j) {
        const __m512d low = _mm512_castps_pd(s[4 * i + j]), high = _mm512_castps_pd(s[4 * i + 2 + j]);
        r[4 * i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(low, high));
        r[4 * i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low, high));
      }
    for (int j = 0; j < 4; ++j) {  // r[4i + j] holds columns j, j + 4, j + 8, j + 12 of rows 4i to 4i + 3
      const __m512 a = _mm512_shuffle_f32x4(r[j], r[4 + j], 0x88), b = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0x88);
      const __m512 c = _mm512_shuffle_f32x4(r[j], r[4 + j], 0xdd), d = _mm512_shuffle_f32x4(r[8 + j], r[12 + j], 0xdd);
      s[j] = _mm512_shuffle_f32x4(a, b, 0x88), s[8 + j] = _mm512_shuffle_f32x4(a, b, 0xdd);
      s[4 + j] = _mm512_shuffle_f32x4(c, d, 0x88), s[12 + j] = _mm512_shuffle_f32x4(c, d, 0xdd);
    }
    for (int j = 0; j < columns; ++j) _mm512_storeu_ps(out + j * out_stride, s[j]);
    return;
  }
#endif
  for (int j = 0; j < columns; ++j)
    for (int i = 0; i < W; ++i) out[j * out_stride + i] = i < rows ? in[i * stride + j] : T(0);
}

// A vector [gates·hidden] in the order of pre-activations, [blocks][gates][W]; zeros beside it.
template <class T>
INLINE void spread(const T* from, int64_t G, int64_t H, Range blocks, T* to) {
  constexpr int W = Vec<T>::lanes;
  for (int64_t b = blocks.begin; b < blocks.end; ++b)
    for (int64_t g = 0; g < G; ++g)
      for (int64_t w = 0; w < W; ++w) to[(b * G + g) * W + w] = from && b * W + w < H ? from[g * H + b * W + w] : T(0);
}

// A weight [gates·hidden, depth] for products with its transpose: by block of units, its gates side by side, in panels
// of a few vectors, [depth][columns][W]. A cell of few gates takes several blocks to a panel.
template <class Num>
struct Gates {
  using T = typename Num::Real;
  using Operand = typename Num::Operand;
  static constexpr int W = Vec<T>::lanes;
  const int64_t depth, lanes_deep, G, H;  // lanes_deep: of the summed axis, see Num::depth
  Operand* packed;
  T *bias, *gain;  // [blocks][gates][W]

  Gates(int64_t depth_, const Plan<Num>& plan, Arena& arena)
      : depth(depth_), lanes_deep(ceil_div(depth_, Num::depth)), G(plan.G), H(plan.H) {
    packed = arena.take<Operand>(plan.blocks * G * W * lanes_deep * Num::depth);
    bias = arena.take<T>(plan.blocks * G * W);
    gain = arena.take<T>(plan.blocks * G * W);
  }
  static INLINE int64_t group(int64_t gates) { return gates >= MAX_COLUMNS ? 1 : MAX_COLUMNS / gates; }

  void pack(const T* weight, const T* shift, const T* scale, Range blocks) const {
    spread(shift, G, H, blocks, bias), spread(scale, G, H, blocks, gain);
    const int64_t step = group(G);
    for (int64_t b = blocks.begin; b < blocks.end; b += step) {
      const int64_t vectors = G * (b + step < blocks.end ? step : blocks.end - b);
      for (int64_t v = 0; v < vectors; v += panel(vectors - v)) {
        const int columns = panel(vectors - v);
        Operand* to = packed + (b * G + v) * W * lanes_deep * Num::depth;
        for (int j = 0; j < columns; ++j) {
          const int64_t block = b + (v + j) / G, gate = (v + j) % G, rows = H - block * W < W ? H - block * W : W;
          pack_vector(weight + (gate * H + block * W) * depth, rows, to + j * W * Num::depth, columns * W * Num::depth);
        }
      }
    }
  }

  // h[m] += the pre-activations of a panel's blocks, for some rows
  INLINE void multiply_rows(const Operand* const* a, int rows, int64_t block, int64_t count, T* const* c,
                            bool with_bias) const {
    const int64_t vectors = G * count;
    T* shifted[TILE_ROWS];
    for (int64_t v = 0; v < vectors; v += panel(vectors - v)) {
      const int columns = panel(vectors - v);
      const int64_t first = block * G + v;
      for (int done = 0, tiles = int(ceil_div(rows, max_rows(columns))); tiles > 0; --tiles) {
        const int some = int(ceil_div(rows - done, tiles));
        for (int m = 0; m < some; ++m) shifted[m] = c[done + m] + v * W;
        multiply<Num>({a + done, lanes_deep, packed + first * W * lanes_deep * Num::depth,
                       with_bias ? bias + first * W : nullptr, shifted, W, false}, some, columns);
        done += some;
      }
    }
  }

 private:
  void pack_vector(const T* rows_from, int64_t rows, Operand* to, int64_t stride) const {
    T held[W * W];
    for (int64_t k = 0; k < lanes_deep * Num::depth; k += W) {
      const int width = int(depth - k < W ? depth - k : W);
      if constexpr (Num::depth == 1) {
        transpose_block<T>(rows_from + k, depth, int(rows), width, to + k * stride, stride);
      } else {
        std::memset(held, 0, sizeof held);
        transpose_block<T>(rows_from + k, depth, int(rows), width, held, W);
        const int deep = int(lanes_deep * 2 - k < W ? lanes_deep * 2 - k : W);
        for (int i = 0; i < deep; ++i)
          for (int w = 0; w < W; ++w) to[(k + i) / 2 * stride + w * 2 + i % 2] = Num::narrow(held[i * W + w]);
      }
    }
  }
};

// A matrix [depth, columns] as it stands, for products from the left: by panels of a few vectors, [depth][columns][W].
template <class Num>
struct Columns {
  using T = typename Num::Real;
  using Operand = typename Num::Operand;
  static constexpr int W = Vec<T>::lanes;

  // Rows come by address, so that they need not stand together; null is a row of zeros.
  static void pack(const T* const* rows, int64_t depth, int64_t column, int64_t width, Operand* to) {
    const int columns = int(ceil_div(width, W));
    for (int64_t k = 0; k < ceil_div(depth, Num::depth) * Num::depth; ++k)
      for (int n = 0; n < columns; ++n) {
        const int lanes = int(width - n * W < W ? width - n * W : W);
        const bool there = k < depth && rows[k];
        const Vec<T> v = there ? Vec<T>::load(rows[k] + column + n * W, lanes) : Vec<T>(T(0));
        if constexpr (Num::depth == 1) {
          v.store(to + (k * columns + n) * W);
        } else {
          for (int w = 0; w < W; ++w) to[((k / 2) * columns + n) * W * 2 + w * 2 + k % 2] = Num::narrow(v.v[w]);
        }
      }
  }

  // A range of blocks of columns, in panels: every `own.end`th of them, from `own.begin`.
  static void pack_panels(const T* const* rows, int64_t depth, int64_t columns, Range blocks, Range own, Operand* packed) {
    int64_t index = 0;
    for (int64_t b = blocks.begin; b < blocks.end; b += MAX_COLUMNS, ++index) {
      if (index % own.end != own.begin) continue;
      const int64_t count = b + MAX_COLUMNS < blocks.end ? MAX_COLUMNS : blocks.end - b;
      const int64_t width = (b + count) * W < columns ? count * W : columns - b * W;
      pack(rows, depth, b * W, width, packed + b * W * depth);
    }
  }
};

}  // namespace
