// One call of a layer, as plain data: what Python hands to the native module, and what a compiled cell is.
#pragma once
#include <atomic>
#include <cstdint>

namespace ostinato {

constexpr int MAX_STATES = 4;

// Row-major arrays by address; null where a call has none. T is float or double; sizes are in elements.
// `history[p]` is the state's part p after every step, [time, batch, hidden]; history[0] is the output.
struct Layer {
  int64_t steps, batch, input_size, hidden_size;
  bool reverse, bf16;
  bool accumulate;  // add the weights' gradients to what stands there
  bool packed;      // the scratch memory is that of the call before, with its weights
  const void *inputs, *weight_ih, *weight_hh, *bias_ih, *bias_hh, *vectors;  // vectors [vectors, hidden]
  const void *norm_ih, *norm_hh, *norm_state;  // gains [gates·hidden], gain and shift [2, hidden]
  const void* initial[MAX_STATES];  // [batch, hidden]
  const int64_t* lengths;           // [batch]
  const uint8_t* resets;            // [time, batch]
  const void* zoneout[MAX_STATES];  // [time, batch, hidden]
  void *history[MAX_STATES], *final[MAX_STATES];
  void* saved;  // [rows, cell.saved, padded hidden], for the backward pass
  // the backward pass only
  const void *d_history[MAX_STATES], *d_final[MAX_STATES];
  void *d_inputs, *d_weight_ih, *d_weight_hh, *d_bias_ih, *d_bias_hh, *d_vectors, *d_norm_ih, *d_norm_hh,
      *d_norm_state;
  void* d_initial[MAX_STATES];
};

// Some rows of some units of one step: what a cell's two functions work on. W is the number of lanes of a vector.
template <class T>
struct Tile {
  int rows, blocks, tail;  // blocks of W units; `tail` units in the last one
  int64_t unit;            // the first one
  int64_t stride;          // from one saved value, gate or vector of a row to the next
  const T* h;              // [rows][blocks][gates][W]: W_hh·h + b_hh
  const T* const* x;       // by row, [blocks of the layer][gates][W]: W_ih·x + b_ih
  const T* vectors;        // [vectors][stride]
  T* d_vectors;
  const T* const* before[MAX_STATES];  // by part and row
  T* const* after[MAX_STATES];
  T* const* saved;  // by row, [saved][stride]
  T* const* normed;  // by row, [stride]: the value to be normalised, then what it became
  // the backward pass
  T* const* d_after[MAX_STATES];            // carried; d_before takes its place
  const T* const* d_history[MAX_STATES];    // from outside, or null
  T *const *d_x, *const *d_h;               // by row, [gates][stride]
  T* const* d_normed;                       // by row, [stride]
};

// A cell's functions. One whose step normalises a value has two halves of each pass: forward leaves the value in
// `normed`, forward_after goes on from what became of it; backward_before gives the gradient to that, backward goes on.
template <class T>
struct Passes {
  void (*forward)(const Tile<T>&);
  void (*backward)(const Tile<T>&);
  void (*forward_after)(const Tile<T>&) = nullptr;
  void (*backward_before)(const Tile<T>&) = nullptr;
};

struct Cell {
  const char* name;
  const char* fingerprint;  // of the equations that it was printed from
  int gates, states, saved, vectors;
  bool recurrent, split;  // a product with the hidden state; whether the gradients of its x and h parts differ
  Passes<float> in_float;
  Passes<double> in_double;
};

// All levels of the trees of a batch: what trees.hpp runs a Tree-LSTM over. Row-major arrays by address, null where a
// call has none. Nodes are in the order of levels, the leaves first; rows of h and c are places.
struct Trees {
  int64_t levels, arity, hidden;  // arity 0: any number of children, and h̃ is their sum
  int64_t x_rows, x_width, rest_width;
  bool keep;  // gates, f and h̃ of all nodes; else each level writes where the one before has
  const int64_t *ends, *child_ends;  // [levels]: nodes up to the end of a level, and their children among places
  const int64_t *places, *starts;    // of a node; where its children begin, from the first one above the leaves
  const void* weights[2];            // of an N-ary cell one; U_f and U of the other gates
  void *x, *rest;                    // [leaves or nodes, x_width], and of nodes without x
  void *h, *c, *leaf_gates, *gates, *forget, *sums;
  // the backward pass only
  void *d_x, *d_gates, *d_forget, *d_sums, *d_h, *d_c;
};

// Work shared among threads, and the way out of it.
struct Team {
  int size;
  std::atomic<int> waiting{0}, round{0};
  std::atomic<bool> stop{false};
  bool (*interrupted)();  // asked by the first thread now and then

  // All threads meet; false if the work is to be left.
  bool meet();
  // For threads that need not meet: whether to go on.
  bool go_on(int thread);
};

// One instruction set's way to do it.
struct Isa {
  const char* name;
  bool (*here)();  // whether this machine has it
  int bytes;       // of a vector
  const Cell* cells;
  int cell_count;
  bool has_bf16;
  const char* flags;  // that it was compiled with
  // bytes of scratch, and one thread's share of the work
  int64_t (*forward_bytes)(const Layer&, const Cell&, bool is_double, int threads);
  int64_t (*backward_bytes)(const Layer&, const Cell&, bool is_double, int threads);
  void (*forward)(const Layer&, const Cell&, bool is_double, Team&, int thread, char* scratch);
  void (*backward)(const Layer&, const Cell&, bool is_double, Team&, int thread, char* scratch);
  int64_t (*trees_bytes)(const Trees&, bool backward, bool is_double);
  void (*trees)(const Trees&, bool backward, bool is_double, Team&, int thread, char* scratch);
};

extern const Isa plain_isa;
#if defined(__x86_64__)
extern const Isa avx2_isa, avx512_isa, avx512_bf16_isa;
#elif defined(__aarch64__)
extern const Isa neon_isa;
#endif

}  // namespace ostinato
