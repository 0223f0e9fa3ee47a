// The time loop: project a few steps' inputs at once, then step by step multiply, update, keep.
#pragma once
#include "norm.hpp"

namespace {

constexpr int WHOLE_ROWS = 24;  // that are normalised whole: weights are read once for all of them
constexpr int64_t PROJECTED_BYTES = 1 << 19;  // of projected inputs at a time: they stay in the cache until used

template <class Num>
struct Forward {
  using T = typename Num::Real;
  using Operand = typename Num::Operand;
  static constexpr int W = Vec<T>::lanes;
  static constexpr bool narrow = Num::depth > 1;

  Arena arena;
  Plan<Num> plan;
  const int64_t chunk;  // steps
  const int64_t width;  // of a row of pre-activations
  Gates<Num> ih, hh;
  T *projected, *carried[MAX_STATES], *raw[MAX_STATES];
  Operand *narrow_inputs, *hidden[2];  // the hidden state as an operand, of the step before and after, in turn
  const int64_t hidden_row;
  // by thread: addresses of rows, and a tile of pre-activations
  const Operand** operands;
  T** targets;
  const T** rows_x;
  const T** rows_before;
  T** rows_after;
  T** rows_saved;
  T* tiles;
  int64_t tile_size, many;
  const NormPlaces places;
  T *normed, *state_gain;  // by thread, [WHOLE_ROWS][padded]; [2][padded], gain and shift
  T** rows_normed;

  Forward(const Layer& l, const Cell& c, int threads, char* base)
      : arena{base}, plan(l, c, threads, arena), chunk(steps_at_once(l, c, plan)), width(plan.blocks * c.gates * W),
        ih(l.input_size, plan, arena), hh(plan.H, plan, arena),
        hidden_row(ceil_div(hh.lanes_deep * Num::depth * int64_t(sizeof(Operand)), 64) * 64 / int64_t(sizeof(Operand))),
        places(plan, (c.saved + (zoned() ? c.states : 0)) * plan.padded) {
    const int64_t B = plan.B;
    projected = arena.take<T>(chunk * B * width);
    for (int p = 0; p < c.states; ++p) {
      carried[p] = l.history[p] ? nullptr : arena.take<T>(B * plan.padded);
      raw[p] = l.zoneout[0] || l.zoneout[1] ? arena.take<T>(B * plan.padded) : nullptr;
    }
    narrow_inputs = narrow ? arena.take<Operand>(chunk * B * ih.lanes_deep * Num::depth) : nullptr;
    for (auto& rows : hidden) rows = arena.take<Operand>(B * hidden_row);
    many = chunk * B;
    operands = arena.take<const Operand*>(many * threads);
    targets = arena.take<T*>(many * threads);
    rows_x = arena.take<const T*>(B * threads);
    rows_before = arena.take<const T*>(B * threads * c.states);
    rows_after = arena.take<T*>(B * threads * c.states);
    rows_saved = arena.take<T*>(B * threads);
    // a row that is normalised is needed whole
    tile_size = l.norm_hh || l.norm_state ? WHOLE_ROWS * width
                                          : TILE_ROWS * W * (c.gates > MAX_COLUMNS ? c.gates : MAX_COLUMNS);
    tiles = arena.take<T>(tile_size * threads);
    normed = l.norm_state ? arena.take<T>(WHOLE_ROWS * plan.padded * threads) : nullptr;
    state_gain = l.norm_state ? arena.take<T>(2 * plan.padded) : nullptr;
    rows_normed = arena.take<T*>(WHOLE_ROWS * threads);
  }

  static int64_t steps_at_once(const Layer& l, const Cell& c, const Plan<Num>& plan) {
    const int64_t row = plan.blocks * c.gates * W * int64_t(sizeof(T));
    const int64_t steps = PROJECTED_BYTES * plan.threads / (row * plan.B);
    return steps < 1 ? 1 : steps < l.steps ? steps : l.steps;
  }

  bool zoned() const { return plan.layer.zoneout[0] || plan.layer.zoneout[1]; }
  int64_t saved_row() const { return places.end; }

  static const T* array(const void* at) { return static_cast<const T*>(at); }

  void run(Team& team, int thread) const {
    const Layer& l = plan.layer;
    const Cell& c = plan.cell;
    const Range mine = plan.my_blocks(thread);
    if (!l.packed) {
      if (thread == 0) plan.prepare();
      // panels begin where a thread's blocks begin, so each thread packs what fits its own
      const Range blocks = plan.by_units ? mine : whole_panels(Range{0, plan.blocks}.part(thread, plan.threads));
      ih.pack(array(l.weight_ih), array(l.bias_ih), array(l.norm_ih), blocks);
      if (c.recurrent) hh.pack(array(l.weight_hh), array(l.bias_hh), array(l.norm_hh), blocks);
      if (thread == 0) spread_state(plan, state_gain);
      if (!team.meet()) return;
    }
    for (const int64_t* i = plan.rows_of(thread); *i < plan.B; ++i) start_row(plan.order[*i], *i, mine);
    if (plan.by_units && !team.meet()) return;
    for (int64_t s = 0; s < l.steps; s += chunk) {
      const int64_t end = s + chunk < l.steps ? s + chunk : l.steps;
      project(s, end, thread, mine);
      for (int64_t step = s; step < end; ++step)
        if (!advance(step, step - s, team, thread, mine)) return;
    }
    if (!team.meet()) return;
    finish(thread);
  }

 private:
  Range whole_panels(Range blocks) const {
    const int64_t step = Gates<Num>::group(plan.G);
    const auto even = [&](int64_t b) { return b >= plan.blocks ? plan.blocks : b / step * step; };
    return {even(blocks.begin), even(blocks.end)};
  }

  // Where row i starts: its part of what is carried in place, and the padding of its operand.
  void start_row(int64_t b, int64_t i, Range mine) const {
    const Layer& l = plan.layer;
    const int64_t from = mine.begin * W, to = mine.end * W < plan.H ? mine.end * W : plan.H;
    for (int p = 0; p < plan.cell.states; ++p)
      if (carried[p])
        std::memcpy(carried[p] + i * plan.padded + from, static_cast<const T*>(l.initial[p]) + b * plan.H + from,
                    sizeof(T) * (to - from));
    for (auto* rows : hidden) std::memset(rows + i * hidden_row + plan.H, 0, sizeof(Operand) * (hidden_row - plan.H));
  }

  void project(int64_t begin, int64_t end, int thread, Range mine) const {
    const Layer& l = plan.layer;
    const Operand** a = operands + thread * many;
    T** c = targets + thread * many;
    int64_t n = 0;
    for (int64_t s = begin; s < end; ++s) {
      const int64_t t = plan.time(s);
      for (const int64_t* own = plan.rows_of(thread); *own < plan.live[t]; ++own, ++n) {
        const int64_t i = *own;
        const T* row = static_cast<const T*>(l.inputs) + (t * plan.B + plan.order[i]) * plan.I;
        const int64_t local = (s - begin) * plan.B + i;
        if constexpr (narrow) {
          // threads that share units each make the whole row: what they write is the same
          Operand* to = narrow_inputs + local * ih.lanes_deep * Num::depth;
          narrow_row<Num>(row, plan.I, to, ih.lanes_deep * Num::depth);
          a[n] = to;
        } else {
          a[n] = row;
        }
        c[n] = projected + local * width;
      }
    }
    const int64_t step = Gates<Num>::group(plan.G);
    T* shifted[TILE_ROWS];
    for (int64_t b = mine.begin; b < mine.end; b += step) {
      const int64_t count = b + step < mine.end ? step : mine.end - b;
      const int rows = max_rows(panel(plan.G * count));
      for (int64_t done = 0; done < n; done += rows) {
        const int some = int(n - done < rows ? n - done : rows);
        for (int m = 0; m < some; ++m) shifted[m] = c[done + m] + b * plan.G * W;
        ih.multiply_rows(a + done, some, b, count, shifted, !l.norm_ih);
      }
    }
    if (!l.norm_ih) return;
    n = 0;
    for (int64_t s = begin; s < end; ++s) {
      const int64_t t = plan.time(s);
      for (const int64_t* own = plan.rows_of(thread); *own < plan.live[t]; ++own, ++n) {
        const int64_t i = *own;
        T* kept = l.saved ? static_cast<T*>(l.saved) + (plan.offset[t] + i) * saved_row() : nullptr;
        const T rstd = normalise_row<T>(c[n], plan.blocks, plan.G, plan.H, ih.gain, ih.bias,
                                        kept ? kept + places.x : nullptr);
        if (kept) std::memset(kept + places.rstd, 0, sizeof(T) * W), kept[places.rstd] = rstd;
      }
    }
  }

  bool advance(int64_t s, int64_t local, Team& team, int thread, Range mine) const {
    const Layer& l = plan.layer;
    const Cell& c = plan.cell;
    const int64_t t = plan.time(s), B = plan.B, H = plan.H;
    const Operand** a = operands + thread * many;
    const T** x = rows_x + thread * B;
    T** saved = rows_saved + thread * B;
    const T** before[MAX_STATES];
    T** after[MAX_STATES];
    for (int p = 0; p < c.states; ++p) {
      before[p] = rows_before + (thread * c.states + p) * B;
      after[p] = rows_after + (thread * c.states + p) * B;
    }
    int64_t n = 0;
    for (const int64_t* own = plan.rows_of(thread); *own < plan.live[t]; ++own, ++n) {
      const int64_t i = *own;
      const int64_t b = plan.order[i];
      x[n] = projected + (local * B + i) * width;
      T* kept = l.saved ? static_cast<T*>(l.saved) + (plan.offset[t] + i) * saved_row() : nullptr;
      saved[n] = kept;
      for (int p = 0; p < c.states; ++p) {
        const T* from = plan.before(p, t, b);
        before[p][n] = carried[p] && from != plan.zeros ? carried[p] + i * plan.padded : from;
        T* to = carried[p] ? carried[p] + i * plan.padded : plan.history(p, t, b);
        if (zoned()) to = kept ? kept + (c.saved + p) * plan.padded : raw[p] + i * plan.padded;
        after[p][n] = to;
      }
      // not the history itself, where another thread's rows come next and are being written
      Operand* row = hidden[s & 1] + i * hidden_row;
      if (c.recurrent && (l.resets || from_start(t, b))) narrow_row<Num>(before[0][n], H, row, H);
      a[n] = row;
    }
    // where whole rows are normalised, a tile is a few rows of all units; else of as many units as registers hold
    const bool whole = l.norm_hh || l.norm_state;
    const int64_t step = whole ? plan.blocks : Gates<Num>::group(plan.G);
    T* tile = tiles + thread * tile_size;
    T** values = rows_normed + thread * WHOLE_ROWS;
    for (int m = 0; m < WHOLE_ROWS && normed; ++m) values[m] = normed + (thread * WHOLE_ROWS + m) * plan.padded;
    for (int64_t b = mine.begin; b < mine.end; b += step) {
      const int64_t count = b + step < mine.end ? step : mine.end - b;
      const int most = whole ? WHOLE_ROWS : max_rows(panel(plan.G * count));
      const bool last = b + count == plan.blocks;
      for (int64_t done = 0, groups = ceil_div(n, most); groups > 0; --groups) {
        const int rows = int(ceil_div(n - done, groups));
        T* h[WHOLE_ROWS];
        for (int m = 0; m < rows; ++m) h[m] = tile + m * count * plan.G * W;
        if (c.recurrent) multiply_hidden(a + done, rows, b, count, h, saved + done);
        Tile<T> work{};
        work.rows = rows, work.blocks = int(count), work.tail = last ? int(H - (plan.blocks - 1) * W) : W;
        work.unit = b * W, work.stride = plan.padded;
        work.h = tile, work.x = x + done, work.vectors = plan.vectors;
        work.saved = l.saved ? saved + done : nullptr, work.normed = values;
        for (int p = 0; p < c.states; ++p) work.before[p] = before[p] + done, work.after[p] = after[p] + done;
        passes<T>(c).forward(work);
        if (l.norm_state) {
          for (int m = 0; m < rows; ++m) {
            T* kept = saved[done + m];
            const T rstd = normalise_row<T>(values[m], plan.blocks, 1, H, state_gain, state_gain + plan.padded,
                                            kept ? kept + places.state : nullptr);
            if (kept) kept[places.rstd + 2] = rstd;
          }
          passes<T>(c).forward_after(work);
        }
        done += rows;
      }
    }
    if (zoned()) blend(t, n, thread, before, after, mine);
    if (c.recurrent) {  // the next step's operand
      const int64_t from = mine.begin * W, to = mine.end * W < H ? mine.end * W : H;
      const int64_t* own = plan.rows_of(thread);
      for (int64_t m = 0; m < n; ++m)
        narrow_row<Num>(plan.history(0, t, plan.order[own[m]]) + from, to - from,
                        hidden[(s + 1) & 1] + own[m] * hidden_row + from, to - from);
    }
    if (plan.by_units && !team.meet()) return false;
    return team.go_on(thread);
  }

  // W_hh·h + b_hh of some rows, normalised if so wanted
  INLINE void multiply_hidden(const Operand* const* a, int rows, int64_t block, int64_t count, T* const* h,
                              T* const* saved) const {
    const bool norm = plan.layer.norm_hh;
    if (!norm && count <= Gates<Num>::group(plan.G)) return hh.multiply_rows(a, rows, block, count, h, true);
    const int64_t step = Gates<Num>::group(plan.G);
    T* shifted[WHOLE_ROWS];
    for (int64_t b = 0; b < count; b += step) {
      for (int m = 0; m < rows; ++m) shifted[m] = h[m] + b * plan.G * W;
      hh.multiply_rows(a, rows, block + b, b + step < count ? step : count - b, shifted, !norm);
    }
    for (int m = 0; m < rows && norm; ++m) {
      T* kept = saved[m];
      const T rstd = normalise_row<T>(h[m], plan.blocks, plan.G, plan.H, hh.gain, hh.bias,
                                      kept ? kept + places.h : nullptr);
      if (kept) kept[places.rstd + 1] = rstd;
    }
  }

  bool from_start(int64_t t, int64_t b) const {
    return plan.layer.reverse ? t + 1 >= plan.length(b) : t == 0;
  }

  // new' = new + m ⊙ (old − new)
  void blend(int64_t t, int64_t n, int thread, const T** const* before, T** const* after, Range mine) const {
    const Layer& l = plan.layer;
    for (int64_t m = 0; m < n; ++m)
      for (int p = 0; p < plan.cell.states; ++p) {
        const int64_t i = plan.rows_of(thread)[m], b = plan.order[i];
        const T* stay = l.zoneout[p] ? static_cast<const T*>(l.zoneout[p]) + (t * plan.B + b) * plan.H : nullptr;
        T* to = carried[p] ? carried[p] + i * plan.padded : plan.history(p, t, b);
        for (int64_t u = mine.begin * W; u < mine.end * W && u < plan.H; ++u) {
          const T fresh = after[p][m][u];
          if (!stay) to[u] = fresh;
          else if (stay[u] < T(0.5)) to[u] = fresh + stay[u] * (before[p][m][u] - fresh);
          else to[u] = before[p][m][u] + (T(1) - stay[u]) * (fresh - before[p][m][u]);  // exact at both ends
        }
      }
  }

  // Zeros in the padding, and each row's last state.
  void finish(int thread) const {
    const Layer& l = plan.layer;
    const int64_t B = plan.B, H = plan.H;
    for (int64_t i = thread; i < B; i += plan.threads) {
      const int64_t b = plan.order[i], length = plan.length(b);
      for (int p = 0; p < plan.cell.states; ++p) {
        const T* from = static_cast<const T*>(l.initial[p]) + b * H;
        if (length && carried[p]) from = carried[p] + i * plan.padded;
        else if (length) from = plan.history(p, l.reverse ? 0 : length - 1, b);
        T* to = static_cast<T*>(l.final[p]) + b * H;
        if (to != from) std::memcpy(to, from, sizeof(T) * H);
        for (int64_t t = length; l.history[p] && t < l.steps; ++t)
          std::memset(plan.history(p, t, b), 0, sizeof(T) * H);
      }
    }
  }
};

}  // namespace
