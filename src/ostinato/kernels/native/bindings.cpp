// The native module: what Python sees of the C++ side. No torch headers, so any torch version, and none, can use it.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <chrono>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "team.hpp"

namespace nb = nanobind;
using namespace ostinato;
using namespace nb::literals;

namespace {

// The widest first.
const Isa* const ISAS[] = {
#if defined(OSTINATO_HAS_AVX512_BF16)
    &avx512_bf16_isa,
#endif
#if defined(OSTINATO_HAS_AVX512)
    &avx512_isa,
#endif
#if defined(OSTINATO_HAS_AVX2)
    &avx2_isa,
#endif
#if defined(OSTINATO_HAS_NEON)
    &neon_isa,
#endif
#if defined(OSTINATO_HAS_PLAIN)
    &plain_isa,
#endif
};

std::vector<std::string> instruction_sets() {
  std::vector<std::string> found;
  for (const Isa* isa : ISAS)
    if (isa->here()) found.emplace_back(isa->name);
  return found;
}

const Isa& isa_named(const std::string& name) {
  for (const Isa* isa : ISAS)
    if (isa->here() && (name.empty() || name == isa->name)) return *isa;
  throw nb::value_error(("this machine has no " + name).c_str());
}

// Scratch memory, kept from call to call: fresh memory would cost a page fault every 4 KiB. What a very large layer took
// is given back, since there the products cost far more.
struct Scratch {
  std::unique_ptr<char, decltype(&std::free)> memory{nullptr, &std::free};
  int64_t size = 0;
  static constexpr int64_t PAGE = 1 << 21;  // a huge one: the weights are read anew at every step
  char* at_least(int64_t bytes) {
    if (bytes > size) {
      memory.reset();
      size = (bytes + PAGE - 1) / PAGE * PAGE;
      memory.reset(static_cast<char*>(std::aligned_alloc(PAGE, size)));
      if (!memory) {
        size = 0;
        throw std::bad_alloc();
      }
#if defined(__linux__)
      madvise(memory.get(), size, MADV_HUGEPAGE);
#endif
    }
    return memory.get();
  }
  void keep_at_most(int64_t bytes) {
    if (size <= bytes) return;
    memory.reset();
    size = 0;
  }
};
constexpr int64_t KEPT_BYTES = int64_t(1) << 27;
thread_local Scratch scratch;

// Python's signal handlers run ten times a second; whether one of them raised.
thread_local std::chrono::steady_clock::time_point last_asked;
bool interrupted() {
  const auto now = std::chrono::steady_clock::now();
  if (now - last_asked < std::chrono::milliseconds(100)) return false;
  last_asked = now;
  nb::gil_scoped_acquire hold;
  return PyErr_CheckSignals() != 0;
}

// `work(team, thread, memory)` on each thread.
template <class Work>
void share(int threads, int64_t bytes, Work&& work) {
  Team team;
  team.size = threads;
  team.interrupted = interrupted;
  {
    nb::gil_scoped_release release;
    last_asked = std::chrono::steady_clock::now();
    char* memory = scratch.at_least(bytes);
    parallel(threads, [&](int thread) { work(team, thread, memory); });
    scratch.keep_at_most(KEPT_BYTES);
  }
  if (team.stop) throw nb::python_error();
}

void run(const Layer& layer, uintptr_t cell_address, const std::string& isa_name, bool is_double, int threads,
         bool backward) {
  const Isa& isa = isa_named(isa_name);
  const Cell& cell = *reinterpret_cast<const Cell*>(cell_address);
  const auto pass = backward ? isa.backward : isa.forward;
  share(threads, (backward ? isa.backward_bytes : isa.forward_bytes)(layer, cell, is_double, threads),
        [&](Team& team, int thread, char* memory) { pass(layer, cell, is_double, team, thread, memory); });
}

// A layer that is run step by step: its weights stay packed.
class Session {
 public:
  Session(const Layer& layer, uintptr_t cell, const std::string& isa, bool is_double, int threads)
      : layer_(layer), cell_(*reinterpret_cast<const Cell*>(cell)), isa_(isa_named(isa)), is_double_(is_double) {
    team_.size = threads;
    team_.interrupted = [] { return false; };
    layer_.steps = 1;
    memory_.at_least(isa_.forward_bytes(layer_, cell_, is_double_, threads));
  }
  // One address for each part of the state; `after` may be `before`.
  void step(uintptr_t inputs, const std::vector<uintptr_t>& before, const std::vector<uintptr_t>& after) {
    layer_.inputs = reinterpret_cast<const void*>(inputs);
    for (size_t p = 0; p < before.size() && p < size_t(MAX_STATES); ++p) {
      layer_.initial[p] = reinterpret_cast<const void*>(before[p]);
      layer_.final[p] = reinterpret_cast<void*>(after[p]);
    }
    layer_.history[0] = layer_.final[0];
    char* memory = memory_.at_least(0);
    if (team_.size == 1) {
      isa_.forward(layer_, cell_, is_double_, team_, 0, memory);
    } else {
      nb::gil_scoped_release release;
      parallel(team_.size, [&](int thread) { isa_.forward(layer_, cell_, is_double_, team_, thread, memory); });
    }
    layer_.packed = true;
  }

 private:
  Layer layer_;
  const Cell& cell_;
  const Isa& isa_;
  bool is_double_;
  Team team_;
  Scratch memory_;
};

template <class Match>
uintptr_t find_cell(const std::string& isa, Match&& match) {
  const Isa& found = isa_named(isa);
  for (int i = 0; i < found.cell_count; ++i)
    if (match(found.cells[i])) return reinterpret_cast<uintptr_t>(&found.cells[i]);
  return 0;
}
uintptr_t built_in(const std::string& isa, const std::string& name) {
  return find_cell(isa, [&](const Cell& cell) { return name == cell.name; });
}
uintptr_t of_equations(const std::string& isa, const std::string& fingerprint) {
  return find_cell(isa, [&](const Cell& cell) { return fingerprint == cell.fingerprint; });
}
nb::tuple facts(uintptr_t address) {
  const Cell& cell = *reinterpret_cast<const Cell*>(address);
  return nb::make_tuple(cell.gates, cell.states, cell.saved, cell.vectors, cell.recurrent, cell.split);
}

// A layer from its sizes and addresses, in the order of ostinato.kernels.passes.layer_of: one call, since setting thirty
// attributes one by one would take longer than a short sequence.
using Addresses = std::vector<uintptr_t>;
template <class X>
void fill(X (&to)[MAX_STATES], const Addresses& from) {
  for (size_t i = 0; i < from.size() && i < size_t(MAX_STATES); ++i) to[i] = reinterpret_cast<X>(from[i]);
}
Layer layer_of(int64_t steps, int64_t batch, int64_t input_size, int64_t hidden_size, bool reverse, bool bf16,
               const Addresses& arrays, const Addresses& initial, const Addresses& zoneout, const Addresses& history) {
  Layer layer{};
  layer.steps = steps, layer.batch = batch, layer.input_size = input_size, layer.hidden_size = hidden_size;
  layer.reverse = reverse, layer.bf16 = bf16;
  const void** const plain[] = {&layer.inputs, &layer.weight_ih, &layer.weight_hh, &layer.bias_ih, &layer.bias_hh,
                                &layer.vectors, &layer.norm_ih, &layer.norm_hh, &layer.norm_state};
  constexpr size_t COUNT = sizeof plain / sizeof *plain;
  if (arrays.size() != COUNT + 3) throw nb::value_error("arrays: not the number that a layer has");
  for (size_t i = 0; i < COUNT; ++i) *plain[i] = reinterpret_cast<const void*>(arrays[i]);
  layer.lengths = reinterpret_cast<const int64_t*>(arrays[COUNT]);
  layer.resets = reinterpret_cast<const uint8_t*>(arrays[COUNT + 1]);
  layer.saved = reinterpret_cast<void*>(arrays[COUNT + 2]);
  fill(layer.initial, initial), fill(layer.zoneout, zoneout), fill(layer.history, history);
  return layer;
}
void forward(Layer layer, const Addresses& final, uintptr_t cell, const std::string& isa, bool is_double, int threads) {
  fill(layer.final, final);
  run(layer, cell, isa, is_double, threads, false);
}
void backward(Layer layer, bool accumulate, const Addresses& d_history, const Addresses& d_final,
              const Addresses& d_initial, const Addresses& d_arrays, uintptr_t cell, const std::string& isa,
              bool is_double, int threads) {
  layer.accumulate = accumulate;
  fill(layer.d_history, d_history), fill(layer.d_final, d_final), fill(layer.d_initial, d_initial);
  void** const plain[] = {&layer.d_inputs, &layer.d_weight_ih, &layer.d_weight_hh, &layer.d_bias_ih, &layer.d_bias_hh,
                          &layer.d_vectors, &layer.d_norm_ih, &layer.d_norm_hh, &layer.d_norm_state};
  constexpr size_t COUNT = sizeof plain / sizeof *plain;
  if (d_arrays.size() != COUNT) throw nb::value_error("d_arrays: not the number that a layer has");
  for (size_t i = 0; i < COUNT; ++i) *plain[i] = reinterpret_cast<void*>(d_arrays[i]);
  run(layer, cell, isa, is_double, threads, true);
}

// Trees from their sizes and addresses, in the order of ostinato.kernels.tree_lstm.
void trees(bool backward, bool keep, const std::vector<int64_t>& sizes, const Addresses& arrays,
           const std::string& isa_name, bool is_double, int threads) {
  Trees t{};
  t.keep = keep;
  int64_t* const numbers[] = {&t.levels, &t.arity, &t.hidden, &t.x_rows, &t.x_width, &t.rest_width};
  const int64_t** const indices[] = {&t.ends, &t.child_ends, &t.places, &t.starts};
  void** const values[] = {&t.x,    &t.rest, &t.h,       &t.c,        &t.leaf_gates, &t.gates, &t.forget,
                           &t.sums, &t.d_x,  &t.d_gates, &t.d_forget, &t.d_sums,     &t.d_h,   &t.d_c};
  constexpr size_t SIZES = sizeof numbers / sizeof *numbers, VALUES = sizeof values / sizeof *values;
  if (sizes.size() != SIZES || arrays.size() != 6 + VALUES) throw nb::value_error("not what trees have");
  for (size_t i = 0; i < SIZES; ++i) *numbers[i] = sizes[i];
  for (size_t i = 0; i < 4; ++i) *indices[i] = reinterpret_cast<const int64_t*>(arrays[i]);
  for (size_t i = 0; i < 2; ++i) t.weights[i] = reinterpret_cast<const void*>(arrays[4 + i]);
  for (size_t i = 0; i < VALUES; ++i) *values[i] = reinterpret_cast<void*>(arrays[6 + i]);
  const Isa& isa = isa_named(isa_name);
  share(threads, isa.trees_bytes(t, backward, is_double), [&](Team& team, int thread, char* memory) {
    isa.trees(t, backward, is_double, team, thread, memory);
  });
}

}  // namespace

NB_MODULE(_native, module) {
  module.doc() = "Ostinato's native code.";
  module.def("instruction_sets", &instruction_sets, "Names of the instruction sets that can run here, the widest first.");
  module.def("has_bf16", [](const std::string& isa) { return isa_named(isa).has_bf16; });
  module.def("flags", [](const std::string& isa) { return std::string(isa_named(isa).flags); });
  module.def("vector_bytes", [](const std::string& isa) { return isa_named(isa).bytes; });
  module.def("built_in", &built_in, "isa"_a, "name"_a, "Address of a cell of ours by name, 0 if there is none.");
  module.def("of_equations", &of_equations, "isa"_a, "fingerprint"_a, "The same by the fingerprint of its equations.");
  module.def("facts", &facts, "cell"_a, "Gates, parts of state, saved values, vectors; whether there is a product.");
  module.attr("VERSION") = OSTINATO_VERSION;
  nb::class_<Layer>(module, "Layer", "One call of a layer: sizes, and arrays by address.");
  module.def("layer", &layer_of);
  module.def("forward", &forward);
  module.def("backward", &backward);
  module.def("trees", &trees, "All levels of the trees of a batch.");
  nb::class_<Session>(module, "Session", "A layer that is run step by step, with its weights packed once.")
      .def(nb::init<const Layer&, uintptr_t, const std::string&, bool, int>(), "layer"_a, "cell"_a, "isa"_a,
           "is_double"_a, "threads"_a)
      .def("step", &Session::step, "inputs"_a, "before"_a, "after"_a);
}
